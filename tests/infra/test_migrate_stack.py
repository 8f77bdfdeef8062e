"""infra/migrate.yaml: what the function that migrates may do, and who may have it invoked."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import yaml

from infra.local.template import _Loader
from tests.infra.test_least_privilege import grants
from tests.translation import ROOT, decide, translate


def _read(path: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load((ROOT / path).read_text(), Loader=_Loader)  # noqa: S506
    return document


DOCUMENT = _read("infra/migrate.yaml")
FUNCTION = DOCUMENT["Resources"]["MigrateFunction"]["Properties"]
OWN = "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:"
STAGE_SECRET = (
    "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:"
    "secret:stashjobs/${Stage}-??????"
)


def _may(**parameters: str) -> dict[str, set[str]]:
    given = {"Stage": "staging", "SubnetIds": "", "SecurityGroupIds": "", "SecretKeyArn": ""}
    role = decide(DOCUMENT, given | parameters)["Resources"]["Role"]["Properties"]
    assert not {"ManagedPolicyArns", "PermissionsBoundary"} & role.keys()
    [policy] = role["Policies"]
    return grants(policy["PolicyDocument"])


def test_it_may_write_its_log_and_read_two_secrets_and_nothing_else() -> None:
    assert _may() == {
        "logs:CreateLogStream": {"Logs.Arn"},
        "logs:PutLogEvents": {"Logs.Arn"},
        "secretsmanager:GetSecretValue": {"OwnerSecret", STAGE_SECRET},
    }


def test_a_network_and_a_key_are_allowed_only_where_there_are_any() -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/1"
    more = _may(SubnetIds="subnet-1", SecurityGroupIds="sg-1", SecretKeyArn=key)
    assert {each.partition(":")[0] for each in more.keys() - _may().keys()} == {"ec2", "kms"}


@pytest.mark.parametrize("stage", ["staging", "production"])
def test_no_function_that_runs_jobs_may_read_the_owners_url(stage: str) -> None:
    assert DOCUMENT["Resources"]["OwnerSecret"]["Properties"]["Name"] == {
        "Fn::Sub": "stashjobs/${Stage}/owner"
    }
    boundary = translate(Stage=stage)["Resources"]["Boundary"]["Properties"]["PolicyDocument"]
    read = grants(boundary)["secretsmanager:GetSecretValue"]
    assert not [each for each in read if "owner" in each or each.endswith("*")]


def test_nothing_invokes_it_but_who_may_deploy() -> None:
    kinds = {each["Type"] for each in DOCUMENT["Resources"].values()}
    assert not kinds & {"AWS::Lambda::Permission", "AWS::Lambda::Url", "AWS::Scheduler::Schedule"}
    roles = _read("infra/pipeline.yaml")["Resources"]
    [policy] = roles["DeployRole"]["Properties"]["Policies"]
    allowed = grants(policy["PolicyDocument"])
    assert allowed["lambda:InvokeFunction"] == {f"{OWN}function:stashjobs-${{Stage}}-migrate"}
    assert FUNCTION["FunctionName"] == {"Fn::Sub": "stashjobs-${Stage}-migrate"}
    assert not [each for each in allowed["secretsmanager:GetSecretValue"] if "owner" in each]


def test_it_is_of_the_build_that_the_stage_gets() -> None:
    built = ROOT / ".aws-sam" / "build"
    assert (ROOT / "infra" / FUNCTION["Code"]).resolve() == built / "RelayFunction"
    layer = DOCUMENT["Resources"]["SharedLayer"]["Properties"]
    assert (ROOT / "infra" / layer["Content"]).resolve() == built / "SharedLayer"
    assert not (ROOT / "requirements" / "functions" / "relay.txt").exists()
    stages = translate(Stage="staging")["Resources"]["RelayFunction"]["Properties"]
    assert FUNCTION["Runtime"] == stages["Runtime"]
    assert FUNCTION["Architectures"] == stages["Architectures"]


def test_its_owners_secret_is_looked_at_first() -> None:
    given = FUNCTION["Environment"]["Variables"]["SETTINGS_SECRET"]
    assert given == {"Fn::Sub": "stashjobs/${Stage}/owner,stashjobs/${Stage}"}


@pytest.mark.parametrize("stage", ["dev", "staging", "production"])
def test_each_stage_has_its_way_to_deploy_it(stage: str) -> None:
    samconfig = tomllib.loads((ROOT / "samconfig.toml").read_text())
    given = samconfig[f"{stage}-migrate"]["deploy"]["parameters"]
    assert given["stack_name"] == f"stashjobs-{stage}-migrate"
    assert given["template_file"] == "infra/migrate.yaml"
    names = dict(each.split("=", 1) for each in given["parameter_overrides"])
    assert names["Stage"] == stage
    assert names.keys() <= DOCUMENT["Parameters"].keys()
