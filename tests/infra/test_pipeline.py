"""infra/pipeline.yaml: who may deploy a stage, and that it is enough and no more.

What CloudFormation needs for each type of resource is in its own schemas, which cfn-lint has
("handlers" in "Resource type schema"): the actions that its handlers call with the caller's role.
"""

from __future__ import annotations

import fnmatch
from typing import Any

import pytest
import yaml

from infra.local.template import _Loader
from tests.translation import ROOT, translate

PIPELINE = yaml.load((ROOT / "infra" / "pipeline.yaml").read_text(), Loader=_Loader)["Resources"]  # noqa: S506
EXECUTION = PIPELINE["ExecutionRole"]["Properties"]
DEPLOY = PIPELINE["DeployRole"]["Properties"]

# What handlers may call for properties that no template here uses.
UNUSED = (
    "lambda:PutProvisionedConcurrencyConfig",
    "cloudformation:*",  # a nested stack's own, below
    "ec2:*Tags",
    "ec2:DescribeSecurityGroup*",
    "elasticfilesystem:*",
    "firehose:*",
    "iam:CreateLoginProfile",
    "iam:DeleteLoginProfile",
    "iam:GetLoginProfile",
    "iam:*GroupsForUser",
    "iam:*UserToGroup",
    "iam:*UserFromGroup",
    "iam:*UserPermissionsBoundary",
    "iam:*GroupPolicy",
    "iam:AttachUserPolicy",
    "iam:DetachUserPolicy",
    "iam:UpdateLoginProfile",
    "iam:ListRoles",  # a monitoring role of RDS
    "iam:UpdateUser",
    "iam:AttachRolePolicy",  # allowed, with a condition
    "iam:CreateServiceLinkedRole",  # likewise
    "kms:*",  # a key of one's own lets its account in by its own policy
    "lambda:*CodeSigningConfig",
    "s3:*Access*",
    "s3:*Job*",
    "s3express:*",
    "s3files:*",
    "s3tables:*",
    "secretsmanager:ReplicateSecretToRegions",
    "ssm:*Resource",
    "xray:*",
)


def _statements(role: dict[str, Any], policy: str) -> list[dict[str, Any]]:
    found = [
        each["Fn::If"][1] if "Fn::If" in each else each
        for each in role["Policies"]
        if (each["Fn::If"][1] if "Fn::If" in each else each)["PolicyName"] == policy
    ]
    statements: list[dict[str, Any]] = found[0]["PolicyDocument"]["Statement"]
    return [each for each in statements if each["Effect"] == "Allow"]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _actions(*statements: dict[str, Any]) -> list[str]:
    return [action for each in statements for action in _list(each["Action"])]


def _types(*files: str) -> set[str]:
    found: set[str] = set()
    for file in files:
        document = yaml.load((ROOT / "infra" / file).read_text(), Loader=_Loader)  # noqa: S506
        found |= {each["Type"] for each in document["Resources"].values()}
    return found


def _of_the_stack() -> set[str]:
    everything = translate(
        Stage="production", Tracing="Active", SubnetIds="subnet-1,subnet-2", SecurityGroupIds="sg-1"
    )
    nested = _types("alarms.yaml", "dashboard.yaml", "function_alarms.yaml")
    return {each["Type"] for each in everything["Resources"].values()} | nested


def _schema(kind: str) -> dict[str, Any]:
    # Imported here: it takes seconds, and every worker collects this file.
    from cfnlint.schema import PROVIDER_SCHEMA_MANAGER  # type: ignore[import-untyped]

    schema: dict[str, Any] = PROVIDER_SCHEMA_MANAGER.get_resource_schema("us-east-1", kind).schema
    return schema


def _needed(kind: str) -> set[str]:
    handlers = _schema(kind).get("handlers", {})
    return {
        action
        for name in ("create", "read", "update", "delete")
        for action in handlers.get(name, {}).get("permissions", [])
    }


def _lacking(kinds: set[str], allowed: list[str]) -> dict[str, list[str]]:
    patterns = [*allowed, *UNUSED]
    return {
        kind: lacking
        for kind in sorted(kinds)
        if (
            lacking := sorted(
                action
                for action in _needed(kind)
                if not any(
                    fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in patterns
                )
            )
        )
    }


def test_cloudformation_may_do_what_the_stack_takes() -> None:
    assert _lacking(_of_the_stack(), _actions(*_statements(EXECUTION, "stack"))) == {}


def test_cloudformation_may_make_the_database_where_there_is_one() -> None:
    allowed = _actions(*_statements(EXECUTION, "stack"), *_statements(EXECUTION, "database"))
    assert _lacking(_types("database.yaml"), allowed) == {}


def test_whatever_has_a_name_is_the_stages_own() -> None:
    """A whole service is only granted for names with the stage in them; the exceptions have no name
    before AWS has made it."""
    nameless = {"Api", "Deployments", "Functions", "NestedStacks", "Values", "Database"}
    for policy in ("stack", "database"):
        for statement in _statements(EXECUTION, policy):
            if any(action.endswith(":*") for action in _list(statement["Action"])):
                resources = [str(each) for each in _list(statement["Resource"])]
                assert "*" not in resources
                assert statement["Sid"] in nameless or all("${Stage}" in each for each in resources)


@pytest.mark.parametrize("role", [DEPLOY, EXECUTION], ids=["deploy", "execution"])
def test_nobody_may_do_everything(role: dict[str, Any]) -> None:
    for policy in role["Policies"]:
        document = policy["Fn::If"][1] if "Fn::If" in policy else policy
        assert not {"*", "iam:*", "*:*"} & {
            action
            for each in document["PolicyDocument"]["Statement"]
            if each["Effect"] == "Allow"
            for action in _list(each["Action"])
        }


def test_only_this_environment_of_this_repository_deploys() -> None:
    [trust] = DEPLOY["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Action"] == "sts:AssumeRoleWithWebIdentity"
    [condition] = trust["Condition"].items()
    assert condition == (
        "StringEquals",
        {
            "token.actions.githubusercontent.com:aud": "sts.amazonaws.com",
            "token.actions.githubusercontent.com:sub": {
                "Fn::Sub": "repo:${Repository}:environment:${Stage}"
            },
        },
    )


def test_the_workflow_changes_the_stack_by_cloudformations_role_alone() -> None:
    granted = _actions(*_statements(DEPLOY, "deploy"))
    verbs = ("Create", "Delete", "Put", "Update", "Execute", "Pass", "Attach")
    changes = {each for each in granted if each.partition(":")[2].startswith(verbs)}
    assert changes == {
        "cloudformation:CreateChangeSet",
        "cloudformation:DeleteChangeSet",
        "cloudformation:ExecuteChangeSet",
        "cloudformation:UpdateTerminationProtection",
        "iam:PassRole",
        "rds:CreateDBClusterSnapshot",
        "rds:CreateDBSnapshot",
        "rds:DeleteDBClusterSnapshot",
        "rds:DeleteDBSnapshot",
        "s3:PutObject",
    }


def test_a_versions_description_is_why_it_is_made_anew() -> None:
    """What the template rests on where a parameter changes (VersionDescription)."""
    assert "/properties/Description" in _schema("AWS::Lambda::Version")["createOnlyProperties"]
