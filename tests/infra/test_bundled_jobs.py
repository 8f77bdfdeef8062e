"""A stage without some of the job types that come along: the parameter `BundledJobs`."""

from __future__ import annotations

import functools
import json
import re
from typing import Any

import pytest
import yaml

from functions.api.dashboard import clocks
from functions.create_notification.handler import create_notification
from functions.send_email.handler import send_email
from infra.local.template import Template, _Loader, read_template
from stashjobs.errors import UnknownJobType
from stashjobs.job_type import LEFT_OUT, declared, find, load
from stashjobs.producer import schedules
from stashjobs.tools.doctor import email, setting_values, stripe
from tests.translation import ROOT, decide, translated

DOCUMENT: dict[str, Any] = yaml.load((ROOT / "template.yaml").read_text(), Loader=_Loader)  # noqa: S506
RULES = DOCUMENT["Rules"]
BUNDLED = RULES["BundledJobsAreKnown"]["Assertions"][0]["Assert"]["Fn::EachMemberIn"][1][2:]
STAYS = {"Api", "DeliveryFailed", "Monitor", "Relay"}
# Each type is in one of these and out of another.
CHOICES = [
    "all",
    "none",
    "cleanup-old-data",
    "send-email,create-notification,process-webhook",
    "send-email,create-notification,process-stripe-webhook,export-data",
    "send-email,generate-report",
]


def logical(job_type: str) -> str:
    return "".join(word.capitalize() for word in job_type.split("-"))


def chosen(choice: str) -> set[str]:
    return set(BUNDLED) if choice == "all" else set(choice.split(",")) - {"none"}


def expected(choice: str) -> set[str]:
    """The functions that there are, as the templates call them."""
    types = chosen(choice)
    webhooks = {"Webhooks"} if types & {"process-webhook", "process-stripe-webhook"} else set()
    return STAYS | webhooks | {logical(each) for each in types}


@functools.cache
def deployed(choice: str) -> dict[str, Any]:
    return decide(translated(), {"BundledJobs": choice, "Stage": "production"})


@functools.cache
def nested(name: str, choice: str) -> dict[str, Any]:
    document = yaml.load((ROOT / "infra" / name).read_text(), Loader=_Loader)  # noqa: S506
    parameters = {"BundledJobs": choice, "Stage": "production", "ExpectJobsEveryHour": "true"}
    return decide(document, parameters)


@functools.cache
def read(choice: str) -> Template:
    return read_template(ROOT / "template.yaml", parameters={"BundledJobs": choice})


def references(thing: Any) -> set[str]:
    """What a template's text needs to be there."""
    if isinstance(thing, list):
        return set().union(*map(references, thing))
    if not isinstance(thing, dict):
        return set()
    found: set[str] = set()
    for name, each in thing.items():
        if name == "Ref":
            found.add(each)
        elif name == "Fn::GetAtt":
            found.add(each[0] if isinstance(each, list) else each.split(".")[0])
        elif name == "DependsOn":
            found |= {each} if isinstance(each, str) else set(each)
        elif name == "Fn::Sub":
            text, own = each if isinstance(each, list) else (each, {})
            named = {one.split(".")[0] for one in re.findall(r"\$\{([^!}]+)\}", text)}
            found |= (named - own.keys()) | references(own)
        else:
            found |= references(each)
    return found


def names_of_bundled() -> list[str]:
    return [each.type for each in load() if each.type in BUNDLED]


def test_every_type_that_comes_along_can_be_chosen() -> None:
    folders = {job.function.__module__ for job in load()}
    assert sorted(names_of_bundled()) == sorted(BUNDLED)
    assert len(BUNDLED) == 7 <= len(folders)


@pytest.mark.parametrize("choice", CHOICES)
def test_nothing_leads_to_what_is_left_out(choice: str) -> None:
    stack = deployed(choice)
    there = {*stack["Resources"], *stack["Parameters"]}
    missing = {
        each
        for each in references([stack["Resources"], stack["Outputs"]])
        if each not in there and not each.startswith("AWS::")
    }
    assert missing == set()


@pytest.mark.parametrize("choice", CHOICES)
def test_functions_roles_logs_alarms_and_outputs_are_those_of_the_chosen_types(choice: str) -> None:
    stack, wanted = deployed(choice), expected(choice)
    by_kind: dict[str, set[str]] = {}
    for name, each in stack["Resources"].items():
        by_kind.setdefault(each["Type"], set()).add(name)
    assert by_kind["AWS::Lambda::Function"] == {f"{each}Function" for each in wanted}
    assert by_kind["AWS::Logs::LogGroup"] == {f"{each}Logs" for each in wanted} | {"AccessLogs"}
    alarms = {f"{each}NewVersionErrors" for each in wanted}
    assert by_kind["AWS::CloudWatch::Alarm"] == alarms
    outputs = {name for name in stack["Outputs"] if name.endswith("FunctionName")}
    assert outputs == {f"{each}FunctionName" for each in wanted}
    assert len(by_kind.get("AWS::Lambda::Url", ())) == len(chosen(choice))
    links = bool(chosen(choice) & {"export-data", "generate-report"})
    assert ("AWS::IAM::AccessKey" in by_kind) == links


@pytest.mark.parametrize("choice", CHOICES)
def test_the_gateway_has_the_routes_of_what_is_there(choice: str) -> None:
    stack, wanted = deployed(choice), expected(choice)
    [api] = [
        each for each in stack["Resources"].values() if each["Type"] == "AWS::ApiGatewayV2::Api"
    ]
    paths = {path: each for path, each in api["Properties"]["Body"]["paths"].items() if each}
    functions = read(choice).functions
    assert {name.removesuffix("Function") for name in functions} == wanted
    assert set(paths) == {route.path for each in functions.values() for route in each.routes}
    [stage] = [
        each for each in stack["Resources"].values() if each["Type"] == "AWS::ApiGatewayV2::Stage"
    ]
    keys = {route.key for each in functions.values() for route in each.routes}
    assert stage["Properties"]["RouteSettings"].keys() <= keys


@pytest.mark.parametrize("choice", CHOICES)
def test_the_alarms_and_the_dashboard_know_no_other(choice: str) -> None:
    resources = nested("alarms.yaml", choice)["Resources"]
    stacks = {
        name for name, each in resources.items() if each["Type"] == "AWS::CloudFormation::Stack"
    }
    assert stacks == expected(choice)
    slow = {name.removesuffix("IsSlow") for name in resources if name.endswith("IsSlow")}
    assert slow == {logical(each) for each in chosen(choice)}
    body = nested("dashboard.yaml", choice)["Resources"]["Dashboard"]["Properties"]
    text = json.dumps(body)
    named = set(re.findall(r"/stashjobs/\$\{Stage\}/([\w-]+)", text))
    assert named == {"relay"} | chosen(choice)


@pytest.mark.parametrize("choice", CHOICES)
def test_the_functions_are_told_what_is_left_out(choice: str) -> None:
    settings = read(choice).settings
    assert set(settings.get(LEFT_OUT, "").split()) == set(BUNDLED) - chosen(choice)
    urls = {name for name in settings if name.startswith("FUNCTION_URL_")}
    assert urls == set()  # known where the stack is


def asserts_fail(choice: str) -> list[str]:
    """The rules that would refuse the deploy."""
    members = choice.split(",")

    def holds(test: dict[str, Any]) -> bool:
        [(name, argument)] = test.items()
        if name == "Fn::Or":
            return any(holds(each) for each in argument)
        assert argument[0] == {"Ref": "BundledJobs"}
        if name == "Fn::Contains":
            return argument[1] in members
        assert name == "Fn::EachMemberIn"
        return set(members) <= set(argument[1])

    always = {"Fn::EachMemberIn": [{"Ref": "BundledJobs"}, members]}
    return [
        name
        for name, rule in RULES.items()
        if "BundledJobs" in json.dumps(rule) and holds(rule.get("RuleCondition", always))
        if not all(holds(each["Assert"]) for each in rule["Assertions"])
    ]


@pytest.mark.parametrize(
    ("choice", "refused"),
    [
        ("all", []),
        ("none", []),
        ("send-email,export-data", []),
        ("send-mail", ["BundledJobsAreKnown"]),
        ("export-data", ["WhatSendsEmailHasIt"]),
        ("generate-report", ["WhatSendsEmailHasIt"]),
        ("process-webhook", ["WhatNotifiesHasNotifications"]),
        ("process-stripe-webhook", ["WhatSendsEmailHasIt", "WhatNotifiesHasNotifications"]),
    ],
)
def test_a_choice_that_would_not_work_is_refused_by_the_deploy(
    choice: str, refused: list[str]
) -> None:
    assert asserts_fail(choice) == refused


# --- what runs there


@pytest.fixture
def _without_email(monkeypatch: pytest.MonkeyPatch) -> None:
    load()
    monkeypatch.setenv(LEFT_OUT, "send-email  cleanup-old-data process-stripe-webhook")


@pytest.mark.usefixtures("_without_email")
def test_a_type_that_is_left_out_is_not_declared_here_and_has_no_clock() -> None:
    types = {job.type for job in declared()}
    assert types & set(BUNDLED) == set(BUNDLED) - {
        "send-email",
        "cleanup-old-data",
        "process-stripe-webhook",
    }
    assert all(each.job.type != "send-email" for each in schedules.declared())
    assert [clock.name for clock in clocks.of_stage()] == ["relay", "monitor"]


@pytest.mark.usefixtures("_without_email")
def test_enqueue_of_it_is_refused_with_the_next_step_before_anything_is_written() -> None:
    words = "send-email is left out of this stage; add it to the parameter BundledJobs and deploy"
    with pytest.raises(UnknownJobType, match=words):
        find("send-email")
    with pytest.raises(UnknownJobType, match=words):
        send_email.enqueue(send_email.example())
    assert find("create-notification") is create_notification


@pytest.mark.usefixtures("_without_email")
def test_doctor_asks_for_nothing_that_only_it_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("RESEND_API_KEY", "STRIPE_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    shapes = {shape.name: shape for shape in setting_values.SHAPES}
    for name in ("RESEND_API_KEY", "STRIPE_SECRET_KEY"):
        verdict = setting_values.has_right_shape(shapes[name])
        assert "is left out of this stage" in str(verdict)
    assert "is left out of this stage" in str(email.sender_is_verified())
    assert "is left out of this stage" in str(stripe.webhook_endpoint())
