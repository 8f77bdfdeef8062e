"""Every minute, what the alarms look at: each condition crosses its threshold both ways."""

from __future__ import annotations

import asyncio
import json
import operator
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import yaml

from functions.monitor.handler import handler
from infra.local.qstash import QStashOptions, QStashServer
from infra.local.template import _Loader
from stashjobs.producer import message as messages
from stashjobs.producer import qstash_client
from tests.deliveries import lambda_context, probe
from tests.integration import conditions
from tests.translation import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.deliveries import Table

PROBE = probe()
OF_QSTASH_ALONE = {"DeadLetters": 0, "HeldBack": 0, "AverageSeconds": {}}


@pytest.fixture(autouse=True)
def _qstash_cannot_be_asked(table: Table, settings: pytest.MonkeyPatch) -> None:
    settings.delenv("QSTASH_TOKEN", raising=False)


@pytest.fixture
async def qstash(settings: pytest.MonkeyPatch) -> AsyncIterator[QStashServer]:
    async with QStashServer(QStashOptions()) as server:
        for name, value in server.environment.items():
            settings.setenv(name, value)
        yield server


def ended(table: Table, status: str, count: int, *, ago: str = "1 minute") -> None:
    table.run(
        """INSERT INTO job_executions (job_id, job_type, status, payload, max_attempts, attempt,
                                       created_at, started_at, completed_at)
           SELECT gen_random_uuid()::text, 'probe', %s, '{}', 1, 1, now() - %s::interval,
                  now() - %s::interval - interval '3 s', now() - %s::interval
             FROM generate_series(1, %s)""",
        status,
        ago,
        ago,
        ago,
        count,
    )


def monitor() -> dict[str, Any]:
    return handler({}, lambda_context())


def test_while_qstash_is_away_the_jobs_are_told(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("QSTASH_TOKEN", "token-of-a-test")
    settings.setenv("QSTASH_URL", "http://127.0.0.1:9")
    told = monitor()
    assert told["QueueDepth"] == 0
    assert "DeadLetters" not in told


def test_an_idle_system_has_no_failure_rate_and_nothing_waits() -> None:
    assert monitor() == {
        "StuckJobs": 0.0,
        "QueueDepth": 0.0,
        "OldestPendingSeconds": 0.0,
        "ProcessedLastHour": 0.0,
        "AverageSeconds": {},
    }


@pytest.mark.parametrize(("failed", "rate"), [(0, 0), (5, 5), (6, 6)])
def test_the_failure_rate_is_a_percentage_of_what_ended(
    table: Table, failed: int, rate: float
) -> None:
    ended(table, "completed", 100 - failed)
    ended(table, "failed", failed)
    assert monitor()["FailureRate"] == pytest.approx(rate)


def test_an_attempt_is_stuck_after_ten_minutes(table: Table) -> None:
    job_id = table.add(PROBE)
    for minutes, stuck in ((9, 0.0), (11, 1.0)):
        table.run(
            """UPDATE job_executions SET status = 'processing', lease_expires_at = now(),
                      started_at = now() - make_interval(mins => %s) WHERE job_id = %s""",
            minutes,
            job_id,
        )
        assert monitor()["StuckJobs"] == stuck


@pytest.mark.parametrize(("ago", "processed"), [("59 minutes", 2), ("61 minutes", 0)])
def test_what_ended_within_the_hour_was_processed(table: Table, ago: str, processed: float) -> None:
    ended(table, "completed", 1, ago=ago)
    ended(table, "failed", 1, ago=ago)
    assert monitor()["ProcessedLastHour"] == processed


def test_the_depth_is_what_is_due_and_its_age_that_of_the_first(table: Table) -> None:
    first, _second, later = (table.add(PROBE) for _ in range(3))
    move = "UPDATE job_executions SET available_at = now() + %s::interval WHERE job_id = %s"
    table.run(move, "-90 s", first)
    table.run(move, "1 hour", later)
    values = monitor()
    assert values["QueueDepth"] == 2
    assert 90 <= values["OldestPendingSeconds"] < 300


def test_the_average_duration_is_told_for_each_type(table: Table) -> None:
    ended(table, "completed", 2)
    assert monitor()["AverageSeconds"] == {"probe": pytest.approx(3)}


async def test_dead_letters_of_this_stage_are_counted(
    table: Table, qstash: QStashServer, settings: pytest.MonkeyPatch
) -> None:
    """Two of another stage came first; those that lead to a Function URL are told by the callback
    and by the key. The callback that reaches nobody is the fourth."""
    settings.setenv("BASE_URL", "http://127.0.0.1:9")
    elsewhere, function_url = "http://127.0.0.1:11/", "http://127.0.0.1:13/"
    base = "http://127.0.0.1:9/"

    def publish() -> None:
        send = qstash_client.qstash().message.publish
        send(url=elsewhere, body="x", retries=0)
        send(url=elsewhere, body="x", retries=0, flow_control={"key": "other", "parallelism": 9})
        send(url=f"{base}api/jobs/probe", body="x", retries=0)
        send(url=function_url, body="x", retries=0, failure_callback=f"{base}api/jobs/failed")
        key = messages.flow_control_key("probe")
        send(url=function_url, body="x", retries=0, flow_control={"key": key, "parallelism": 9})

    await asyncio.to_thread(publish)
    values: dict[str, Any] = {}
    for _ in range(100):
        values = await asyncio.to_thread(monitor)
        if values.get("DeadLetters") == 4:
            break
        await asyncio.sleep(0.1)
    assert values["DeadLetters"] == 4


def test_what_postgres_said_is_told_before_qstash_is_asked(
    table: Table, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lambda may end the function while QStash keeps it waiting."""

    def killed() -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("functions.monitor.handler.count_dead_letters", killed)
    with pytest.raises(KeyboardInterrupt):
        monitor()
    assert '"QueueDepth":[0.0]' in capsys.readouterr().out


async def test_what_a_rate_holds_back_at_qstash_is_counted(
    table: Table, qstash: QStashServer
) -> None:
    def publish() -> None:
        for key, count in (("a", 3), ("b", 2)):
            for _ in range(count):
                qstash_client.qstash().message.publish(
                    url="http://127.0.0.1:9/",
                    body="x",
                    retries=0,
                    flow_control={
                        "key": messages.flow_control_key(key),
                        "rate": 1,
                        "period": "1h",
                    },
                )
        for _ in range(3):  # of another stage
            qstash_client.qstash().message.publish(
                url="http://127.0.0.1:9/",
                body="x",
                retries=0,
                flow_control={"key": "elsewhere-a", "rate": 1, "period": "1h"},
            )

    assert (await asyncio.to_thread(monitor))["HeldBack"] == 0
    await asyncio.to_thread(publish)
    assert (await asyncio.to_thread(monitor))["HeldBack"] == 3


async def test_without_postgres_the_metrics_of_qstash_remain(
    settings: pytest.MonkeyPatch, qstash: QStashServer
) -> None:
    settings.setenv("POSTGRES_URL", "postgresql://nobody@127.0.0.1:9/none")
    assert await asyncio.to_thread(monitor) == OF_QSTASH_ALONE


def test_the_read_replica_is_asked_where_there_is_one(
    settings: pytest.MonkeyPatch, database_url: str
) -> None:
    settings.setenv("POSTGRES_URL", "postgresql://nobody@127.0.0.1:9/none")
    settings.setenv("POSTGRES_READ_URL", database_url)
    assert monitor()["QueueDepth"] == 0


def is_breaching(metric: str, value: float) -> bool:
    """Whether the alarm on a metric takes this value for too much, or too little."""
    document = yaml.load((ROOT / "infra" / "alarms.yaml").read_text(), Loader=_Loader)  # noqa: S506
    dimensions = [{"Name": "Stage", "Value": {"Ref": "Stage"}}]
    if metric == "AverageSeconds":
        dimensions.append({"Name": "Type", "Value": "send-email"})
    [alarm] = [
        each["Properties"]
        for each in document["Resources"].values()
        if each["Type"] == "AWS::CloudWatch::Alarm"
        and each["Properties"]["MetricName"] == metric
        and each["Properties"]["Dimensions"] == dimensions
        and each["Properties"]["Statistic"] == "Maximum"
    ]
    limit = alarm["Threshold"]
    if isinstance(limit, dict):
        limit = document["Parameters"][limit["Ref"]]["Default"]
    compare = {"GreaterThanThreshold": operator.gt, "LessThanThreshold": operator.lt}
    return bool(compare[alarm["ComparisonOperator"]](value, limit))


@pytest.mark.parametrize(
    ("metric", "arrange"),
    [
        ("FailureRate", conditions.failing),
        ("StuckJobs", conditions.stuck),
        ("ProcessedLastHour", conditions.standstill),
        ("QueueDepth", conditions.depth),
        ("OldestPendingSeconds", conditions.oldest),
        ("AverageSeconds", conditions.slow),
    ],
)
def test_a_condition_crosses_the_threshold_of_its_alarm_both_ways(
    table: Table, metric: str, arrange: Callable[..., None]
) -> None:
    for beyond in (False, True, False):
        table.run("DELETE FROM job_executions")
        arrange(table, beyond=beyond)
        value = monitor()[metric]
        value = value["send-email"] if isinstance(value, dict) else value
        assert is_breaching(metric, value) is beyond


@pytest.mark.parametrize(("letters", "breaching"), [(0, False), (1, True)])
def test_one_dead_letter_is_too_many(letters: int, breaching: bool) -> None:
    assert is_breaching("DeadLetters", letters) is breaching


async def test_a_query_that_takes_too_long_is_given_up_and_the_rest_is_told(
    database_url: str, qstash: QStashServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("functions.monitor.handler.QUERY_TIMEOUT_SECONDS", 0.1)
    with psycopg.connect(database_url) as other:
        other.execute("LOCK TABLE job_executions IN ACCESS EXCLUSIVE MODE")
        assert await asyncio.to_thread(monitor) == OF_QSTASH_ALONE


def test_metrics_are_lines_of_the_log_in_the_embedded_format(
    table: Table, capsys: pytest.CaptureFixture[str]
) -> None:
    ended(table, "completed", 1)
    monitor()
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    metrics = [line for line in lines if "_aws" in line]
    everything, average = metrics
    [directive] = everything["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "stashjobs"
    assert directive["Dimensions"] == [["Stage"]]
    assert {metric["Name"] for metric in directive["Metrics"]} == {
        "StuckJobs",
        "QueueDepth",
        "OldestPendingSeconds",
        "ProcessedLastHour",
        "FailureRate",
    }
    assert everything["Stage"] == "local"
    assert (average["Type"], average["AverageSeconds"]) == ("probe", [pytest.approx(3)])
