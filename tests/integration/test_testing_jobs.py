"""`stashjobs.testing`: what its fixture `jobs` finds, delivers and breaks."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from pydantic import BaseModel

from stashjobs import Context, InvalidPayload, RetryLater, batch, encryption, envelope, job
from stashjobs.producer import message as messages
from stashjobs.producer import qstash_client
from stashjobs.store import database
from stashjobs.testing import Crash
from stashjobs.testing.deliveries import http_event, lambda_context, sign

if TYPE_CHECKING:
    from stashjobs.producer.enqueue import Enqueued
    from stashjobs.testing import Jobs


class Greeting(BaseModel):
    name: str
    language: str = "en"


ran: list[str] = []


@job("testing-greet", endpoint="/api/jobs/testing-greet", retries=2, timeout=20)
def greet(greeting: Greeting, _context: Context) -> str:
    """Says hello."""
    return f"Hello {greeting.name}"


@job("testing-call", endpoint="/api/jobs/testing-call", retries=2, timeout=20)
def call(payload: dict[str, Any], context: Context) -> str:
    """Does what it is told."""
    ran.append(context.job_id)
    match payload.get("do"):
        case "fail":
            raise ValueError("no luck")
        case "later":
            raise RetryLater(600)
        case "die":
            raise Crash
        case "enqueue":
            context.enqueue(call, {"do": payload.get("then")})
        case "write":
            context.connection.execute("INSERT INTO written VALUES (%s)", [context.attempt])
    return "done"


@pytest.fixture(autouse=True)
def _nothing_ran() -> None:
    ran.clear()


# ------------------------------------------------------------------ what was enqueued


def test_an_enqueued_job_is_found_by_a_part_of_its_payload(jobs: Jobs) -> None:
    enqueued = greet.enqueue(Greeting(name="Ada"), user_id="u_1", idempotency_key="greet:1")
    [row] = jobs.assert_enqueued(
        greet, {"name": "Ada"}, user_id="u_1", idempotency_key="greet:1", delay=0
    )
    assert row["job_id"] == enqueued.job_id
    jobs.assert_enqueued(greet, Greeting(name="Ada"))
    assert len(jobs.qstash.messages) == 1


def test_when_it_is_due_is_found_to_the_second(jobs: Jobs) -> None:
    at = datetime.now(UTC) + timedelta(hours=2)
    greet.enqueue({"name": "Ada"}, at=at)
    jobs.assert_enqueued(greet, at=at)
    jobs.assert_enqueued(greet, delay=7200)
    jobs.assert_not_enqueued(greet, at=at + timedelta(seconds=5))
    jobs.assert_not_enqueued(greet, delay=7190)


def test_a_time_without_a_zone_is_refused(jobs: Jobs) -> None:
    with pytest.raises(ValueError, match="no time zone"):
        jobs.assert_enqueued(greet, at=datetime(2026, 1, 1))  # noqa: DTZ001 - that is the point


def test_what_is_missed_is_told_with_what_is_there_and_how_it_differs(jobs: Jobs) -> None:
    greet.enqueue({"name": "Bob"}, user_id="u_2")
    call.enqueue({})
    with pytest.raises(AssertionError) as failure:
        jobs.assert_enqueued(greet, {"name": "Ada", "age": 7}, user_id="u_1", delay=60)
    told = str(failure.value)
    for part in (
        'testing-greet with payload {"name": "Ada", "age": 7}, delay 60, user_id u_1: 0 jobs fit',
        'payload {"name": "Bob", "language": "en"}',
        """payload differs in 'name': it is "Bob", not "Ada\"""",
        "payload has no member 'age'",
        "user_id is 'u_2', not 'u_1'",
        "its delay is 0 s, not 60 s",
        "Of other types: 1 testing-call.",
    ):
        assert part in told


def test_one_too_many_is_told(jobs: Jobs) -> None:
    greet.enqueue_many([{"name": "Ada"}, {"name": "Ada"}])
    with pytest.raises(AssertionError, match="2 jobs fit, not 1"):
        jobs.assert_enqueued(greet)
    jobs.assert_enqueued(greet, times=2)


def test_nothing_at_all_is_told(jobs: Jobs) -> None:
    with pytest.raises(AssertionError, match="No testing-greet was enqueued"):
        jobs.assert_enqueued(greet)


def test_an_encrypted_payload_is_compared_and_never_shown(
    jobs: Jobs, stashjobs_settings: pytest.MonkeyPatch
) -> None:
    stashjobs_settings.setenv("PAYLOAD_KEYS", encryption.new_entry("k1"))
    greet.enqueue({"name": "the secret"}, encrypted=True)
    jobs.assert_enqueued(greet, {"name": "the secret"})
    with pytest.raises(AssertionError, match=r"\(encrypted\)") as failure:
        jobs.assert_enqueued(greet, {"name": "another"})
    assert "payload differs in 'name'" in str(failure.value)
    assert "the secret" not in str(failure.value)


def test_a_qstash_that_hangs_goes_on_once_it_is_reset(
    jobs: Jobs, stashjobs_settings: pytest.MonkeyPatch
) -> None:
    stashjobs_settings.setattr(qstash_client, "QSTASH_TIMEOUT_SECONDS", 30.0)
    jobs.qstash.hangs = True
    with ThreadPoolExecutor(1) as another:
        enqueued = another.submit(_enqueue_and_hang_up)
        jobs.qstash.wait()
        jobs.qstash.reset()
        assert enqueued.result().published is True
    assert (jobs.qstash.received, jobs.qstash.hangs) == ([], False)


def _enqueue_and_hang_up() -> Enqueued:
    try:
        return call.enqueue({})
    finally:
        database.close()


# ------------------------------------------------------------------ deliveries


def test_a_job_is_run_as_by_a_delivery_and_its_row_tells_the_end(jobs: Jobs) -> None:
    done = jobs.run_job(call, {}, user_id="u_1")
    assert (done.answer.status, done.answer.document["attempt"]) == (200, 1)
    assert (done.job.status, done.job.result, done.job.user_id) == ("completed", "done", "u_1")


@pytest.mark.parametrize(("key", "status"), [(None, 200), ("sig_someone_elses", 401)])
def test_the_signature_is_one_that_the_handler_verifies(
    jobs: Jobs, key: str | None, status: int
) -> None:
    enqueued = call.enqueue({})
    url, body = messages.url_of(call), json.dumps(envelope.thin(enqueued.job_id, call.type))
    signature = sign(body.encode(), url, key=key)
    event = http_event(url, body.encode(), {"upstash-signature": signature})
    assert call.handler(event, lambda_context())["statusCode"] == status
    assert len(ran) == (status == 200)
    assert len(jobs.rows()) == 1


def test_a_payload_that_does_not_fit_is_refused_and_nothing_recorded(jobs: Jobs) -> None:
    with pytest.raises(InvalidPayload):
        jobs.run_job(greet, {"nom": "Ada"})
    assert jobs.rows() == []


def test_a_failed_attempt_is_told_by_the_row(jobs: Jobs) -> None:
    done = jobs.run_job(call, {"do": "fail"})
    assert (done.answer.status, done.job.status) == (500, "retrying")
    assert done.job.error == "ValueError: no luck"


def test_what_a_job_enqueues_is_found_and_the_job_itself_does_not_count(jobs: Jobs) -> None:
    done = jobs.run_job(call, {"do": "enqueue", "then": "nothing"})
    [child] = jobs.assert_enqueued(call)
    assert child["metadata"]["parentJobId"] == done.job.job_id


def test_a_job_that_does_not_exist_is_named(jobs: Jobs) -> None:
    with pytest.raises(LookupError, match="no job 'nowhere'"):
        jobs.deliver("nowhere")


def test_draining_delivers_what_is_due_and_what_that_enqueues(jobs: Jobs) -> None:
    call.enqueue({"do": "enqueue", "then": "enqueue"})
    assert [done.job.status for done in jobs.drain()] == ["completed"] * 3
    assert jobs.drain() == []


def test_draining_repeats_a_job_until_its_attempts_are_used_up(jobs: Jobs) -> None:
    call.enqueue({"do": "fail"})
    done = jobs.drain()
    assert [each.job.status for each in done] == ["retrying", "retrying", "failed"]
    assert [each.answer.stops_qstash for each in done] == [False, False, True]


def test_draining_leaves_what_is_due_later_until_that_time_has_passed(jobs: Jobs) -> None:
    call.enqueue({}, delay=3600)
    call.enqueue({"do": "later"}, retries=1)
    assert [each.job.status for each in jobs.drain()] == ["retrying"]
    jobs.let_time_pass(seconds=599)
    assert jobs.drain() == []
    jobs.let_time_pass(hours=1)
    assert sorted(each.job.status for each in jobs.drain()) == ["completed", "failed"]


def test_draining_that_does_not_end_names_what_is_left(jobs: Jobs) -> None:
    for _ in range(3):
        call.enqueue({})
    with pytest.raises(AssertionError, match="2 deliveries and 1 jobs are still due"):
        jobs.drain(limit=2)


@job("testing-notify", endpoint="/api/jobs/testing-notify", retries=0, timeout=20)
def notify(_payload: dict[str, Any], context: Context) -> list[str]:
    """Says how the jobs ended that it follows."""
    return sorted(f"{parent.job_type} {parent.status}" for parent in context.parents())


@job("testing-risky", endpoint="/api/jobs/testing-risky", retries=0, timeout=20, on_failed=notify)
def risky(payload: dict[str, Any], context: Context) -> str:
    """Fails after its first step, where it is told to."""
    context.step("begin", lambda: ran.append("begin"))
    if payload.get("fail"):
        raise ValueError("no luck")
    return "done"


def test_draining_runs_a_graph_to_its_end(jobs: Jobs) -> None:
    with batch("import", on_ended=notify) as parts:
        first = parts.enqueue(risky, {})
        second = parts.enqueue(risky, {"fail": True})
    after_all = notify.enqueue({}, after=[first, second], when="ended")
    after_success = call.enqueue({}, after=[first, second])

    jobs.drain()

    rows = {row["job_id"]: row for row in jobs.rows()}
    assert rows[parts.batch_id]["result"] == ["testing-risky completed", "testing-risky failed"]
    assert rows[after_all.job_id]["result"] == rows[parts.batch_id]["result"]
    assert rows[after_success.job_id]["status"] == "cancelled"
    [follower] = [row for row in rows.values() if row["payload"] == {"jobId": second.job_id}]
    assert follower["result"] == ["testing-risky failed"]
    assert ran == ["begin", "begin"]
    assert jobs.steps(first) == ["begin"]


# ------------------------------------------------------------------ what goes wrong


def test_a_second_delivery_while_the_first_one_runs_is_told_to_come_later(jobs: Jobs) -> None:
    first, second = jobs.deliver_twice(call.enqueue({}))
    assert (first.answer.status, first.job.status) == (200, "completed")
    assert (second.answer.status, second.job.status) == (409, "processing")
    assert second.answer.retry_after is not None
    assert len(ran) == 1


def test_a_second_delivery_after_the_end_runs_nothing(jobs: Jobs) -> None:
    enqueued = call.enqueue({})
    jobs.deliver(enqueued)
    first, second = jobs.deliver_twice(enqueued)
    assert [each.answer.document["ran"] for each in (first, second)] == [False, False]
    assert len(ran) == 1


@pytest.mark.parametrize(("when", "runs"), [("before", 1), ("after", 2)])
def test_a_job_whose_process_dies_is_run_again_when_its_lease_is_over(
    jobs: Jobs, when: Any, runs: int
) -> None:
    enqueued = call.enqueue({})
    died = jobs.crash(enqueued, when=when)
    assert (died.answer.status, died.job.status) == (502, "processing")
    assert jobs.drain() == []
    jobs.let_time_pass(minutes=5)
    [done] = jobs.drain()
    assert (done.job.status, done.job.attempt) == ("completed", 2)
    assert len(ran) == runs


def test_what_a_dead_process_wrote_in_the_jobs_transaction_is_undone(jobs: Jobs) -> None:
    with psycopg.connect(jobs.database_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE written (attempt integer)")
        jobs.crash(call.enqueue({"do": "write"}))
        assert len(ran) == 1
        assert connection.execute("SELECT * FROM written").fetchall() == []
        jobs.let_time_pass(minutes=5)
        jobs.drain()
        assert connection.execute("SELECT * FROM written").fetchall() == [(2,)]


def test_a_job_may_die_wherever_a_test_says(jobs: Jobs) -> None:
    died = jobs.run_job(call, {"do": "die"})
    assert (died.answer.status, died.job.status, died.job.errors) == (502, "processing", [])


@job("testing-steps", endpoint="/api/jobs/testing-steps", retries=2, timeout=20)
def in_steps(_payload: dict[str, Any], context: Context) -> list[str]:
    """Two steps, the second of which writes."""

    def write() -> str:
        ran.append("write")
        context.connection.execute("INSERT INTO written VALUES (1)")
        return "write"

    return [context.step("look", lambda: ran.append("look")), context.step("write", write)]


@pytest.mark.parametrize(("when", "wrote"), [("before", 0), ("after", 1)])
def test_crash_kills_at_a_step(jobs: Jobs, when: Any, wrote: int) -> None:
    with psycopg.connect(jobs.database_url, autocommit=True) as own:
        own.execute("CREATE TABLE written (number int)")
        enqueued = in_steps.enqueue({})
        died = jobs.crash(enqueued, when=when, step="write")
        assert (died.answer.status, jobs.steps(enqueued)) == (502, ["look"])
        assert ran == ["look", *["write"] * wrote]
        jobs.let_time_pass(minutes=15)
        [done] = jobs.drain()
        assert (done.job.status, done.job.result) == ("completed", [None, "write"])
        assert jobs.steps(enqueued) == ["look", "write"]
        assert ran == ["look", *["write"] * wrote, "write"]
        assert own.execute("SELECT count(*) FROM written").fetchone() == (1,)
