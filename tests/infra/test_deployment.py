"""The template, translated as SAM does and created in moto: what is there afterwards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto import mock_aws

from infra.local.template import read_template
from tests.infra.deploying import LEFT_OUT, Deployment
from tests.translation import ROOT, translate

if TYPE_CHECKING:
    from collections.abc import Iterator

FUNCTIONS = read_template(ROOT / "template.yaml").functions
KINDS_OF_FUNCTION_ALARM = {"errors", "throttles", "duration"}


@pytest.fixture(scope="module")
def production() -> Iterator[Deployment]:
    patch = pytest.MonkeyPatch()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        patch.setenv(name, value)
    with mock_aws():
        yield Deployment(Stage="production", AlarmEmail="operators@example.com")
    patch.undo()


def function_names() -> set[str]:
    with_words = {
        function.handler.split(".")[1].replace("_", "-") for function in FUNCTIONS.values()
    }
    return {f"stashjobs-production-{name}" for name in with_words}


def test_every_function_is_there_under_the_name_that_alarms_look_for(
    production: Deployment,
) -> None:
    found = boto3.client("lambda").list_functions()["Functions"]
    assert {each["FunctionName"] for each in found} == function_names()
    outputs = {name: value for name, value in production.outputs.items() if name.endswith("Name")}
    assert set(outputs.values()) == function_names()


def test_a_function_has_its_settings_from_the_secret_and_no_secret_itself(
    production: Deployment,
) -> None:
    client = boto3.client("lambda")
    arn = boto3.client("secretsmanager").describe_secret(SecretId="stashjobs/production")["ARN"]
    own = "stashjobs/production/stack"
    for name in function_names():
        variables = client.get_function_configuration(FunctionName=name)["Environment"]["Variables"]
        assert variables["SETTINGS_SECRET"].split(",")[:2] == [arn, own]
        assert variables["STAGE"] == "production"
        words = ("SECRET", "TOKEN", "KEY", "POSTGRES")
        secret = [each for each in variables if any(word in each for word in words)]
        assert secret == ["SETTINGS_SECRET"], f"{name}: {secret}"


def test_the_secret_has_placeholders_only(production: Deployment) -> None:
    client = boto3.client("secretsmanager")
    values = json.loads(client.get_secret_value(SecretId="stashjobs/production")["SecretString"])
    assert set(values.values()) == {"REPLACE_ME"}


def test_the_stacks_own_secret_has_its_address_and_the_functions_urls(
    production: Deployment,
) -> None:
    """BASE_URL is never set manually."""
    client = boto3.client("secretsmanager")
    text = client.get_secret_value(SecretId="stashjobs/production/stack")["SecretString"]
    known = json.loads(text)
    assert known["BASE_URL"] == production.outputs["BaseUrl"]
    urls = [url for name, url in known.items() if name.startswith("FUNCTION_URL_")]
    assert len(set(urls)) == len(urls) == sum(each.has_url for each in FUNCTIONS.values())
    assert known["WEBHOOK_SOURCES"] == {}


def test_the_key_that_signs_links_is_in_a_secret_of_its_own(production: Deployment) -> None:
    client = boto3.client("secretsmanager")
    text = client.get_secret_value(SecretId="stashjobs/production/files-link")["SecretString"]
    assert json.loads(text).keys() == {"FILES_LINK_KEY_ID", "FILES_LINK_SECRET"}


def test_every_route_leads_to_the_alias_of_its_function(production: Deployment) -> None:
    client = boto3.client("apigatewayv2")
    api = production.values["Api"]
    integrations = {
        each["IntegrationId"]: each["IntegrationUri"]
        for each in client.get_integrations(ApiId=api)["Items"]
    }
    routes = {
        each["RouteKey"]: integrations[each["Target"].split("/")[1]]
        for each in client.get_routes(ApiId=api)["Items"]
    }
    wanted = {route.key: name for name, each in FUNCTIONS.items() for route in each.routes}
    assert routes.keys() == wanted.keys()
    for key, name in wanted.items():
        words = FUNCTIONS[name].handler.split(".")[1].replace("_", "-")
        assert f"function:stashjobs-production-{words}:live/invocations" in routes[key]


def test_the_nightly_schedule_repeats_gives_up_and_tells(production: Deployment) -> None:
    client = boto3.client("scheduler")
    found = [
        client.get_schedule(Name=each["Name"]) for each in client.list_schedules()["Schedules"]
    ]
    assert len(found) == 3
    assert all(each["Target"]["Arn"].endswith(":live") for each in found)
    (nightly,) = [each for each in found if each["ScheduleExpression"].startswith("cron")]
    (queue,) = boto3.client("sqs").list_queues()["QueueUrls"]
    assert nightly["Target"]["DeadLetterConfig"]["Arn"].split(":")[-1] == queue.split("/")[-1]
    assert nightly["Target"]["RetryPolicy"]["MaximumEventAgeInSeconds"] <= 3600
    assert nightly["ScheduleExpressionTimezone"] == "UTC"


def test_what_runs_every_minute_has_no_dead_letters_and_waits_for_the_run_before(
    production: Deployment,
) -> None:
    """One failed run is no news a minute later; the alarm of the function's errors tells of it."""
    for name in ("RelayFunction", "MonitorFunction"):
        config = production.resources[f"{name}EventInvokeConfig"]["Properties"]
        assert not config.get("DestinationConfig")
        assert config["MaximumEventAgeInSeconds"] > FUNCTIONS[name].timeout + 60
    schedules = production.of_type("AWS::Scheduler::Schedule").values()
    minutely = [
        each["Properties"]["Target"]
        for each in schedules
        if each["Properties"]["ScheduleExpression"].startswith("rate")
    ]
    assert len(minutely) == 2
    assert not [each for each in minutely if "DeadLetterConfig" in each]


def test_every_log_group_ends_and_has_a_function(production: Deployment) -> None:
    groups = boto3.client("logs").describe_log_groups()["logGroups"]
    assert {each["logGroupName"] for each in groups} == {
        "/stashjobs/production/access",
        *(
            name.replace("stashjobs-production-", "/stashjobs/production/")
            for name in function_names()
        ),
    }
    assert all(each["retentionInDays"] == 30 for each in groups)
    for each in production.of_type("AWS::Lambda::Function").values():
        assert each["Properties"]["LoggingConfig"]["LogGroup"]["Ref"] in production.resources


def test_every_function_has_its_alarms_and_the_topic_is_encrypted(production: Deployment) -> None:
    alarms = boto3.client("cloudwatch").describe_alarms(MaxRecords=100)["MetricAlarms"]
    names = {each["AlarmName"] for each in alarms}
    for function in function_names():
        assert {f"{function}-{kind}" for kind in KINDS_OF_FUNCTION_ALARM} <= names
    topic = production.outputs["AlarmTopic"]
    assert all(each["AlarmActions"] == [topic] for each in alarms)
    attributes = boto3.client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]
    assert attributes["KmsMasterKeyId"]
    subscribed = boto3.client("sns").list_subscriptions_by_topic(TopicArn=topic)["Subscriptions"]
    assert [each["Endpoint"] for each in subscribed] == ["operators@example.com"]


def test_a_deployment_is_taken_back_by_the_alarm_of_the_new_version_alone(
    production: Deployment,
) -> None:
    """What rings already, in the incident that a fix ends, does not keep the fix out."""
    alarms = {
        each["AlarmName"]: each
        for each in boto3.client("cloudwatch").describe_alarms(MaxRecords=100)["MetricAlarms"]
    }
    groups = production.of_type("AWS::CodeDeploy::DeploymentGroup")
    assert len(groups) == len(FUNCTIONS)
    for each in groups.values():
        properties = each["Properties"]
        (watched,) = production.resolve(properties["AlarmConfiguration"])["Alarms"]
        dimensions = {one["Name"] for one in alarms[watched["Name"]]["Dimensions"]}
        assert dimensions == {"FunctionName", "Resource", "ExecutedVersion"}
        assert "DEPLOYMENT_STOP_ON_ALARM" in properties["AutoRollbackConfiguration"]["Events"]


def test_what_moto_does_not_know_is_known_to_be_little(production: Deployment) -> None:
    """What is left out is looked at above, or by cfn-lint alone."""
    kinds = {each["Type"] for each in production.resources.values()}
    assert kinds >= LEFT_OUT, "the template has none of these any more; take it out of LEFT_OUT"


# --- what differs between the stages


@pytest.mark.parametrize("stage", ["dev", "staging"])
def test_only_production_is_deployed_gradually(stage: str) -> None:
    kinds = [each["Type"] for each in translate(Stage=stage)["Resources"].values()]
    assert "AWS::CodeDeploy::DeploymentGroup" not in kinds


def test_a_fix_that_cannot_wait_goes_round_codedeploy() -> None:
    resources = translate(Stage="production", Rollout="atonce")["Resources"]
    assert not [each for each in resources.values() if "CodeDeploy" in each["Type"]]
    aliases = [each for each in resources.values() if each["Type"] == "AWS::Lambda::Alias"]
    assert len(aliases) == len(FUNCTIONS)
    assert not [each for each in aliases if "UpdatePolicy" in each]


def test_an_account_with_lambdas_first_quota_reserves_nothing() -> None:
    for reserves, count in (("true", len(FUNCTIONS)), ("false", 0)):
        resources = translate(Stage="staging", ReserveConcurrency=reserves)["Resources"]
        reserved = [
            each
            for each in resources.values()
            if each["Properties"].get("ReservedConcurrentExecutions") is not None
        ]
        assert len(reserved) == count


@pytest.mark.parametrize("stage", ["dev", "staging", "production"])
def test_a_url_is_that_of_the_alias_in_every_stage(stage: str) -> None:
    """Its host would change with the qualifier, and with it where QStash delivers."""
    resources = translate(Stage=stage)["Resources"]
    urls = [each for each in resources.values() if each["Type"] == "AWS::Lambda::Url"]
    assert len(urls) == sum(each.has_url for each in FUNCTIONS.values())
    for each in urls:
        target = each["Properties"]["TargetFunctionArn"]["Ref"]
        assert resources[target]["Type"] == "AWS::Lambda::Alias"
        assert resources[target]["Properties"]["Name"] == "live"


def test_without_subnets_there_is_no_vpc_and_with_them_all_are_in_it() -> None:
    outside = translate(Stage="staging")["Resources"]
    inside = translate(Stage="staging", SubnetIds="subnet-1", SecurityGroupIds="sg-1")["Resources"]

    def in_vpc(resources: dict[str, Any]) -> set[bool]:
        return {
            "VpcConfig" in each["Properties"]
            for each in resources.values()
            if each["Type"] == "AWS::Lambda::Function"
        }

    assert in_vpc(outside) == {False}
    assert in_vpc(inside) == {True}


@pytest.mark.parametrize(
    ("database", "with_proxy", "outputs"),
    [
        ("none", None, set()),
        ("aurora", "false", {"Endpoint", "ReadEndpoint", "Secret", "RoleSecret"}),
        (
            "aurora-with-proxy",
            "true",
            {"Endpoint", "ReadEndpoint", "Secret", "ProxyEndpoint", "RoleSecret"},
        ),
    ],
)
def test_a_database_and_a_proxy_are_made_only_where_they_are_asked_for(
    database: str, with_proxy: str | None, outputs: set[str]
) -> None:
    made = translate(
        Stage="staging", Database=database, SubnetIds="s", SecurityGroupIds="g", VpcId="v"
    )
    aurora = made["Resources"].get("Aurora", {"Properties": {"Parameters": {}}})
    assert aurora["Properties"]["Parameters"].get("WithProxy") == with_proxy
    told = {name for name in made["Outputs"] if name.startswith("Database")}
    assert told == {f"Database{name}" for name in outputs}
