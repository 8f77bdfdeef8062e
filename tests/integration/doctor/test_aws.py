"""AWS, as moto's server plays it: each check both ways."""

from __future__ import annotations

import io
import re
import zipfile
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.stub import Stubber

from stashjobs.tools.doctor import aws as checks
from stashjobs.tools.doctor import stack
from stashjobs.tools.doctor.finding import Level
from tests.deliveries import probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.doctor.conftest import Aws

ARN = "arn:aws:of-a-test:eu-central-1:123456789012"
TOPIC = """
  Topic: {Type: AWS::SNS::Topic, Properties: {TopicName: alarms}}
"""


@pytest.fixture
def alarm(aws: Aws, production: pytest.MonkeyPatch) -> Callable[..., None]:
    """Deploy a stack with one alarm in a state, and one that is made of it and tells nobody. moto
    has no composite alarms and its CloudFormation makes none at all, so both are plain ones beside
    the stack, and the stack is said to have them."""
    real = stack.resources
    made = {
        "AWS::CloudWatch::Alarm": {"Failures": "failures"},
        "AWS::CloudWatch::CompositeAlarm": {"Unhealthy": "unhealthy"},
    }

    def deploy(state: str, *actions: str) -> None:
        aws.deploy(TOPIC)
        cloudwatch = aws.client("cloudwatch")
        for name, told in (("failures", list(actions)), ("unhealthy", [])):
            cloudwatch.put_metric_alarm(
                AlarmName=name,
                Namespace="stashjobs",
                MetricName="FailureRate",
                Statistic="Maximum",
                Period=60,
                EvaluationPeriods=1,
                Threshold=5,
                ComparisonOperator="GreaterThanThreshold",
                AlarmActions=told,
            )
            cloudwatch.set_alarm_state(AlarmName=name, StateValue=state, StateReason="a test")
        production.setattr(stack, "resources", lambda kind: made.get(kind) or real(kind))

    return deploy


def test_without_credentials_nothing_is_checked_and_nothing_is_red(
    aws: Aws, production: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        production.delenv(name)
    production.setenv("AWS_EC2_METADATA_DISABLED", "true")
    production.setenv("AWS_CONFIG_FILE", "/nowhere")
    production.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    verdicts = [check.look() for check in checks.CHECKS]
    assert {verdict.level for verdict in verdicts} == {Level.GREY}
    assert "no AWS credentials" in verdicts[0].what


def test_the_local_stage_has_no_stack(aws: Aws, production: pytest.MonkeyPatch) -> None:
    production.setenv("STAGE", "local")
    assert checks.deployed().level == Level.GREY


def test_a_deployed_stack_is_green(aws: Aws) -> None:
    aws.deploy("")
    assert checks.deployed().level == Level.GREEN


@pytest.mark.parametrize(
    ("status", "level"),
    [
        ("UPDATE_COMPLETE", Level.GREEN),
        ("UPDATE_ROLLBACK_COMPLETE", Level.YELLOW),
        ("UPDATE_IN_PROGRESS", Level.YELLOW),
        ("ROLLBACK_COMPLETE", Level.RED),
        ("UPDATE_ROLLBACK_FAILED", Level.RED),
    ],
)
def test_the_state_of_the_stack_decides(
    aws: Aws, production: pytest.MonkeyPatch, status: str, level: Level
) -> None:
    production.setattr(stack, "describe", lambda: {"StackStatus": status})
    assert checks.deployed().level == level


@pytest.mark.parametrize(
    ("stage", "protected", "level"),
    [
        ("production", True, Level.GREEN),
        ("production", False, Level.YELLOW),
        ("staging", False, Level.GREEN),
    ],
)
def test_production_is_to_be_protected_from_being_deleted(
    aws: Aws, production: pytest.MonkeyPatch, stage: str, protected: bool, level: Level
) -> None:
    production.setenv("STAGE", stage)
    aws.deploy("", name=f"stashjobs-{stage}", protected=protected)
    assert checks.deployed().level == level


def test_the_budget_is_the_stacks_own(aws: Aws, production: pytest.MonkeyPatch) -> None:
    aws.deploy("")
    production.setenv("MAX_CONNECTIONS", "300")
    assert stack.connections() == 40


def test_a_missing_secret_is_red(aws: Aws) -> None:
    assert checks.secret().level == Level.RED
    aws.client("secretsmanager").create_secret(Name="stashjobs/production", SecretString="{}")
    assert checks.secret().level == Level.GREEN


def test_a_secret_that_nobody_has_rotated_is_yellow(
    aws: Aws, production: pytest.MonkeyPatch
) -> None:
    aws.client("secretsmanager").create_secret(Name="stashjobs/production", SecretString="{}")
    production.setattr(checks, "OLDEST_SECRET_DAYS", -1)
    assert checks.secret().level == Level.YELLOW


def test_a_stack_without_alarms_is_red(aws: Aws) -> None:
    aws.deploy(TOPIC)
    assert checks.alarms().level == Level.RED


@pytest.mark.parametrize("state", ["OK", "INSUFFICIENT_DATA"])
def test_alarms_that_tell_somebody_and_do_not_ring_are_green(
    alarm: Callable[..., None], state: str
) -> None:
    alarm(state, "arn:aws:sns:eu-central-1:123456789012:alarms")
    assert checks.alarms().level == Level.GREEN


def test_an_alarm_that_rings_is_red_and_named(alarm: Callable[..., None]) -> None:
    alarm("ALARM", "arn:aws:sns:eu-central-1:123456789012:alarms")
    verdict = checks.alarms()
    assert (verdict.level, verdict.what) == (Level.RED, "in ALARM: failures, unhealthy")


def test_an_alarm_that_tells_nobody_is_yellow(alarm: Callable[..., None]) -> None:
    alarm("OK")
    verdict = checks.alarms()
    assert (verdict.level, verdict.what) == (Level.YELLOW, "without an action: failures")


@pytest.mark.parametrize("name", ["failures", "unhealthy"])
def test_an_alarm_that_was_deleted_by_hand_is_red(
    aws: Aws, alarm: Callable[..., None], name: str
) -> None:
    alarm("OK")
    aws.client("cloudwatch").delete_alarms(AlarmNames=[name])
    verdict = checks.alarms()
    assert (verdict.level, verdict.what) == (Level.RED, f"deleted outside the stack: {name}")


def test_an_answer_of_several_pages_is_read_to_its_end(
    aws: Aws, production: pytest.MonkeyPatch
) -> None:
    """moto answers in one page, so botocore is handed two here."""
    cloudwatch = boto3.client("cloudwatch")
    names = [f"alarm-{number}" for number in range(60)]
    found = [{"AlarmName": name, "StateValue": "OK", "AlarmActions": [ARN]} for name in names]
    asked = {"AlarmNames": names, "AlarmTypes": ["MetricAlarm", "CompositeAlarm"]}
    kinds = {"AWS::CloudWatch::Alarm": {name: name for name in names}}
    production.setattr(stack, "client", lambda _service: cloudwatch)
    production.setattr(stack, "resources", lambda kind: kinds.get(kind, {}))
    with Stubber(cloudwatch) as stub:
        first = {"MetricAlarms": found[:50], "NextToken": "more"}
        stub.add_response("describe_alarms", first, asked)
        rest = {"MetricAlarms": found[50:]}
        stub.add_response("describe_alarms", rest, asked | {"NextToken": "more"})
        assert checks.alarms().what == "60 alarms, none rings"
    cloudwatch.close()


def test_alarms_reach_nobody_until_somebody_has_confirmed(
    aws: Aws, production: pytest.MonkeyPatch
) -> None:
    aws.deploy(TOPIC)
    assert checks.subscriptions().level == Level.RED
    sns = aws.client("sns")
    [topic] = sns.list_topics()["Topics"]
    sns.subscribe(TopicArn=topic["TopicArn"], Protocol="email", Endpoint="ops@acme-inc.com")
    assert checks.subscriptions().level == Level.GREEN


@pytest.mark.parametrize(
    ("arns", "level"),
    [
        (["PendingConfirmation"], Level.RED),
        (["arn:aws:sns:x", "PendingConfirmation"], Level.YELLOW),
    ],
)
def test_a_subscription_that_waits_for_its_confirmation_is_found(
    aws: Aws, production: pytest.MonkeyPatch, arns: list[str], level: Level
) -> None:
    """moto confirms every subscription at once, so the answer is put together here."""
    aws.deploy(TOPIC)

    class Sns:
        def get_paginator(self, _name: str) -> Sns:
            return self

        def paginate(self, **_options: Any) -> list[dict[str, Any]]:
            return [{"Subscriptions": [{"SubscriptionArn": arn} for arn in arns]}]

    real = stack.client
    production.setattr(stack, "client", lambda name: Sns() if name == "sns" else real(name))
    assert checks.subscriptions().level == level


def test_a_database_of_rds_with_a_snapshot_of_today_is_green(
    aws: Aws, production: pytest.MonkeyPatch
) -> None:
    rds = aws.client("rds")
    made = rds.create_db_instance(
        DBInstanceIdentifier="jobs",
        DBInstanceClass="db.t4g.micro",
        Engine="postgres",
        AllocatedStorage=20,
        MasterUsername="jobs",
        MasterUserPassword="0123456789",
        BackupRetentionPeriod=7,
    )["DBInstance"]
    host = made["Endpoint"]["Address"]
    production.setenv("POSTGRES_URL", f"postgresql://jobs:secret@{host}:5432/jobs")
    rds.create_db_snapshot(DBInstanceIdentifier="jobs", DBSnapshotIdentifier="today")
    assert checks.backups().level == Level.GREEN


def test_the_backups_are_those_of_the_cluster_behind_a_proxy(
    aws: Aws, production: pytest.MonkeyPatch
) -> None:
    rds = aws.client("rds")
    rds.create_db_cluster(
        DBClusterIdentifier="jobs",
        Engine="aurora-postgresql",
        MasterUsername="jobs",
        MasterUserPassword="0123456789",
        BackupRetentionPeriod=14,
    )
    proxy = rds.create_db_proxy(
        DBProxyName="jobs",
        EngineFamily="POSTGRESQL",
        Auth=[{"AuthScheme": "SECRETS", "SecretArn": f"{ARN}:secret", "IAMAuth": "DISABLED"}],
        RoleArn=f"{ARN}:role",
        VpcSubnetIds=[each["SubnetId"] for each in aws.client("ec2").describe_subnets()["Subnets"]],
    )["DBProxy"]
    rds.register_db_proxy_targets(DBProxyName="jobs", DBClusterIdentifiers=["jobs"])
    production.setenv("POSTGRES_URL", f"postgresql://jobs:secret@{proxy['Endpoint']}:5432/jobs")
    verdict = checks.backups()
    assert (verdict.level, "kept for 14 days" in verdict.what) == (Level.GREEN, True)


def test_a_database_elsewhere_is_its_providers_to_back_up(
    aws: Aws, production: pytest.MonkeyPatch
) -> None:
    production.setenv("POSTGRES_URL", "postgresql://jobs:secret@db.neon.tech:5432/jobs")
    verdict = checks.backups()
    assert (verdict.level, "stashjobs backup verify" in verdict.next) == (Level.GREY, True)


NOW = datetime.now(UTC)


@pytest.mark.parametrize(
    ("database", "hours", "level"),
    [
        ({"BackupRetentionPeriod": 7}, [1], Level.GREEN),
        ({"BackupRetentionPeriod": 7}, [50, 1], Level.GREEN),
        ({"BackupRetentionPeriod": 0}, [1], Level.RED),
        ({}, [1], Level.RED),
        ({"BackupRetentionPeriod": 7}, [], Level.RED),
        ({"BackupRetentionPeriod": 7}, [50], Level.RED),
        (
            {"BackupRetentionPeriod": 7, "LatestRestorableTime": NOW - timedelta(hours=5)},
            [1],
            Level.YELLOW,
        ),
    ],
)
def test_backups_are_on_and_recent(
    database: dict[str, Any], hours: list[int], level: Level
) -> None:
    snapshots = [{"SnapshotCreateTime": NOW - timedelta(hours=each)} for each in hours]
    assert checks.judge_backups(database, snapshots).level == level


# --- processes


@pytest.fixture
def job_with(aws: Aws, production: pytest.MonkeyPatch) -> Callable[[int | None, int | None], None]:
    """Deploy a function with so many processes reserved, whose type asks for so many at once."""

    def deploy(parallelism: int | None, share: int | None) -> None:
        job = probe(lambda payload, _context: payload, parallelism=parallelism)
        job.function.__module__ = "functions.a_probe.handler"
        production.setattr(checks, "declared", lambda: [job])
        aws.deploy("")
        lambdas = aws.client("lambda")
        role = aws.client("iam").create_role(RoleName="probe", AssumeRolePolicyDocument="{}")
        code = io.BytesIO()
        with zipfile.ZipFile(code, "w") as archive:
            archive.writestr("handler.py", "")
        lambdas.create_function(
            FunctionName="probe",
            Role=role["Role"]["Arn"],
            Runtime="python3.13",
            Handler="handler.handler",
            Code={"ZipFile": code.getvalue()},
        )
        if share is not None:
            lambdas.put_function_concurrency(
                FunctionName="probe", ReservedConcurrentExecutions=share
            )
        production.setattr(stack, "resources", lambda _kind: {"AProbeFunction": "probe"})

    return deploy


@pytest.mark.parametrize(
    ("parallelism", "share", "level", "told"),
    [
        (4, 4, Level.GREEN, "as many of each"),
        (4, 10, Level.GREEN, "probe 4 of 10"),
        (8, 4, Level.YELLOW, r"probe \(8 at once, 4 processes\)"),
        (None, 4, Level.YELLOW, r"probe \(all of them at once, 4 processes\)"),
        (None, None, Level.GREEN, "as many of each"),
    ],
)
def test_qstash_is_to_deliver_no_more_at_once_than_there_are_processes(
    job_with: Callable[[int | None, int | None], None],
    parallelism: int | None,
    share: int | None,
    level: Level,
    told: str,
) -> None:
    job_with(parallelism, share)
    verdict = checks.processes()
    assert verdict.level is level
    assert re.search(told, verdict.what)
