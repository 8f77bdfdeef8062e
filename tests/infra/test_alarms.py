"""The alarms, the dashboard, the monitor and docs/monitoring.md speak of the same things."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml

from functions.monitor import handler as monitor
from infra.local.template import _Loader, read_template
from stashjobs.job_type import load
from stashjobs.observability import metrics
from tests.translation import ROOT, decide

PAGE = (ROOT / "docs" / "monitoring.md").read_text()
METRICS = {
    "FailureRate",
    "StuckJobs",
    "ProcessedLastHour",
    "QueueDepth",
    "OldestPendingSeconds",
    "AverageSeconds",
    "DeadLetters",
    "HeldBack",
}
# What is held back waits as it is to; where it waits too long OldestPendingSeconds tells.
WITHOUT_ALARM = {"HeldBack"}
FUNCTIONS = read_template(ROOT / "template.yaml").functions
JOBS = [each for each in load() if each.function.__module__.startswith("functions.")]


def read(name: str) -> dict[str, Any]:
    document: dict[str, Any] = yaml.load((ROOT / "infra" / name).read_text(), Loader=_Loader)  # noqa: S506
    return document


def alarms(name: str) -> dict[str, dict[str, Any]]:
    return {
        key: each["Properties"]
        for key, each in read(name)["Resources"].items()
        if each["Type"] in {"AWS::CloudWatch::Alarm", "AWS::CloudWatch::CompositeAlarm"}
    }


ALL = {**alarms("alarms.yaml"), **alarms("function_alarms.yaml")}
OWN = {name: each for name, each in ALL.items() if each.get("Namespace") == metrics.NAMESPACE}


def test_every_metric_that_can_be_too_much_has_an_alarm_and_every_alarm_a_metric() -> None:
    assert {each["MetricName"] for each in OWN.values()} == METRICS - WITHOUT_ALARM


def test_the_metrics_are_those_that_the_monitor_emits(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STAGE", "staging")
    # The values of `read` and of the dead letters, by the names that the handler gives them.
    source = (ROOT / "functions" / "monitor" / "handler.py").read_text()
    named = set(re.findall(r'"([A-Z]\w+)"(?=\]? ?[:=])', source)) - {
        "AverageSeconds",
        "Stage",
        "Type",
    }
    assert named == METRICS - {"AverageSeconds"}
    monitor.emit(dict.fromkeys(named, 1.0), {"send-email": 2.0})
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {}
    for line in lines:
        for group in line["_aws"]["CloudWatchMetrics"]:
            assert group["Namespace"] == "stashjobs"
            for metric in group["Metrics"]:
                found[metric["Name"]] = {name for each in group["Dimensions"] for name in each}
    assert found == {name: {"Stage"} for name in named} | {"AverageSeconds": {"Stage", "Type"}}


def test_an_alarm_looks_where_the_monitor_writes() -> None:
    for name, alarm in OWN.items():
        dimensions = {each["Name"]: each["Value"] for each in alarm["Dimensions"]}
        assert dimensions.pop("Stage") == {"Ref": "Stage"}, name
        assert (set(dimensions) == {"Type"}) == (alarm["MetricName"] == "AverageSeconds"), name


def test_the_five_conditions_of_the_deployment_guide_are_watched() -> None:
    defaults = {key: each.get("Default") for key, each in read("alarms.yaml")["Parameters"].items()}
    assert (OWN["FailureRate"]["Threshold"], defaults["FailurePercent"]) == (
        {"Ref": "FailurePercent"},
        5,
    )
    assert OWN["StuckJobs"]["Threshold"] == 0  # health counts those over ten minutes
    assert OWN["NothingProcessed"]["Threshold"] == 1
    assert OWN["QueueDepth"]["Threshold"] == {"Ref": "DepthLimit"}


def test_every_job_type_is_slow_at_half_of_its_time() -> None:
    found = {
        each["Dimensions"][1]["Value"]: each["Threshold"]
        for each in OWN.values()
        if each["MetricName"] == "AverageSeconds"
    }
    wanted = {job.type: job.timeout // 2 for job in JOBS}
    assert found == wanted, (
        "infra/alarms.yaml: one alarm on AverageSeconds for each job type, its Threshold half of "
        "@job(timeout=...)"
    )


@pytest.mark.parametrize("expected", ["true", "false"])
def test_one_light_is_made_of_every_condition_but_the_slow_ones(expected: str) -> None:
    parameters = {"Stage": "production", "ExpectJobsEveryHour": expected}
    resources = decide(read("alarms.yaml"), parameters)["Resources"]
    conditions = {
        name
        for name, each in resources.items()
        if each["Type"] == "AWS::CloudWatch::Alarm" and not name.endswith("IsSlow")
    }
    assert ("NothingProcessed" in conditions) == (expected == "true")
    joint, parts = resources["Unhealthy"]["Properties"]["AlarmRule"]["Fn::Join"]
    rule = joint.join(each["Fn::Sub"] if isinstance(each, dict) else each for each in parts)
    terms = rule.split(" OR ")
    never = ["FALSE"] if expected == "false" else []
    assert sorted(terms) == sorted([f'ALARM("${{{name}}}")' for name in conditions] + never)


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_every_function_has_alarms_at_nine_tenths_of_its_time(name: str) -> None:
    stacks = read("alarms.yaml")["Resources"]
    key = name.removesuffix("Function")
    words = FUNCTIONS[name].handler.split(".")[1].replace("_", "-")
    own = {job.function.__module__.split(".")[1]: job.timeout for job in JOBS}
    seconds = own.get(words.replace("-", "_"), FUNCTIONS[name].timeout)
    assert key in stacks, f"infra/alarms.yaml: add a stack {key}, as those of the other functions"
    assert stacks[key]["Properties"]["Parameters"] == {
        "FunctionName": {"Fn::Sub": f"stashjobs-${{Stage}}-{words}"},
        "Topic": {"Ref": "Topic"},
        "NearTimeoutMilliseconds": str(round(seconds * 900)),
    }, f"infra/alarms.yaml: {key}, nine tenths of {seconds:g} s"


def test_an_alarm_says_what_to_do_and_where_to_read_on() -> None:
    headings = {
        re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")
        for heading in re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)
    }
    for name, alarm in ALL.items():
        text = alarm["AlarmDescription"]
        text = text["Fn::Sub"] if isinstance(text, dict) else text
        assert len(text) <= 1024, name  # CloudWatch's limit
        match = re.search(r"docs/monitoring\.md(?:#([\w-]+))?$", text)
        assert match, f"{name}: end the description with docs/monitoring.md#<heading>"
        assert match[1] in {None, *headings}, f"docs/monitoring.md has no #{match[1]}"


def test_silence_is_decided_about() -> None:
    single = {name: alarm for name, alarm in ALL.items() if name != "Unhealthy"}
    assert {name: alarm["TreatMissingData"] for name, alarm in single.items()} == {
        name: "breaching" if name == "MonitorIsSilent" else "notBreaching" for name in single
    }
    assert [name for name, one in single.items() if one["AlarmActions"] != [{"Ref": "Topic"}]] == []


def test_the_page_names_every_metric() -> None:
    assert [metric for metric in METRICS if f"| `{metric}` |" not in PAGE] == []


def test_the_page_names_every_alarm() -> None:
    for alarm in ALL.values():
        name = alarm["AlarmName"]["Fn::Sub"]
        short = name.replace("stashjobs-${Stage}-", "").replace("${FunctionName}-", "")
        short = re.sub(r".*-average$", "<type>-average", short)
        assert f"`{short}`" in PAGE, f"docs/monitoring.md: the table of alarms lacks {short}"


PANELS = [
    "Success and failure rates",
    "Average processing times",
    "Queue depths",
    "Error trends",
    "Top failing types",
]


def test_the_dashboard_has_the_guides_five_panels_and_is_json() -> None:
    dashboard = decide(read("dashboard.yaml"), {})["Resources"]["Dashboard"]
    text, own = dashboard["Properties"]["DashboardBody"]["Fn::Sub"]
    _, parts = own["LogGroups"]["Fn::Join"]
    text = text.replace("${LogGroups}", "".join(each["Fn::Sub"] for each in parts))
    text = text.replace("${AWS::Region}", "us-east-1").replace("${Stage}", "staging")
    assert "${" not in text
    body = json.loads(text)
    titles = [each["properties"]["title"] for each in body["widgets"]]
    for panel in PANELS:
        assert any(title.startswith(panel) for title in titles)
    default = read("alarms.yaml")["Parameters"]["FailurePercent"]["Default"]
    [line] = body["widgets"][0]["properties"]["annotations"]["horizontal"]
    assert line == {"label": "alarm", "value": default}
    named = {
        metric[1]
        for each in body["widgets"]
        for metric in each["properties"].get("metrics", [])
        if metric[0] == "stashjobs"
    }
    assert named == METRICS - {"AverageSeconds"}
    assert 'MetricName="AverageSeconds"' in text.replace('\\"', '"')
    for job in JOBS:
        assert f"/stashjobs/staging/{job.type}" in text
