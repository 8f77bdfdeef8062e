"""What a delivery tells CloudWatch: one line, one count, and how long an attempt took."""

from __future__ import annotations

import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, get_args

import pytest

from stashjobs import Cancelled, PermanentError, RetryLater
from stashjobs.delivery import answers
from tests.deliveries import (
    Answer,
    Table,
    deliver,
    delivery,
    handle,
    http_event,
    lambda_context,
    probe,
    sign,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from stashjobs import Context
    from tests.integration.conftest import Log

Captured = pytest.CaptureFixture[str]


def emitted(capsys: Captured) -> list[dict[str, Any]]:
    """The lines in the embedded metric format since the last look."""
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return [line for line in lines if "_aws" in line]


def counts(line: dict[str, Any]) -> dict[str, float]:
    """The values of the metrics that CloudWatch extracts, by the specification's rules."""
    [directive] = line["_aws"]["CloudWatchMetrics"]
    found = {}
    for metric in directive["Metrics"]:
        value = line[metric["Name"]]
        [found[metric["Name"]]] = value if isinstance(value, list) else [value]
    return found


def raising(error: BaseException) -> Callable[..., Any]:
    def function(_payload: Any, _context: Context) -> None:
        raise error

    return function


def test_a_delivery_is_one_line_in_the_namespace_and_dimensions_of_the_monitor(
    table: Table, capsys: Captured
) -> None:
    before = time.time()
    deliver(probe(), table.add(probe()))
    [line] = emitted(capsys)
    [directive] = line["_aws"]["CloudWatchMetrics"]
    assert directive["Namespace"] == "stashjobs"
    assert directive["Dimensions"] == [["Stage", "Type"]]
    assert (line["Stage"], line["Type"]) == ("local", "probe")
    assert {each["Name"]: each["Unit"] for each in directive["Metrics"]} == {
        "Completed": "Count",
        "AttemptSeconds": "Seconds",
    }
    # Milliseconds since the epoch, and no more than two hours old (AWS docs).
    assert before * 1000 - 1 <= line["_aws"]["Timestamp"] <= time.time() * 1000


def test_a_service_name_of_the_environment_is_no_dimension(
    table: Table, settings: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """Alarms and dashboard look at Stage and Type alone."""
    settings.setenv("POWERTOOLS_SERVICE_NAME", "orders")
    deliver(probe(), table.add(probe()))
    [line] = emitted(capsys)
    assert line["_aws"]["CloudWatchMetrics"][0]["Dimensions"] == [["Stage", "Type"]]


def test_a_metrics_line_is_found_by_the_job(table: Table, capsys: Captured) -> None:
    job_id = table.add(probe(), user_id="u_1")
    message = {"jobId": job_id, "type": "probe"}
    handle(probe(), delivery(message), lambda_context(request_id="request-1"))
    [line] = emitted(capsys)
    assert (line["job_id"], line["attempt"], line["user_id"]) == (job_id, 1, "u_1")
    assert (line["message_id"], line["function_request_id"]) == ("msg_1", "request-1")


def test_the_seconds_are_those_of_the_attempt(table: Table, capsys: Captured) -> None:
    deliver(probe(lambda *_: time.sleep(0.05)), table.add(probe()))
    [line] = emitted(capsys)
    assert 0.05 <= counts(line)["AttemptSeconds"] < 60


@pytest.mark.parametrize(
    ("error", "count"),
    [
        (OSError("no"), "Retried"),
        (RetryLater(5), "Retried"),
        (PermanentError("no"), "Failed"),
        (Cancelled("no"), "Cancelled"),
    ],
    ids=["error", "retry-later", "permanent", "cancelled"],
)
def test_an_attempt_that_does_not_complete_counts_as_what_it_ends_as(
    table: Table, capsys: Captured, error: Exception, count: str
) -> None:
    deliver(probe(raising(error)), table.add(probe()))
    [line] = emitted(capsys)
    assert set(counts(line)) == {count, "AttemptSeconds"}
    assert counts(line)[count] == 1


def without_signature(table: Table) -> Answer:
    table.add(probe())
    return handle(probe(), http_event(b"{}", {"upstash-message-id": "msg_1"}))


def of_an_ended_job(table: Table) -> Answer:
    job_id = table.add(probe())
    table.run(
        "UPDATE job_executions SET status = 'cancelled', completed_at = now() WHERE job_id = %s",
        job_id,
    )
    return deliver(probe(), job_id)


def of_a_busy_job(table: Table) -> Answer:
    job_id = table.add(probe())
    table.run(
        """UPDATE job_executions SET status = 'processing', attempt = 1, started_at = now(),
                  lease_expires_at = now() + interval '1 minute' WHERE job_id = %s""",
        job_id,
    )
    return deliver(probe(), job_id)


def of_a_job_of_tomorrow(table: Table) -> Answer:
    return deliver(probe(), table.add(probe(), available_at=datetime.now(UTC) + timedelta(days=1)))


def with_a_key_of_another(table: Table) -> Answer:
    table.add(probe(), idempotency_key="once")
    message = {"type": "probe", "payload": {}, "metadata": {"idempotencyKey": "once"}}
    return handle(probe(), delivery(message))


def that_loses_its_lease(table: Table) -> Answer:
    job_id = table.add(probe())

    def overtaken(_payload: Any, _context: Context) -> None:
        table.run("UPDATE job_executions SET attempt = attempt + 1 WHERE job_id = %s", job_id)

    return deliver(probe(overtaken), job_id)


@pytest.mark.parametrize(
    ("happens", "count", "status"),
    [
        (without_signature, "Rejected", 401),
        (lambda _table: handle(probe(), delivery(b"no JSON")), "Unreadable", 489),
        (lambda _table: deliver(probe(), "nobody-knows-it"), "Unreadable", 489),
        (of_an_ended_job, "Duplicate", 200),
        (with_a_key_of_another, "Duplicate", 200),
        (of_a_busy_job, "Busy", 409),
        (of_a_job_of_tomorrow, "NotDue", 503),
        (that_loses_its_lease, "LeaseLost", 409),
    ],
    ids=["signature", "not-json", "no-row", "ended", "key", "busy", "tomorrow", "lease"],
)
def test_a_delivery_that_decides_nothing_counts_once_and_has_no_seconds(
    table: Table,
    capsys: Captured,
    happens: Callable[[Table], Answer],
    count: str,
    status: int,
) -> None:
    assert happens(table).status == status
    [line] = emitted(capsys)
    assert counts(line) == {count: 1}


def test_a_clock_that_is_behind_is_counted_and_said(
    table: Table, capsys: Captured, log: Log
) -> None:
    body = json.dumps({"jobId": table.add(probe()), "type": "probe"}).encode()
    event = http_event(body, {"upstash-signature": sign(body, age=-120)})
    answer = handle(probe(), event)
    assert answer.status == 401
    [line] = emitted(capsys)
    found = counts(line)
    assert found["Rejected"] == 1
    assert 115 <= found["ClockBehindSeconds"] <= 120
    [refused] = [line for line in log.lines if line["level"] == "WARNING"]
    assert "this machine's clock is behind QStash's" in refused["error"]


def test_without_postgres_it_is_unavailable(
    table: Table, settings: pytest.MonkeyPatch, capsys: Captured
) -> None:
    job_id = table.add(probe())
    settings.setenv("POSTGRES_URL", "postgresql://nobody@127.0.0.1:9/none")
    assert deliver(probe(), job_id).status == 503
    [line] = emitted(capsys)
    assert counts(line) == {"Unavailable": 1}


def test_the_type_is_the_functions_own_and_never_the_messages(
    table: Table, capsys: Captured
) -> None:
    handle(probe(), delivery({"type": "made-up-to-cost-money", "payload": 1}))
    [line] = emitted(capsys)
    assert line["Type"] == "probe"
    assert "made-up" not in json.dumps(line)


def test_a_direct_invocation_counts_too(table: Table, capsys: Captured) -> None:
    handle(probe(), {"type": "probe", "payload": 1})
    [line] = emitted(capsys)
    assert counts(line)["Completed"] == 1


def test_the_page_explains_each_metric(repository: Path) -> None:
    page = (repository / "docs/monitoring.md").read_text()
    names = (*get_args(answers.Count), "AttemptSeconds")
    assert [name for name in names if f"| `{name}` |" not in page] == []


def test_the_dashboard_charts_what_workers_emit(repository: Path) -> None:
    text = (repository / "infra/dashboard.yaml").read_text()
    charted = set(re.findall(r'Stage,Type} MetricName=\\+"(\w+)\\+"', text)) - {"AverageSeconds"}
    assert {"Completed", "Failed", "AttemptSeconds"} <= charted
    assert charted <= {*get_args(answers.Count), "AttemptSeconds"}
