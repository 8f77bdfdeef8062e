"""What each role may do, written down: a change of it is a change here."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from infra.local.template import _Loader, read_template
from tests.translation import ROOT, translate

FUNCTIONS = list(read_template(ROOT / "template.yaml").functions)
STAGES = ["staging", "production"]

OWN_LOGS = (
    "arn:${AWS::Partition}:logs:${AWS::Region}:${AWS::AccountId}:log-group:/stashjobs/${Stage}/*"
)
LOGS = {"logs:CreateLogStream": {OWN_LOGS}, "logs:PutLogEvents": {OWN_LOGS}}
STACK_SECRET = (
    "arn:${AWS::Partition}:secretsmanager:${AWS::Region}:${AWS::AccountId}:"
    "secret:stashjobs/${Stage}/stack-??????"
)
READS = {"secretsmanager:GetSecretValue": {"StageSecret", STACK_SECRET}}
READS_LINK_KEY = {"secretsmanager:GetSecretValue": {"StageSecret", STACK_SECRET, "FilesLinkSecret"}}
REPORTS_FAILURE = {"sqs:SendMessage": {"ScheduleDeadLetters.Arn"}}

# Every function may write its log and read its settings. What some may do beside:
MORE: dict[str, dict[str, set[str]]] = {
    "ExportDataFunction": READS_LINK_KEY
    | {
        "s3:PutObject": {"${FilesBucket.Arn}/exports/*"},
        "s3:AbortMultipartUpload": {"${FilesBucket.Arn}/exports/*"},
    },
    "GenerateReportFunction": READS_LINK_KEY | {"s3:PutObject": {"${FilesBucket.Arn}/reports/*"}},
    "CleanupOldDataFunction": REPORTS_FAILURE | {"s3:PutObject": {"${FilesBucket.Arn}/archive/*"}},
}
MAY = {name: LOGS | READS | MORE.get(name, {}) for name in FUNCTIONS}

# What SAM attaches: AWS's own policies, as the AWS Managed Policy Reference Guide has them.
# Compared with github.com/z0ph/MAMIP at de4971a, a copy of what AWS's API answers: versions v1, v2
# and v3, in this order. AWS may widen one at any time; the boundary is what holds.
MANAGED = {
    "AWSLambdaBasicExecutionRole": {"logs:CreateLogGroup", *LOGS},
    "AWSXrayWriteOnlyAccess": {
        "xray:PutTraceSegments",
        "xray:PutTelemetryRecords",
        "xray:GetSamplingRules",
        "xray:GetSamplingTargets",
        "xray:GetSamplingStatisticSummaries",
    },
    "AWSLambdaVPCAccessExecutionRole": {
        "logs:CreateLogGroup",
        *LOGS,
        "ec2:CreateNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:DeleteNetworkInterface",
        "ec2:AssignPrivateIpAddresses",
        "ec2:UnassignPrivateIpAddresses",
    },
}

# (action, resource) with a star, and why it has one.
REASONS = {
    ("logs:*", OWN_LOGS): "the streams of the stage's log groups; Lambda names them",
    ("s3:*", "${FilesBucket.Arn}/exports/*"): "the keys of one prefix",
    ("s3:*", "${FilesBucket.Arn}/reports/*"): "the keys of one prefix",
    ("s3:*", "${FilesBucket.Arn}/archive/*"): "the keys of one prefix",
    ("xray:*", "*"): "X-Ray knows no resources for them",
    ("ec2:*", "*"): "Lambda makes interfaces with the function's role, before they have a name",
    ("cloudwatch:DescribeAlarms", "*"): "CloudWatch knows no resource for a list of alarms",
    (
        "lambda:*",
        "arn:${AWS::Partition}:lambda:${AWS::Region}:${AWS::AccountId}:function:stashjobs-${Stage}-*",
    ): "CodeDeploy moves the alias of each function of the stage",
}


def listed(thing: Any) -> list[Any]:
    return thing if isinstance(thing, list) else [thing]


def named(resource: Any) -> str:
    if not isinstance(resource, dict):
        return str(resource)
    ((kind, argument),) = resource.items()
    if kind == "Fn::GetAtt":
        return ".".join(argument)
    return str(argument)


def grants(document: dict[str, Any]) -> dict[str, set[str]]:
    """The resources of each action that a policy allows."""
    found: dict[str, set[str]] = {}
    for statement in document["Statement"]:
        assert statement["Effect"] == "Allow"
        assert not {"NotAction", "NotResource"} & statement.keys()
        for action in listed(statement["Action"]):
            found.setdefault(action, set()).update(map(named, listed(statement["Resource"])))
    return found


def may(document: dict[str, Any], role: str) -> dict[str, set[str]]:
    """What a role may do: what its policies allow, within its boundary."""
    resources = document["Resources"]
    properties = resources[role]["Properties"]
    allowed: dict[str, set[str]] = {}
    for policy in properties.get("Policies", []):
        for action, on in grants(policy["PolicyDocument"]).items():
            allowed.setdefault(action, set()).update(on)
    for policy in properties.get("ManagedPolicyArns", []):
        if isinstance(policy, dict):
            own = resources[policy["Ref"]]["Properties"]["PolicyDocument"]
            for action, on in grants(own).items():
                allowed.setdefault(action, set()).update(on)
        else:
            for action in MANAGED[policy.rsplit("/", 1)[-1]]:
                allowed.setdefault(action, set()).add("*")
    if "PermissionsBoundary" not in properties:
        return allowed
    most = grants(
        resources[properties["PermissionsBoundary"]["Ref"]]["Properties"]["PolicyDocument"]
    )
    bounded: dict[str, set[str]] = {}
    for action, on in allowed.items():
        within = most.get(action, set())
        # "*" within a boundary is the boundary; everything else must be in it to be of use.
        reached = (on - {"*"}) & within | (within if "*" in on else set())
        assert on - {"*"} <= within, f"{role}: the boundary keeps it from {action} on {on - within}"
        if reached:
            bounded[action] = reached
    return bounded


@pytest.mark.parametrize("stage", STAGES)
def test_every_function_has_a_role_of_its_own(stage: str) -> None:
    roles = {
        name.removesuffix("Role")
        for name, each in translate(Stage=stage)["Resources"].items()
        if each["Type"] == "AWS::IAM::Role" and name.endswith("FunctionRole")
    }
    assert roles == set(FUNCTIONS)
    assert MORE.keys() <= roles


@pytest.mark.parametrize("stage", STAGES)
def test_a_function_may_do_what_is_written_down_and_nothing_else(stage: str) -> None:
    document = translate(Stage=stage)
    assert {function: may(document, f"{function}Role") for function in FUNCTIONS} == MAY


def test_traces_and_networks_are_allowed_only_where_there_are_any() -> None:
    parameters = {"Stage": "staging", "SubnetIds": "subnet-1,subnet-2", "SecurityGroupIds": "sg-1"}
    found = may(translate(**parameters, Tracing="Active"), "SendEmailFunctionRole")
    more = {action for action in found if action not in MAY["SendEmailFunction"]}
    assert {action.split(":")[0] for action in more} == {"ec2", "xray"}
    assert len(more) == 8


def test_a_key_of_ones_own_may_be_used_by_way_of_secrets_manager_alone() -> None:
    key = "arn:aws:kms:us-east-1:123456789012:key/1"
    document = translate(Stage="staging", SecretKeyArn=key)
    found = may(document, "SendEmailFunctionRole")
    assert found.keys() - MAY["SendEmailFunction"].keys() == {"kms:Decrypt"}
    statements = document["Resources"]["ReadSettings"]["Properties"]["PolicyDocument"]["Statement"]
    (decrypt,) = [each for each in statements if each["Action"] == "kms:Decrypt"]
    assert "kms:ViaService" in decrypt["Condition"]["StringEquals"]


@pytest.mark.parametrize("stage", STAGES)
def test_a_schedule_may_call_its_function_and_report_its_failure(stage: str) -> None:
    document = translate(Stage=stage)
    schedules = [
        (name, each["Properties"]["Target"])
        for name, each in document["Resources"].items()
        if each["Type"] == "AWS::Scheduler::Schedule"
    ]
    assert len(schedules) == 3
    for name, target in schedules:
        reports = REPORTS_FAILURE if "DeadLetterConfig" in target else {}
        assert may(document, f"{name}Role") == {
            "lambda:InvokeFunction": {target["Arn"]["Ref"]},
            **reports,
        }


def test_a_wildcard_has_a_reason() -> None:
    parameters = {
        "Stage": "production",
        "Tracing": "Active",
        "SubnetIds": "subnet-1,subnet-2",
        "SecurityGroupIds": "sg-1",
        "SecretKeyArn": "arn:aws:kms:us-east-1:123456789012:key/1",
    }
    document = translate(**parameters)
    for name, each in document["Resources"].items():
        if each["Type"] != "AWS::IAM::Role":
            continue
        for action, resources in may(document, name).items():
            assert "*" not in action, f"{name} may do {action}: name the actions"
            for resource in resources:
                service = f"{action.split(':')[0]}:*"
                assert "*" not in resource or {(action, resource), (service, resource)} & set(
                    REASONS
                ), f"{name} may {action} on {resource}: name the resource, or say why in REASONS"


def test_the_proxy_may_read_whom_it_signs_in_as_and_nothing_else() -> None:
    document = yaml.load((ROOT / "infra/database.yaml").read_text(), Loader=_Loader)  # noqa: S506
    role = document["Resources"]["ProxyRole"]["Properties"]
    (policy,) = role["Policies"]
    assert grants(policy["PolicyDocument"]) == {
        "secretsmanager:GetSecretValue": {"RoleSecret"},
        "kms:Decrypt": {"Key.Arn"},
    }
    (decrypt,) = [s for s in policy["PolicyDocument"]["Statement"] if s["Action"] == "kms:Decrypt"]
    assert "kms:ViaService" in decrypt["Condition"]["StringEquals"]


def test_a_user_may_only_read_what_was_made_for_download() -> None:
    resources = translate(Stage="production")["Resources"]
    (user,) = [each for each in resources.values() if each["Type"] == "AWS::IAM::User"]
    (policy,) = user["Properties"]["Policies"]
    assert grants(policy["PolicyDocument"]) == {
        "s3:GetObject": {"${FilesBucket.Arn}/exports/*", "${FilesBucket.Arn}/reports/*"}
    }
