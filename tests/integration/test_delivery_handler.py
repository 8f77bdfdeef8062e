"""The outcome table of a delivery: what QStash is answered, and what the row says."""

from __future__ import annotations

import math
import os
import random
import signal
import sys
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from stashjobs import Cancelled, PermanentError, RetryLater
from stashjobs.errors import DeliveryRefused
from stashjobs.operators import health, statistics
from stashjobs.store import database, executions
from stashjobs.store.executions import Lease, claim
from tests.deliveries import (
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

    from stashjobs import Context
    from tests.integration.conftest import Log


class Greeting(BaseModel):
    name: str
    times: int = 1


def raising(error: BaseException) -> Callable[[Any, Context], Any]:
    def function(_payload: Any, _context: Context) -> Any:
        raise error

    return function


def counted() -> tuple[list[Any], Callable[[Any, Context], Any]]:
    payloads: list[Any] = []

    def function(payload: Any, _context: Context) -> Any:
        payloads.append(payload)
        return {"run": len(payloads)}

    return payloads, function


# ------------------------------------------------------------------ completed


def test_a_completed_job_is_answered_200_and_its_row_has_the_result(table: Table) -> None:
    job = probe(lambda payload, _context: {"greeted": payload["name"]})
    job_id = table.add(job, {"name": "Ada"}, user_id="u_1", organization_id="o_1")

    answer = deliver(job, job_id)

    assert answer.status == 200
    assert answer.headers == {}
    assert answer.document == {"jobId": job_id, "attempt": 1, "status": "completed"}
    row = table.row(job_id)
    assert row["status"] == "completed"
    assert row["result"] == {"greeted": "Ada"}
    assert (row["attempt"], row["retry_count"]) == (1, 0)
    assert row["error"] is None
    assert row["errors"] == []
    assert row["lease_expires_at"] is None
    assert row["started_at"] <= row["completed_at"]
    assert row["message_id"] == "msg_1"
    assert row["published_at"] is not None


def test_a_job_is_processing_while_it_runs(table: Table) -> None:
    seen = {}

    def look(_payload: Any, context: Context) -> None:
        seen.update(table.row(context.job_id))

    job = probe(look)
    deliver(job, table.add(job))
    assert seen["status"] == "processing"
    assert seen["attempt"] == 1
    assert seen["lease_expires_at"] > seen["started_at"]


def test_the_context_says_whose_job_it_is(table: Table) -> None:
    seen: list[Context] = []
    job = probe(lambda _payload, context: seen.append(context))
    job_id = table.add(job, user_id="u_1", organization_id="o_1")
    deliver(job, job_id)
    [context] = seen
    assert (context.job_id, context.job_type) == (job_id, "probe")
    assert (context.attempt, context.max_attempts, context.run) == (1, 3, 1)
    assert (context.user_id, context.organization_id) == ("u_1", "o_1")


def test_a_model_is_what_the_function_gets(table: Table) -> None:
    def greet(greeting: Greeting, _context: Context) -> Greeting:
        return Greeting(name=greeting.name.upper(), times=greeting.times + 1)

    job = probe(greet)
    job_id = table.add(job, {"name": "ada"})
    assert deliver(job, job_id).status == 200
    assert table.row(job_id)["result"] == {"name": "ADA", "times": 2}


def test_no_result_is_a_json_null(table: Table) -> None:
    job = probe(lambda _payload, _context: None)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 200
    [row] = table.run("SELECT jsonb_typeof(result) AS kind FROM job_executions")
    assert row["kind"] == "null"


@pytest.mark.parametrize("status", ["completed", "cancelled"])
def test_a_job_that_is_over_does_not_run_again(table: Table, status: str) -> None:
    ran, function = counted()
    job = probe(function)
    job_id = table.add(job)
    if status == "completed":
        deliver(job, job_id)
    else:
        table.run("UPDATE job_executions SET status = 'cancelled', completed_at = now()")
    before, runs = table.row(job_id), len(ran)

    answer = deliver(job, job_id)

    assert answer.status == 200
    assert answer.headers == {}
    assert answer.document == {"jobId": job_id, "status": status, "ran": False}
    assert len(ran) == runs
    assert table.row(job_id) == before


# ------------------------------------------------------------------ 401


@pytest.mark.parametrize(
    "signature",
    [
        None,
        "",
        "a.b.c",
        lambda body: sign(body, key="sig_someone_elses"),
        lambda body: sign(body + b" "),
        lambda body: sign(body, "https://jobs.example.test/api/jobs/other"),
        lambda body: sign(body, age=400),
        lambda body: sign(body, age=-60),
    ],
    ids=["none", "empty", "nonsense", "stranger", "other-body", "other-url", "expired", "future"],
)
def test_without_a_good_signature_it_is_401_and_the_row_is_untouched(
    table: Table, signature: str | Callable[[bytes], str] | None
) -> None:
    ran, function = counted()
    job = probe(function)
    job_id = table.add(job)
    before = table.row(job_id)
    body = b'{"jobId": "%s", "type": "probe"}' % job_id.encode()
    token = signature(body) if callable(signature) else signature
    headers = {} if token is None else {"upstash-signature": token}

    answer = handle(job, http_event(body, headers))

    assert answer.status == 401
    assert answer.headers == {}
    assert job_id not in str(answer.document)
    assert ran == []
    assert table.row(job_id) == before


def test_nothing_of_an_unverified_body_reaches_the_log(table: Table, log: Log) -> None:
    handle(probe(), http_event(b'{"jobId": "injected", "type": "probe"}', {}))
    assert "refused" in log.text
    assert "injected" not in log.text


def test_the_next_signing_key_counts_too(table: Table, settings: pytest.MonkeyPatch) -> None:
    job = probe()
    body = b'{"jobId": "%s", "type": "probe"}' % table.add(job).encode()
    token = sign(body, key=os.environ["QSTASH_NEXT_SIGNING_KEY"])
    assert handle(job, http_event(body, {"upstash-signature": token})).status == 200


@pytest.mark.parametrize("region", ["EU_CENTRAL_1", "US_EAST_1"])
@pytest.mark.parametrize("which", ["CURRENT", "NEXT"])
def test_while_an_account_moves_messages_of_either_region_are_accepted(
    table: Table, settings: pytest.MonkeyPatch, region: str, which: str
) -> None:
    job = probe()
    body = b'{"jobId": "%s", "type": "probe"}' % table.add(job).encode()
    for each in ("CURRENT", "NEXT"):
        settings.setenv(f"{region}_QSTASH_{each}_SIGNING_KEY", f"sig_of_{region}_{each}")
    token = sign(body, key=f"sig_of_{region}_{which}")
    assert handle(job, http_event(body, {"upstash-signature": token})).status == 200


@pytest.mark.parametrize("name", ["QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"])
def test_without_signing_keys_nothing_is_believed(
    table: Table, settings: pytest.MonkeyPatch, name: str
) -> None:
    job = probe()
    job_id = table.add(job)
    event = delivery({"jobId": job_id, "type": "probe"})
    settings.delenv(name)
    answer = handle(job, event)
    assert answer.status == 500
    assert name in answer.document["error"]
    assert table.status(job_id) == "pending"


# ------------------------------------------------------------------ 489


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[]",
        b'"text"',
        b'{"type": "probe"',
        b'{"jobId": "j_1"}',
        b'{"jobId": "j_1", "type": 7}',
        b'{"jobId": "j_1", "type": "another"}',
        b'{"jobId": "", "type": "probe", "payload": {}}',
        b'{"jobId": 7, "type": "probe", "payload": {}}',
        b'{"jobId": "j_1", "type": "probe", "payload": NaN}',
        b'{"jobId": "j_1", "type": "probe", "payload": 1e999}',
        b'{"jobId": "j_1", "type": "probe", "payload": "\\u0000"}',
        b'{"jobId": "j_1", "type": "probe", "payload": {"\\ud800": 1}}',
        b'{"jobId": "j_1", "type": "probe", "payload": {}, "metadata": "x"}',
        b'{"jobId": "j_1", "type": "probe", "payload": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"jobId": "j_1", "type": "probe", "payload": ' + b"9" * 5000 + b"}",
        b'{"jobId": "' + b"j" * 129 + b'", "type": "probe", "payload": {}}',
    ],
    ids=lambda body: body[:50].decode(),
)
def test_an_unreadable_message_is_489_and_leaves_no_row(table: Table, body: bytes) -> None:
    ran, function = counted()
    answer = handle(probe(function), delivery(body))
    assert answer.stops_qstash
    assert answer.document["status"] == "refused"
    assert ran == []
    assert table.rows() == []


def test_an_invalid_payload_on_the_row_fails_the_job_without_a_run(table: Table) -> None:
    ran = []

    def greet(greeting: Greeting, _context: Context) -> None:
        ran.append(greeting)

    job = probe(greet)
    job_id = table.add(job, {"name": 7, "times": "never-shown"})

    answer = deliver(job, job_id)

    assert answer.stops_qstash
    assert answer.document["status"] == "failed"
    assert ran == []
    row = table.row(job_id)
    assert row["status"] == "failed"
    assert row["error"].startswith("InvalidPayload: the payload does not fit probe: name: ")
    assert "never-shown" not in str(row["error"]) + str(row["errors"])


def test_a_permanent_error_fails_the_job_at_once(table: Table) -> None:
    job = probe(raising(PermanentError("no such customer")))
    job_id = table.add(job)
    answer = deliver(job, job_id)
    assert answer.stops_qstash
    assert answer.document == {
        "jobId": job_id,
        "attempt": 1,
        "status": "failed",
        "error": "PermanentError: no such customer",
    }
    row = table.row(job_id)
    assert (row["status"], row["error"]) == ("failed", "PermanentError: no such customer")
    assert row["completed_at"] is not None


def test_a_failed_job_does_not_run_again_and_says_why(table: Table) -> None:
    job = probe(raising(PermanentError("no such customer")))
    job_id = table.add(job)
    deliver(job, job_id)
    before = table.row(job_id)
    answer = deliver(probe(), job_id)
    assert answer.stops_qstash
    assert answer.document["error"] == "PermanentError: no such customer"
    assert answer.document["ran"] is False
    assert table.row(job_id) == before


def test_a_thin_message_without_a_row_is_489(table: Table) -> None:
    answer = deliver(probe(), "no-such-job")
    assert answer.stops_qstash
    assert table.rows() == []


def test_a_message_for_another_function_is_489(table: Table) -> None:
    job = probe()
    job_id = table.add(job)
    answer = handle(probe(type="other"), delivery({"jobId": job_id, "type": "probe"}))
    assert answer.stops_qstash
    assert table.status(job_id) == "pending"


@pytest.mark.parametrize("extra", [{}, {"payload": {}}], ids=["thin", "with-payload"])
def test_a_row_of_another_type_is_489_and_stays_as_it_is(
    table: Table, extra: dict[str, Any]
) -> None:
    ran, function = counted()
    job_id = table.add(probe(type="other"))
    before = table.row(job_id)
    answer = handle(probe(function), delivery({"jobId": job_id, "type": "probe", **extra}))
    assert answer.stops_qstash
    assert "this job is a other, not a probe" in answer.document["error"]
    assert ran == []
    assert table.row(job_id) == before


@pytest.mark.parametrize(
    "result",
    [math.nan, {"at": math.inf}, "\0", "\ud800", object(), {"deep": open}],
    ids=["nan", "inf", "nul", "surrogate", "object", "function"],
)
def test_a_result_that_is_not_json_fails_the_job_for_good(table: Table, result: object) -> None:
    job = probe(lambda _payload, _context: result)
    job_id = table.add(job)
    answer = deliver(job, job_id)
    assert answer.stops_qstash
    row = table.row(job_id)
    assert row["status"] == "failed"
    assert row["error"].startswith("PermanentError: probe ran, but its result ")


def test_a_result_that_no_row_can_hold_fails_the_job_for_good(table: Table) -> None:
    """Found by Postgres alone; doing the work again would not make it fit."""
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    name = table.connection.info.dbname
    table.run(f"ALTER DATABASE {name} SET max_stack_depth = '100kB'")
    try:
        database.close()
        job = probe(lambda _payload, _context: deep)
        job_id = table.add(job)
        answer = deliver(job, job_id)
    finally:
        table.run(f"ALTER DATABASE {name} RESET max_stack_depth")
    assert answer.stops_qstash
    row = table.row(job_id)
    assert row["status"] == "failed"
    assert row["error"].startswith("PermanentError: probe ran, but its result ")


# ------------------------------------------------------------------ errors


def test_an_error_with_attempts_left_is_500_and_retrying(table: Table) -> None:
    job = probe(raising(ZeroDivisionError("division by zero")))
    job_id = table.add(job)
    answer = deliver(job, job_id)
    assert answer.status == 500
    assert answer.headers == {}
    assert answer.document["status"] == "retrying"
    row = table.row(job_id)
    assert (row["status"], row["attempt"], row["completed_at"]) == ("retrying", 1, None)
    assert row["error"] == "ZeroDivisionError: division by zero"


def test_an_error_of_the_last_attempt_fails_the_job(table: Table) -> None:
    job = probe(raising(ZeroDivisionError("division by zero")), retries=1)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 500
    answer = deliver(job, job_id)
    assert answer.stops_qstash
    assert answer.document["status"] == "failed"
    assert (answer.document["attempt"], table.row(job_id)["retry_count"]) == (2, 1)
    assert table.status(job_id) == "failed"


def test_a_job_without_retries_has_one_attempt(table: Table) -> None:
    job = probe(raising(OSError("gone")), retries=0)
    job_id = table.add(job)
    assert deliver(job, job_id).stops_qstash
    assert table.status(job_id) == "failed"


def test_the_error_of_every_attempt_is_kept(table: Table) -> None:
    def fail(_payload: Any, context: Context) -> None:
        raise [KeyError, OSError, ValueError][context.attempt - 1](f"attempt {context.attempt}")

    job = probe(fail)
    job_id = table.add(job)
    for _ in range(3):
        deliver(job, job_id)
    errors = table.row(job_id)["errors"]
    assert [(error["attempt"], error["type"]) for error in errors] == [
        (1, "KeyError"),
        (2, "OSError"),
        (3, "ValueError"),
    ]
    assert errors[1]["message"] == "attempt 2"
    assert errors[2]["traceback"].endswith("ValueError: attempt 3\n")
    assert "in fail" in errors[2]["traceback"]
    assert all(error["startedAt"] <= error["endedAt"] for error in errors)
    assert errors[0]["endedAt"] <= errors[1]["startedAt"]


def test_a_success_after_an_error_clears_the_error_and_keeps_the_history(table: Table) -> None:
    def second_time_lucky(_payload: Any, context: Context) -> int:
        if context.attempt == 1:
            raise OSError("not yet")
        return 7

    job = probe(second_time_lucky)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 500
    assert deliver(job, job_id).status == 200
    row = table.row(job_id)
    assert (row["status"], row["result"], row["error"]) == ("completed", 7, None)
    assert (row["attempt"], row["retry_count"], len(row["errors"])) == (2, 1, 1)


def test_a_long_traceback_loses_its_beginning(table: Table) -> None:
    def fail(_payload: Any, _context: Context) -> None:
        error = None
        for number in range(50):
            try:
                raise ValueError(f"error {number}") from error
            except ValueError as raised:
                error = raised
        assert error is not None
        raise error

    job = probe(fail)
    job_id = table.add(job)
    deliver(job, job_id)
    [error] = table.row(job_id)["errors"]
    assert 3_900 < len(error["traceback"]) <= 4_001
    assert error["traceback"].startswith("…")
    assert "error 0\n" not in error["traceback"]
    assert error["traceback"].endswith("ValueError: error 49\n")


def test_a_long_message_is_cut(table: Table) -> None:
    job = probe(raising(ValueError("m" * 100_000)))
    job_id = table.add(job)
    deliver(job, job_id)
    [error] = table.row(job_id)["errors"]
    assert len(error["message"]) == 2_000


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


@pytest.mark.parametrize(
    "error",
    [ValueError("a\0b"), ValueError("\ud800"), ValueError(), Unprintable()],
    ids=["nul", "surrogate", "empty", "unprintable"],
)
def test_any_error_can_be_recorded(table: Table, error: Exception) -> None:
    job = probe(raising(error))
    job_id = table.add(job)
    assert deliver(job, job_id).status == 500
    row = table.row(job_id)
    assert row["status"] == "retrying"
    assert row["errors"][0]["type"] == type(error).__name__
    assert row["errors"][0]["message"]


def test_retry_later_is_503_with_its_own_retry_after(table: Table) -> None:
    job = probe(raising(RetryLater(90.2, "rate limit")))
    job_id = table.add(job)
    answer = deliver(job, job_id)
    assert (answer.status, answer.retry_after) == (503, 91)
    row = table.row(job_id)
    assert (row["status"], row["error"]) == ("retrying", "RetryLater: rate limit")


def test_a_second_message_before_the_time_of_retry_later_is_not_due_yet(
    table: Table, log: Log
) -> None:
    job = probe(raising(RetryLater(600)))
    job_id = table.add(job)
    deliver(job, job_id)
    answer = deliver(probe(), job_id)
    assert (answer.status, answer.document["reason"]) == (503, "not due yet")
    assert answer.document["ran"] is False
    assert answer.retry_after is not None
    assert 500 < answer.retry_after <= 600
    row = table.row(job_id)
    assert (row["status"], row["attempt"], len(row["errors"])) == ("retrying", 1, 1)
    assert [line["message"] for line in log.lines if "message" in line][-1] == "not claimed"
    table.make_due(job_id)
    assert deliver(probe(), job_id).status == 200


def test_a_message_before_the_time_of_a_delayed_job_is_not_due_yet(table: Table) -> None:
    days = datetime.now(UTC) + timedelta(days=30)
    job_id = table.add(probe(), available_at=days)
    thin = {"jobId": job_id, "type": "probe"}
    for message in (thin, {**thin, "payload": {}}):  # the second is another producer's
        answer = handle(probe(), delivery(message))
        # QStash takes no longer time.
        assert (answer.status, answer.retry_after) == (503, 86_400)
    assert table.row(job_id)["attempt"] == 0


def test_a_message_is_due_where_qstash_s_clock_is_a_second_ahead(table: Table) -> None:
    job_id = table.add(probe(), available_at=datetime.now(UTC) + timedelta(seconds=1))
    assert deliver(probe(), job_id).status == 200


def test_retry_later_on_the_last_attempt_fails_the_job(table: Table) -> None:
    job = probe(raising(RetryLater(90)), retries=0)
    job_id = table.add(job)
    answer = deliver(job, job_id)
    assert answer.stops_qstash
    assert answer.retry_after is None
    assert table.status(job_id) == "failed"


@pytest.mark.parametrize("seconds", [-5.0, 0.0, math.nan, math.inf, 1e12])
def test_any_retry_later_gets_an_answer_that_qstash_can_read(table: Table, seconds: float) -> None:
    def later(_payload: Any, _context: Context) -> None:
        raise RetryLater(seconds)

    job = probe(later)
    job_id = table.add(job)
    answer = deliver(job, job_id)
    assert answer.status in {500, 503}
    assert answer.retry_after is None or answer.retry_after >= 0
    assert table.status(job_id) == "retrying"


def test_cancelled_ends_the_job_and_stops_qstash(table: Table) -> None:
    job = probe(raising(Cancelled("the user unsubscribed")))
    job_id = table.add(job)
    answer = deliver(job, job_id)
    assert answer.status == 200
    assert answer.document["status"] == "cancelled"
    row = table.row(job_id)
    assert (row["status"], row["error"]) == ("cancelled", "Cancelled: the user unsubscribed")
    assert row["completed_at"] is not None


@pytest.mark.parametrize("code", [0, 1, "stop"])
def test_sys_exit_in_a_job_is_an_error_of_its_attempt(table: Table, code: int | str) -> None:
    job = probe(lambda _payload, _context: sys.exit(code))
    job_id = table.add(job)
    assert deliver(job, job_id).status == 500
    row = table.row(job_id)
    assert row["status"] == "retrying"
    assert row["error"].startswith("SystemExit: ")


def test_a_keyboard_interrupt_is_recorded_and_gives_the_lease_back(table: Table) -> None:
    job = probe(raising(KeyboardInterrupt()))
    job_id = table.add(job)
    assert deliver(job, job_id).status == 500
    row = table.row(job_id)
    assert (row["status"], row["lease_expires_at"]) == ("retrying", None)
    assert row["error"] == "KeyboardInterrupt: KeyboardInterrupt"


# ------------------------------------------------------------------ deadline


def test_near_the_deadline_the_lease_is_given_back(table: Table) -> None:
    job = probe(lambda _payload, _context: time.sleep(60))
    job_id = table.add(job)
    began = time.monotonic()
    answer = deliver(job, job_id, seconds=3)  # 2 s are kept for the record
    assert time.monotonic() - began < 30
    assert answer.status == 503
    assert answer.retry_after is not None
    row = table.row(job_id)
    assert (row["status"], row["lease_expires_at"]) == ("retrying", None)
    assert row["error"].startswith("DeadlineNear: ")


def test_the_jobs_own_timeout_is_a_deadline(table: Table) -> None:
    job = probe(lambda _payload, _context: time.sleep(10), timeout=0.2)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 503
    assert table.status(job_id) == "retrying"


def test_the_deadline_of_the_last_attempt_fails_the_job(table: Table) -> None:
    job = probe(lambda _payload, _context: time.sleep(10), timeout=0.2, retries=0)
    job_id = table.add(job)
    assert deliver(job, job_id).stops_qstash
    assert table.status(job_id) == "failed"


def test_a_broad_except_does_not_swallow_the_deadline(table: Table) -> None:
    def stubborn(_payload: Any, _context: Context) -> str:
        try:
            time.sleep(10)
        except Exception:  # noqa: BLE001
            return "swallowed"
        return "slept"

    job = probe(stubborn, timeout=0.2)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 503


def test_the_alarm_does_not_outlive_its_attempt(table: Table) -> None:
    job = probe(timeout=0.5)
    assert deliver(job, table.add(job)).status == 200
    time.sleep(0.6)  # a left alarm would end the test run


def test_api_gateway_hangs_up_before_a_long_job_ends(table: Table) -> None:
    remaining = []
    job = probe(lambda _p, context: remaining.append(context.remaining_seconds()), timeout=800)
    deliver(job, table.add(job), seconds=900)
    assert 20 < remaining[0] <= 29


def test_a_function_url_does_not_hang_up(table: Table) -> None:
    remaining = []
    job = probe(lambda _p, context: remaining.append(context.remaining_seconds()), timeout=800)
    domain = "abc.lambda-url.eu-west-1.on.aws"
    body = b'{"jobId": "%s", "type": "probe"}' % table.add(job).encode()
    token = sign(body, f"https://{domain}/")
    event = http_event(body, {"upstash-signature": token}, path="/", domain=domain)
    event["routeKey"] = "$default"
    assert handle(job, event, lambda_context(900)).status == 200
    assert 790 < remaining[0] <= 800


# ------------------------------------------------------------------ busy, unreachable


def test_a_busy_job_is_409_until_its_lease_runs_out(table: Table) -> None:
    ran, function = counted()
    job = probe(function)
    job_id = table.add(job)
    claim(table.other, job_id=job_id, job_type="probe", lease=Lease(42, "msg_0", None))
    before = table.row(job_id)
    answer = deliver(job, job_id)
    assert answer.status == 409
    assert answer.retry_after is not None
    assert 40 <= answer.retry_after <= 42
    assert answer.document == {"jobId": job_id, "status": "processing", "ran": False}
    assert ran == []
    assert table.row(job_id) == before  # not an attempt of ours


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:never-shown-secret@127.0.0.1:9/x",
        "postgresql://u:never-shown-secret@no-such-host.invalid/x",
        "mysql://u:never-shown-secret@127.0.0.1/x",
        "postgresql://u:never-shown-secret@127.0.0.1:port/x",
        "",
    ],
)
def test_without_postgres_the_job_does_not_run_and_is_retried(
    table: Table, settings: pytest.MonkeyPatch, log: Log, url: str
) -> None:
    ran, function = counted()
    job = probe(function)
    job_id = table.add(job)
    settings.setenv("POSTGRES_URL", url)
    answer = deliver(job, job_id)
    assert answer.status == 503
    assert answer.retry_after is not None
    assert ran == []
    assert table.status(job_id) == "pending"
    assert "never-shown-secret" not in str(answer.document) + log.text


# ------------------------------------------------------------------ messages that carry a payload


def payload_message(**changed: Any) -> dict[str, Any]:
    return {
        "jobId": "node-1",
        "type": "probe",
        "payload": {"from": "message"},
        "metadata": {
            "userId": "u_1",
            "organizationId": "o_1",
            "idempotencyKey": "welcome:u_1",
            "createdAt": "2026-01-01T00:00:00Z",
        },
    } | changed


def test_a_message_with_a_payload_and_no_row_is_recorded_and_run(table: Table) -> None:
    seen = {}

    def look(payload: Any, context: Context) -> Any:
        seen.update(table.row(context.job_id))
        return payload

    answer = handle(probe(look), delivery(payload_message(), message_id="msg_7"))
    assert answer.status == 200
    assert (seen["status"], seen["attempt"]) == ("processing", 1)
    row = table.row("node-1")
    assert row["status"] == "completed"
    assert row["payload"] == row["result"] == {"from": "message"}
    assert (row["user_id"], row["organization_id"]) == ("u_1", "o_1")
    assert (row["idempotency_key"], row["message_id"]) == ("welcome:u_1", "msg_7")
    assert row["metadata"] == payload_message()["metadata"]
    assert row["max_attempts"] == 3
    assert row["published_at"] is not None


def test_a_redelivered_message_with_a_payload_does_not_run_again(table: Table) -> None:
    ran, function = counted()
    job = probe(function)
    for _ in range(2):
        assert handle(job, delivery(payload_message())).status == 200
    assert len(ran) == 1
    assert len(table.rows()) == 1


def test_where_there_is_a_row_the_row_wins(table: Table) -> None:
    ran, function = counted()
    job = probe(function)
    table.add(job, {"from": "row"}, job_id="node-1", user_id="u_2")
    assert handle(job, delivery(payload_message())).status == 200
    assert ran == [{"from": "row"}]
    row = table.row("node-1")
    assert (row["user_id"], row["idempotency_key"]) == ("u_2", None)


def test_a_retry_runs_the_payload_that_the_row_has_by_then(table: Table) -> None:
    ran: list[Any] = []

    def fail_once(payload: Any, context: Context) -> None:
        ran.append(payload)
        if context.attempt == 1:
            raise OSError

    job = probe(fail_once)
    handle(job, delivery(payload_message()))
    table.run("UPDATE job_executions SET payload = '\"edited\"'")
    handle(job, delivery(payload_message()))
    assert ran == [{"from": "message"}, "edited"]


@pytest.mark.parametrize("payload", [None, 0, "", [], False, "text"], ids=repr)
def test_any_json_value_is_a_payload(table: Table, payload: Any) -> None:
    ran, function = counted()
    assert handle(probe(function), delivery(payload_message(payload=payload))).status == 200
    assert ran == [payload]


def test_a_message_with_the_key_of_another_job_does_not_run(table: Table) -> None:
    ran, function = counted()
    job = probe(function)
    first = table.add(job, idempotency_key="welcome:u_1")
    answer = handle(job, delivery(payload_message()))
    assert answer.status == 200
    assert answer.document["status"] == "duplicate"
    assert answer.document["ran"] is False
    assert ran == []
    assert [row["job_id"] for row in table.rows()] == [first]


def test_a_message_whose_first_job_has_just_gone_comes_again(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clean-up may delete it between the refusal and the look for it."""
    table.add(probe(), idempotency_key="welcome:u_1")
    monkeypatch.setattr(executions, "find_by_idempotency_key", lambda *_: None)
    answer = handle(probe(), delivery(payload_message()))
    assert (answer.status, answer.document["ran"]) == (409, False)


def test_a_key_belongs_to_its_type(table: Table) -> None:
    table.add(probe(type="other"), idempotency_key="welcome:u_1")
    assert handle(probe(), delivery(payload_message())).document["status"] == "completed"


def test_an_empty_key_is_no_key(table: Table) -> None:
    ran, function = counted()
    job = probe(function)
    for job_id in ("node-1", "node-2"):
        message = payload_message(jobId=job_id, metadata={"idempotencyKey": ""})
        assert handle(job, delivery(message)).document["status"] == "completed"
    assert len(ran) == 2


def test_a_key_too_long_for_the_index_is_refused_for_good(table: Table) -> None:
    letters = "".join(random.choices("abcdefghijklmnopqrstuvwxyz0123456789", k=20_000))
    answer = handle(probe(), delivery(payload_message(metadata={"idempotencyKey": letters})))
    assert answer.stops_qstash
    assert table.rows() == []


def test_metadata_may_be_missing_or_null(table: Table) -> None:
    job = probe()
    assert handle(job, delivery(payload_message(metadata=None))).status == 200
    message = payload_message(jobId="node-2")
    del message["metadata"]
    assert handle(job, delivery(message)).status == 200


# ------------------------------------------------------------------ schedules


def test_each_firing_of_a_schedule_is_a_job_of_its_own(table: Table) -> None:
    ran, function = counted()
    job = probe(function)
    body = {"type": "probe", "payload": {"fixed": True}}
    for message_id in ("msg_1", "msg_2"):
        event = delivery(body, message_id=message_id, **{"upstash-schedule-id": "scd_1"})
        assert handle(job, event).status == 200
    assert len(ran) == 2
    rows = table.rows()
    assert {row["message_id"] for row in rows} == {"msg_1", "msg_2"}
    assert {row["schedule_id"] for row in rows} == {"scd_1"}


def test_a_redelivered_firing_is_the_same_job(table: Table) -> None:
    ran, function = counted()
    job = probe(function)
    body = {"type": "probe", "payload": {"fixed": True}}
    answers = [
        handle(job, delivery(body, message_id="msg_1", **{"upstash-retried": str(retried)}))
        for retried in range(2)
    ]
    assert len(ran) == 1
    assert answers[0].document["jobId"] == answers[1].document["jobId"]
    assert len(table.rows()) == 1


def test_the_log_says_how_often_qstash_tried(table: Table, log: Log) -> None:
    job = probe()
    message = {"jobId": table.add(job), "type": "probe"}
    handle(job, delivery(message, **{"upstash-retried": "4"}))
    assert {line["retried"] for line in log.lines} == {"4"}


def test_the_log_does_not_mix_up_deliveries(table: Table, log: Log) -> None:
    job = probe()
    first = table.add(job, user_id="u_1")
    deliver(job, first)
    handle(job, http_event(b"{}", {}))
    assert log.lines[-1]["message"] == "refused"
    assert first not in str(log.lines[-1])
    assert "u_1" not in str(log.lines[-1])


# ------------------------------------------------------------------ direct invocation


def test_a_direct_invocation_needs_no_signature(table: Table) -> None:
    job = probe()
    answer = handle(job, {"type": "probe", "payload": {"days": 90}})
    assert answer.status == 200
    [row] = table.rows()
    assert (row["status"], row["result"]) == ("completed", {"days": 90})
    assert (row["message_id"], row["published_at"]) == (None, None)


def test_lambdas_own_retry_of_an_invocation_is_the_same_job(table: Table) -> None:
    ran, function = counted()
    job = probe(function)
    for _ in range(2):
        handle(job, {"type": "probe", "payload": {}}, lambda_context(request_id="request-1"))
    assert len(ran) == 1
    handle(job, {"type": "probe", "payload": {}}, lambda_context(request_id="request-2"))
    assert len(ran) == 2


def test_a_failed_direct_invocation_is_left_to_the_relay(table: Table) -> None:
    job = probe(raising(OSError("not yet")))
    assert handle(job, {"type": "probe", "payload": {}}).status == 500
    [row] = table.rows()
    assert (row["status"], row["published_at"]) == ("retrying", None)


def test_a_direct_invocation_of_another_type_is_refused(table: Table) -> None:
    events: list[Any] = [{"type": "other", "payload": {}}, {}, [], "no object"]
    for event in events:
        with pytest.raises(DeliveryRefused):
            handle(probe(), event)
    assert table.rows() == []


def test_a_direct_invocation_that_leaves_no_row_is_an_error_so_that_lambda_invokes_again(
    table: Table, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("POSTGRES_URL", "postgresql://nobody@127.0.0.1:9/none")
    with pytest.raises(DeliveryRefused, match="OperationalError"):
        handle(probe(), {"type": "probe", "payload": {}})


def test_an_old_api_gateway_event_is_no_direct_invocation(table: Table) -> None:
    event = {
        "resource": "/x",
        "httpMethod": "POST",
        "headers": {},
        "requestContext": {"httpMethod": "POST"},
        "body": '{"type": "probe", "payload": {}}',
    }
    with pytest.raises(DeliveryRefused):
        handle(probe(), event)
    assert table.rows() == []


def test_an_alarm_of_the_handlers_caller_still_comes(table: Table) -> None:
    rung: list[int] = []
    outer = signal.signal(signal.SIGALRM, lambda number, _frame: rung.append(number))
    before = signal.setitimer(signal.ITIMER_REAL, 0.5)
    try:
        job = probe(lambda _payload, _context: None)
        assert deliver(job, table.add(job)).status == 200
        until = time.monotonic() + 60
        while not rung and time.monotonic() < until:
            time.sleep(0.01)
    finally:
        signal.signal(signal.SIGALRM, outer)
        signal.setitimer(signal.ITIMER_REAL, *before)
    assert rung == [signal.SIGALRM]


# ------------------------------------------------------------------ due


@pytest.mark.parametrize(
    ("error", "retry_delay", "retried", "seconds"),
    [
        (ValueError("why"), None, "0", math.exp(2.5)),
        (ValueError("why"), None, "1", math.exp(5)),
        (ValueError("why"), "1000 * (retried + 7)", "1", 8),
        (RetryLater(90, "why"), None, "1", 90),
        # QStash falls back to its own backoff.
        (RetryLater(90_000, "why"), "1000", "1", math.exp(5)),
        # QStash has no retries left, and the relay publishes the job again.
        (ValueError("why"), None, "5", 0),
    ],
)
def test_a_retrying_job_is_due_when_qstash_tries_again(
    table: Table, error: Exception, retry_delay: str | None, retried: str, seconds: float
) -> None:
    job = probe(raising(error), retries=7, retry_delay=retry_delay)
    job_id = table.add(job)
    event = delivery({"jobId": job_id, "type": job.type}, **{"upstash-retried": retried})
    handle(job, event)
    row = table.row(job_id)
    wait = (row["available_at"] - row["updated_at"]).total_seconds()
    assert (row["status"], wait) == ("retrying", pytest.approx(seconds, abs=0.01))


def test_a_job_in_backoff_is_not_counted_as_due(table: Table) -> None:
    job = probe(raising(ValueError("why")))
    table.add(job)
    deliver(job, table.rows()[0]["job_id"])
    assert health.read_queue(database.connection()).depth == 0
    waiting = statistics.read_waiting(database.connection(), 600)
    assert (waiting.depth, waiting.oldest_seconds) == (0, 0)
    table.run("UPDATE job_executions SET available_at = now() - interval '1 min'")
    assert health.read_queue(database.connection()).depth == 1


def test_a_direct_invocation_that_failed_is_due_at_once(table: Table) -> None:
    job = probe(raising(ValueError("why")))
    job_id = table.add(job)
    handle(job, {"jobId": job_id, "type": job.type})
    row = table.row(job_id)
    assert row["available_at"] == row["updated_at"]
