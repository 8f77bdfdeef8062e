"""What must hold for every template, and for the settings of each stage in samconfig.toml."""

from __future__ import annotations

import hashlib
import json
import re
import tomllib
from typing import Any

import pytest
import yaml

from infra.local.template import _Loader, read_template
from stashjobs.config import stage_secret
from stashjobs.observability.redaction import SECRET_SETTINGS
from tests.translation import ROOT, decide

DOCUMENT: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), Loader=_Loader)  # noqa: S506
RESOURCES: dict[str, Any] = DOCUMENT["Resources"]
TEMPLATES = [ROOT / "template.yaml", *sorted((ROOT / "infra").glob("*.yaml"))]
SAMCONFIG: dict[str, Any] = tomllib.loads((ROOT / "samconfig.toml").read_text())
STAGES = ["dev", "staging", "production"]
SETTINGS_PAGE = (ROOT / "docs" / "settings.md").read_text()


# --- secrets


def test_no_parameter_is_a_secret() -> None:
    for path in TEMPLATES:
        document = yaml.load(path.read_text(), Loader=_Loader)  # noqa: S506
        assert not [name for name, each in document["Parameters"].items() if "NoEcho" in each]


def test_the_secret_that_the_template_makes_never_changes() -> None:
    """CloudFormation writes SecretString whenever the template's has changed: over the true values
    of every stage. A new setting is added to the secret by hand (docs/settings.md)."""
    assert json.loads(RESOURCES["StageSecret"]["Properties"]["SecretString"]) == dict.fromkeys(
        [
            "POSTGRES_URL",
            "QSTASH_TOKEN",
            "QSTASH_CURRENT_SIGNING_KEY",
            "QSTASH_NEXT_SIGNING_KEY",
            "RESEND_API_KEY",
            "STRIPE_SECRET_KEY",
            "STRIPE_WEBHOOK_SECRET",
            "GITHUB_WEBHOOK_SECRET",
            "RESEND_WEBHOOK_SECRET",
            "PAYLOAD_KEYS",
            "ADMIN_TOKEN",
        ],
        stage_secret.PLACEHOLDER,
    )
    # Its very text, since a blank is a change too.
    raw = RESOURCES["StageSecret"]["Properties"]["SecretString"]
    assert hashlib.sha256(raw.encode()).hexdigest()[:16] == TEXT


TEXT = "beaf86811d030fb1"


def test_the_secret_outlives_the_stack() -> None:
    assert RESOURCES["StageSecret"]["DeletionPolicy"] == "RetainExceptOnCreate"
    assert RESOURCES["StageSecret"]["UpdateReplacePolicy"] == "Retain"


def test_a_first_creation_that_fails_can_be_tried_again() -> None:
    """What `Retain` keeps of it would be in the way of the next try, by its name."""
    for path in TEMPLATES:
        document = yaml.load(path.read_text(), Loader=_Loader)  # noqa: S506
        policies = {each.get("DeletionPolicy") for each in document["Resources"].values()}
        assert "Retain" not in policies, path.name


@pytest.mark.parametrize(
    ("condition", "parameters"),
    [
        ("DatabaseHasVpc", {"VpcId", "SubnetIds", "SecurityGroupIds"}),
        ("SubnetsHaveSecurityGroups", {"SecurityGroupIds"}),
    ],
)
def test_parameters_that_need_others_are_refused_without_them(
    condition: str, parameters: set[str]
) -> None:
    asserted = {
        re.search(r"'Ref': '(\w+)'", str(each["Assert"]))[1]  # type: ignore[index]
        for each in DOCUMENT["Rules"][condition]["Assertions"]
    }
    assert asserted == parameters


def test_every_secret_setting_is_on_the_page() -> None:
    assert [name for name in SECRET_SETTINGS if f"| `{name}` |" not in SETTINGS_PAGE] == []


def test_every_setting_that_the_code_reads_is_on_the_page() -> None:
    read: set[str] = set()
    for folder in ("functions", "shared/stashjobs"):
        for path in (ROOT / folder).rglob("*.py"):
            read |= set(
                re.findall(
                    r'settings\.(?:require|optional|whole_number|known)\(\s*"([A-Z_]+)"',
                    path.read_text(),
                )
            )
    missing = sorted(name for name in read if f"| `{name}` |" not in SETTINGS_PAGE)
    assert not missing, f"docs/settings.md: add a row for each of {missing}"


# --- the api


def test_a_route_with_a_limit_of_its_own_is_there() -> None:
    """API Gateway refuses the deploy otherwise."""
    functions = read_template(ROOT / "template.yaml").functions
    routes = {route.key for each in functions.values() for route in each.routes}
    assert RESOURCES["Api"]["Properties"]["RouteSettings"].keys() <= routes


def test_every_route_is_throttled() -> None:
    properties = RESOURCES["Api"]["Properties"]
    for each in [properties["DefaultRouteSettings"], *properties["RouteSettings"].values()]:
        limit = each["Fn::If"][1] if "Fn::If" in each else each
        assert 0 < limit["ThrottlingRateLimit"] <= limit["ThrottlingBurstLimit"]


def test_the_access_log_is_json_without_a_query_or_a_header() -> None:
    text = RESOURCES["Api"]["Properties"]["AccessLogSettings"]["Format"]
    assert all(value.startswith("$context.") for value in json.loads(text).values())
    assert "header" not in text
    assert "query" not in text.lower()


# --- encryption and what is kept


def test_what_holds_data_is_encrypted() -> None:
    assert RESOURCES["ScheduleDeadLetters"]["Properties"]["SqsManagedSseEnabled"] is True
    assert "BucketEncryption" in RESOURCES["FilesBucket"]["Properties"]


def test_the_database_is_hard_to_lose() -> None:
    document = yaml.load((ROOT / "infra/database.yaml").read_text(), Loader=_Loader)  # noqa: S506
    cluster = document["Resources"]["Cluster"]
    assert cluster["DeletionPolicy"] == cluster["UpdateReplacePolicy"] == "Snapshot"
    properties = cluster["Properties"]
    assert properties["StorageEncrypted"] is True
    assert properties["DeletionProtection"] is True
    assert properties["ManageMasterUserPassword"] is True
    assert properties["BackupRetentionPeriod"] >= 7
    assert "MasterUserPassword" not in properties


def database(**parameters: str) -> dict[str, Any]:
    """The resources of infra/database.yaml with these parameters."""
    document = yaml.load((ROOT / "infra/database.yaml").read_text(), Loader=_Loader)  # noqa: S506
    resources: dict[str, Any] = decide(document, {"Stage": "staging"} | parameters)["Resources"]
    return resources


def test_the_role_of_the_proxy_has_its_secret_before_there_is_a_proxy() -> None:
    """RDS waits until the proxy has signed in, so the role must be there first."""
    assert "RoleSecret" in database(WithProxy="false")
    assert "Proxy" not in database(WithProxy="false")


def test_without_a_proxy_there_is_nothing_of_one() -> None:
    kinds = {each["Type"] for each in database(WithProxy="false").values()}
    assert not kinds & {"AWS::RDS::DBProxy", "AWS::RDS::DBProxyTargetGroup", "AWS::IAM::Role"}


def test_the_proxy_takes_the_functions_alone_and_over_tls() -> None:
    made = database(WithProxy="true")
    proxy = made["Proxy"]["Properties"]
    assert proxy["RequireTLS"] is True
    assert proxy["DebugLogging"] is False  # it would log the texts of statements
    (auth,) = proxy["Auth"]
    assert auth["SecretArn"] == {"Ref": "RoleSecret"}
    (ingress,) = made["ProxySecurityGroup"]["Properties"]["SecurityGroupIngress"]
    assert ingress["SourceSecurityGroupId"] == {"Ref": "ClientSecurityGroupId"}
    (egress,) = made["ProxySecurityGroup"]["Properties"]["SecurityGroupEgress"]
    assert egress["DestinationSecurityGroupId"] == {"Ref": "SecurityGroup"}


def test_the_proxy_leaves_connections_for_what_goes_to_the_database_itself() -> None:
    pool = database(WithProxy="true")["ProxyTargets"]["Properties"][
        "ConnectionPoolConfigurationInfo"
    ]
    assert pool["MaxConnectionsPercent"] < 100
    # A delivery that gets none has to have the time to say so.
    assert pool["ConnectionBorrowTimeout"] < min(
        function.timeout for function in read_template(ROOT / "template.yaml").functions.values()
    )


# --- samconfig.toml


def overrides(stage: str) -> dict[str, str]:
    given = SAMCONFIG[stage]["deploy"]["parameters"]["parameter_overrides"]
    return dict(each.split("=", 1) for each in given)


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_differs_in_its_parameters_only(stage: str) -> None:
    parameters = SAMCONFIG[stage]["deploy"]["parameters"]
    assert parameters["stack_name"] == f"stashjobs-{stage}"
    assert overrides(stage)["Stage"] == stage
    assert overrides(stage).keys() <= DOCUMENT["Parameters"].keys()
    assert "template_file" not in parameters


def test_production_asks_before_it_changes_and_cannot_be_forced() -> None:
    parameters = SAMCONFIG["production"]["deploy"]["parameters"]
    assert parameters["confirm_changeset"] is True
    assert parameters["disable_rollback"] is False


def test_an_hour_without_a_job_is_nothing_unusual_before_production() -> None:
    """The alarm would ring whenever nobody is at work, and `stashjobs doctor` would end each deploy
    before it reaches production."""
    expected = {stage: overrides(stage)["ExpectJobsEveryHour"] for stage in STAGES}
    assert expected == {"dev": "false", "staging": "false", "production": "true"}


def test_samconfig_has_no_secret() -> None:
    for stage in STAGES:
        names = overrides(stage).keys()
        assert not names & set(SECRET_SETTINGS)
        assert not [name for name in names if re.search(r"Token|Secret|Password|Key$", name)]
