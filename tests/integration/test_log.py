"""The lines of one delivery: which job it was, once for each transition, and nothing secret."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING, Any

import pytest

from stashjobs.observability.log import SAMPLE_RATE, logger
from tests.deliveries import Table, deliver, delivery, handle, lambda_context, probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stashjobs import Context
    from tests.integration.conftest import Log

CANARY = "tangerine-5521"


def fail(_payload: Any, _context: Context) -> None:
    raise OSError("no")


def speak(_payload: Any, context: Context) -> None:
    context.logger.info("from the job")
    logging.getLogger("stashjobs").warning("from the layer")


@pytest.fixture
def sampled(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Half of all deliveries have debug lines; the logger is made anew."""
    monkeypatch.setenv(SAMPLE_RATE, "0.5")
    logger.cache_clear()
    yield monkeypatch
    monkeypatch.undo()
    logger.cache_clear()
    logger()


def test_every_line_of_an_attempt_says_which_one_it_is(table: Table, log: Log) -> None:
    job_id = table.add(probe(), user_id="u_1", organization_id="o_1")
    event = delivery({"jobId": job_id, "type": "probe"}, **{"upstash-retried": "2"})
    handle(probe(speak), event, lambda_context(request_id="request-1"))
    assert [line["message"] for line in log.lines] == [
        "processing",
        "from the job",
        "from the layer",
        "completed",
    ]
    for line in log.lines:
        assert (
            line.items()
            >= {
                "job_id": job_id,
                "job_type": "probe",
                "attempt": 1,
                "message_id": "msg_1",
                "retried": "2",
                "function_request_id": "request-1",
                "user_id": "u_1",
                "organization_id": "o_1",
            }.items()
        )


def test_a_key_that_a_job_adds_to_the_logger_stays_with_its_delivery(
    table: Table, log: Log, capsys: pytest.CaptureFixture[str]
) -> None:
    def add_keys(_payload: Any, context: Context) -> None:
        context.logger.append_keys(customer=CANARY, job_id=CANARY)
        context.logger.thread_safe_append_keys(region=CANARY)
        context.logger.set_correlation_id(CANARY)

    first = table.add(probe())
    deliver(probe(add_keys), first)
    assert log.lines[-1]["customer"] == CANARY
    # The metrics are the layer's own: a job's keys are not in them.
    assert CANARY not in capsys.readouterr().out

    before = len(log.lines)
    deliver(probe(speak), second := table.add(probe()))
    assert {line["job_id"] for line in log.lines[before:]} == {second}
    assert CANARY not in str(log.lines[before:])


def test_a_line_says_where_it_was_said(table: Table, log: Log) -> None:
    job = probe(speak)
    deliver(job, table.add(job))
    places = [line["location"].partition(":")[0] for line in log.lines]
    assert places == ["_process", "speak", "speak", "ended"]


def test_a_logger_that_is_told_to_be_quiet_is(table: Table, log: Log) -> None:
    quiet = logging.getLogger("stashjobs")
    before = quiet.level
    quiet.setLevel(logging.WARNING)
    try:
        deliver(probe(), table.add(probe()))
    finally:
        quiet.setLevel(before)
    assert log.lines == []


def test_what_an_application_has_added_to_the_logger_hears_of_each_transition(
    table: Table, log: Log
) -> None:
    heard: list[str] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    ear = Ear()
    logging.getLogger("stashjobs").addHandler(ear)
    try:
        deliver(probe(), table.add(probe()))
    finally:
        logging.getLogger("stashjobs").removeHandler(ear)
    assert heard == ["processing", "completed"]


@pytest.mark.parametrize(
    ("retries", "ends"), [(1, "retrying"), (0, "failed")], ids=["retrying", "failed"]
)
def test_each_transition_is_one_line(table: Table, log: Log, retries: int, ends: str) -> None:
    job = probe(fail, retries=retries)
    deliver(job, table.add(job))
    assert [line["message"] for line in log.lines] == ["processing", ends]
    assert log.lines[-1]["error"] == "OSError: no"
    assert isinstance(log.lines[-1]["duration_ms"], int)


def test_a_delivery_that_runs_nothing_says_of_which_attempt_it_heard(
    table: Table, log: Log
) -> None:
    job_id = table.add(probe())
    deliver(probe(), job_id)
    deliver(probe(), job_id)
    last = log.lines[-1]
    assert (last["message"], last["row_status"]) == ("not claimed", "completed")
    assert (last["job_id"], last["attempt"], last["message_id"]) == (job_id, 1, "msg_1")


def test_debug_lines_are_off(table: Table, log: Log) -> None:
    deliver(probe(), table.add(probe()))
    assert {line["level"] for line in log.lines} == {"INFO"}


def test_whether_debug_lines_are_written_is_drawn_for_each_delivery(
    table: Table, sampled: pytest.MonkeyPatch, log: Log
) -> None:
    seen = []
    for drawn in (0.9, 0.1, 0.9):
        sampled.setattr(random, "random", lambda drawn=drawn: drawn)
        before = len(log.lines)
        deliver(probe(), table.add(probe()))
        seen.append([line["message"] for line in log.lines[before:] if line["level"] == "DEBUG"])
    assert seen == [[], ["asked for the job", "ran"], []]


@pytest.mark.parametrize("rate", ["often", "2", "-1", "nan"])
def test_a_rate_that_is_none_costs_the_debug_lines_and_nothing_else(
    table: Table, sampled: pytest.MonkeyPatch, log: Log, rate: str
) -> None:
    sampled.setenv(SAMPLE_RATE, rate)
    logger.cache_clear()
    assert deliver(probe(), table.add(probe())).status == 200
    assert [line["message"] for line in log.lines] == [
        f"{SAMPLE_RATE} is not a number from 0 to 1, so no debug lines are sampled",
        "processing",
        "completed",
    ]


def test_a_rate_of_zero_samples_none(table: Table, sampled: pytest.MonkeyPatch, log: Log) -> None:
    sampled.setenv(SAMPLE_RATE, "0")
    logger.cache_clear()
    deliver(probe(), table.add(probe()))
    assert [line["message"] for line in log.lines] == ["processing", "completed"]
    assert "sampling_rate" not in log.text


def test_nothing_secret_and_no_payload_is_in_a_line(
    table: Table,
    settings: pytest.MonkeyPatch,
    log: Log,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Whatever becomes of the job, and with the debug lines."""
    logger().setLevel("DEBUG")
    settings.setenv("RESEND_API_KEY", f"re_{CANARY}")
    settings.setenv("SENTRY_DSN", f"http://{CANARY}@127.0.0.1:9/1")
    settings.setenv("OTEL_EXPORTER_OTLP_HEADERS", f"authorization=Bearer%20{CANARY}")
    settings.setenv("OTEL_SDK_DISABLED", "true")

    def leak(_payload: Any, _context: Context) -> None:
        raise OSError(f"key re_{CANARY} refused; Bearer {CANARY}; {CANARY} at http://{CANARY}@x/1")

    try:
        for function in (leak, fail, lambda payload, _context: payload):
            job = probe(function, retries=0)
            deliver(job, table.add(job, {"card": CANARY, CANARY: 1}, metadata={"note": CANARY}))
        handle(probe(), delivery({"type": "probe", "payload": CANARY, "jobId": 3, CANARY: 1}))
        handle(probe(), delivery(f'{{"type": "{CANARY}'.encode()))
        unsigned = delivery({"type": "probe", "payload": CANARY})
        handle(probe(), unsigned | {"headers": {"upstash-signature": f"{CANARY}.a.b"}})
        handle(probe(), delivery({"type": "probe"}) | {"rawQueryString": f"token={CANARY}"})
        settings.setenv("POSTGRES_URL", f"postgresql://nobody:{CANARY}@127.0.0.1:9/none")
        assert deliver(probe(), "nobody-knows-it").status == 503
    finally:
        logger().setLevel("INFO")
    assert len(log.lines) > 8
    assert CANARY not in log.text
    assert CANARY not in capsys.readouterr().out
