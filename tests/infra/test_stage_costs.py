"""What `stashjobs cost` says that a stage has is what its templates make.

Job types that a user has added are more of the same, so those that come along are what is counted.
"""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from infra.local.template import _Loader, read_template
from stashjobs.config import stage_secret
from stashjobs.tools.costs import Prices
from tests.infra.test_alarms import JOBS, METRICS
from tests.translation import ROOT

NUMBERS = Prices()
FUNCTIONS = read_template(ROOT / "template.yaml").functions


def resources(name: str) -> list[dict[str, Any]]:
    document = yaml.load((ROOT / name).read_text(), Loader=_Loader)  # noqa: S506
    return list(document["Resources"].values())


def count(kind: str, name: str) -> int:
    """Of a template, and of the stacks that it makes."""
    total = 0
    for each in resources(name):
        if each["Type"] == kind:
            total += 1
        elif (
            each["Type"] == "AWS::CloudFormation::Stack" and each.get("Condition") != "HasDatabase"
        ):
            inner = (ROOT / name).parent / each["Properties"]["TemplateURL"]
            total += count(kind, str(inner.relative_to(ROOT)))
    return total


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        ("AWS::CloudWatch::CompositeAlarm", "composite_alarms"),
        ("AWS::CloudWatch::Dashboard", "dashboards"),
        ("AWS::SecretsManager::Secret", "secrets"),
        ("AWS::KMS::Key", "keys"),
    ],
)
def test_what_costs_something_is_counted(kind: str, number: str) -> None:
    assert count(kind, "template.yaml") == NUMBERS.number(number)


def test_the_alarms_are_so_many_for_each_type_and_so_many_beside() -> None:
    of_types = len(JOBS) * NUMBERS.number("alarms_per_type")
    assert count("AWS::CloudWatch::Alarm", "template.yaml") == of_types + NUMBERS.number(
        "other_alarms"
    )


def test_there_are_at_least_the_types_that_come_along() -> None:
    assert len(JOBS) >= NUMBERS.number("job_types") == 7


def test_the_functions_of_every_minute_and_of_the_callback_are_as_small_as_that() -> None:
    minutely = [
        each
        for each in FUNCTIONS.values()
        if any(schedule.expression == "rate(1 minute)" for schedule in each.schedules)
    ]
    assert len(minutely) == NUMBERS.number("minutely_functions")
    small = {each.memory for each in [*minutely, FUNCTIONS["DeliveryFailedFunction"]]}
    assert small == {NUMBERS.number("small_memory")}


def test_the_metrics_of_the_stage_are_the_monitors_but_those_of_a_type() -> None:
    assert len(METRICS - {"AverageSeconds"}) == NUMBERS.number("stage_metrics")


def test_a_process_reads_its_secret_as_often_as_that() -> None:
    assert NUMBERS.number("secret_seconds") == stage_secret.DEFAULT_TTL_SECONDS


def test_no_metric_of_a_route_is_paid_for() -> None:
    """Each type's own are enough, and those of API Gateway's routes are charged."""
    [api] = [each for each in resources("template.yaml") if each["Type"].endswith("HttpApi")]
    settings = api["Properties"]["DefaultRouteSettings"]
    assert not settings.get("DetailedMetricsEnabled", False)
