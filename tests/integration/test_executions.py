"""The lease and its fence: one delivery at a time holds a job, and only it may say how it ended."""

from __future__ import annotations

import math
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from unittest.mock import ANY

import psycopg
import pytest

from stashjobs.errors import LeaseLost
from stashjobs.store import executions
from stashjobs.store.executions import Claim, Lease, NewJob
from tests.deliveries import Table, deliver, delivery, handle, probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from stashjobs import Context

LEASE = Lease(30, "msg_other", None)


def take(table: Table, job_id: str, lease: Lease = LEASE) -> Claim:
    """Another delivery takes the job."""
    claim = executions.claim(table.other, job_id=job_id, job_type="probe", lease=lease)
    assert claim is not None
    return claim


def at_the_same_moment(url: str, count: int, claim: Callable[..., Any]) -> list[Any]:
    """What `count` sessions get that all do the same at once."""
    barrier = threading.Barrier(count)

    def run(_number: int) -> Any:
        with psycopg.connect(url, autocommit=True) as connection:
            barrier.wait()
            try:
                return claim(connection)
            except psycopg.Error as error:
                return error

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(run, range(count)))


# ------------------------------------------------------------------ at the same moment


@pytest.mark.parametrize("state", ["pending", "retrying", "expired"])
def test_of_many_deliveries_at_once_one_gets_the_job(
    table: Table, database_url: str, state: str
) -> None:
    job = probe()
    for _ in range(5):
        job_id = table.add(job)
        if state == "retrying":
            first = take(table, job_id)
            executions.record_not_completed(
                table.other,
                job_id=job_id,
                attempt=first.attempt,
                status="retrying",
                details={"type": "E", "message": "m"},
            )
        elif state == "expired":
            take(table, job_id)
            table.expire_lease(job_id)

        def claim(connection: psycopg.Connection[Any], job_id: str = job_id) -> Claim | None:
            return executions.claim(connection, job_id=job_id, job_type="probe", lease=LEASE)

        claims = at_the_same_moment(database_url, 6, claim)
        assert sum(claim.held for claim in claims) == 1
        assert not any(claim.payload for claim in claims if not claim.held)
        assert table.row(job_id)["attempt"] == (1 if state == "pending" else 2)


@pytest.mark.parametrize("key", [None, "welcome:u_1"])
def test_of_many_first_deliveries_at_once_one_records_and_gets_the_job(
    table: Table, database_url: str, key: str | None
) -> None:
    for number in range(10):
        new = NewJob(f"node-{number}", "probe", {}, 3, idempotency_key=key and f"{key}:{number}")

        def claim(connection: psycopg.Connection[Any], new: NewJob = new) -> Claim | None:
            return executions.claim_or_record(connection, new, LEASE)

        claims = at_the_same_moment(database_url, 6, claim)
        assert sum(isinstance(claim, Claim) and claim.held for claim in claims) == 1
        assert table.row(new.job_id)["attempt"] == 1


def test_one_message_delivered_twice_at_once_is_never_taken_for_another_job(
    table: Table, database_url: str
) -> None:
    """While the first delivery records the job, the second waits at the key's index."""
    message = {
        "jobId": "node-1",
        "type": "probe",
        "payload": {},
        "metadata": {"idempotencyKey": "k"},
    }
    new = NewJob("node-1", "probe", {}, 3, idempotency_key="k")
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database_url) as first:
        # The row is there, but not committed: what the second one sees in the race.
        claimed = executions.claim_or_record(first, new, LEASE)
        assert claimed is not None
        second = pool.submit(handle, probe(), delivery(message))
        time.sleep(0.3)
        first.commit()
        answer = second.result()
    assert answer.status == 409
    assert answer.document["status"] in {"processing", "pending"}


def test_a_busy_answer_never_asks_for_a_retry_in_the_past(table: Table, database_url: str) -> None:
    """A takeover in the very moment: the row as it was has a lease that ran out."""
    job = probe()
    job_id = table.add(job)
    take(table, job_id)
    table.expire_lease(job_id)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(database_url) as first:
        claimed = executions.claim(first, job_id=job_id, job_type="probe", lease=LEASE)
        assert claimed is not None
        assert claimed.held
        second = pool.submit(deliver, job, job_id)
        time.sleep(0.3)
        first.commit()
        answer = second.result()
    assert answer.status == 409
    assert answer.retry_after is not None
    assert answer.retry_after > 0


# ------------------------------------------------------------------ taking over


def test_an_expired_lease_is_taken_over_and_leaves_its_word_in_the_history(table: Table) -> None:
    job = probe()
    job_id = table.add(job)
    take(table, job_id)
    table.expire_lease(job_id)
    answer = deliver(job, job_id)
    assert (answer.status, answer.document["attempt"]) == (200, 2)
    row = table.row(job_id)
    assert (row["status"], row["attempt"], row["retry_count"]) == ("completed", 2, 1)
    [error] = row["errors"]
    assert (error["attempt"], error["type"]) == (1, "LeaseExpired")
    assert error["startedAt"]
    assert error["endedAt"]


def test_a_lease_that_ran_out_on_the_last_attempt_fails_the_job(table: Table) -> None:
    job = probe(retries=0)
    job_id = table.add(job)
    take(table, job_id)
    table.expire_lease(job_id)
    answer = deliver(job, job_id)
    assert answer.stops_qstash
    assert "without a word" in answer.document["error"]
    row = table.row(job_id)
    assert (row["status"], row["attempt"]) == ("failed", 1)
    assert (row["lease_expires_at"], row["completed_at"] is not None) == (None, True)
    assert [error["type"] for error in row["errors"]] == ["LeaseExpired"]


def test_a_live_lease_is_not_taken_over(table: Table) -> None:
    job_id = table.add(probe())
    assert take(table, job_id).held
    second = take(table, job_id)
    assert (second.held, second.status, second.attempt) == (False, "processing", 1)
    assert second.wait is not None
    assert 28 < second.wait <= 30


def test_a_lease_outlives_its_attempts_deadline(table: Table) -> None:
    seen: dict[str, Any] = {}

    def look(_payload: Any, context: Context) -> None:
        seen.update(table.row(context.job_id), deadline=context.deadline)

    job = probe(look)
    deliver(job, table.add(job))
    assert 5 < (seen["lease_expires_at"] - seen["deadline"]).total_seconds() < 15


# ------------------------------------------------------------------ the fence


@pytest.mark.parametrize("ending", ["completes", "fails"])
@pytest.mark.parametrize("other", ["processing", "completed", "retrying"])
def test_a_late_worker_cannot_record_over_its_successor(
    table: Table, ending: str, other: str
) -> None:
    def slow(_payload: Any, context: Context) -> str:
        table.expire_lease(context.job_id)
        successor = take(table, context.job_id)
        assert successor.held
        rows = table.other
        if other == "completed":
            executions.record_completed(
                rows, job_id=context.job_id, attempt=successor.attempt, result="successor's"
            )
        elif other == "retrying":
            executions.record_not_completed(
                rows,
                job_id=context.job_id,
                attempt=successor.attempt,
                status="retrying",
                details={"type": "E", "message": "m"},
            )
        before.update(table.row(context.job_id))
        if ending == "fails":
            raise OSError("late")
        return "late"

    before: dict[str, Any] = {}
    job = probe(slow)
    job_id = table.add(job)
    answer = deliver(job, job_id)
    assert table.row(job_id) == before
    assert answer.status == (200 if other == "completed" else 409)
    assert answer.document["ran"] is False
    assert answer.document["status"] == other


def test_a_job_cancelled_by_hand_while_it_ran_stays_cancelled(table: Table) -> None:
    def cancelled(_payload: Any, context: Context) -> str:
        table.run(
            "UPDATE job_executions SET status = 'cancelled', lease_expires_at = NULL,"
            " completed_at = now() WHERE job_id = %s",
            context.job_id,
        )
        return "late"

    job = probe(cancelled)
    job_id = table.add(job)
    answer = deliver(job, job_id)
    assert answer.status == 200
    assert answer.document["status"] == "cancelled"
    assert (table.status(job_id), table.row(job_id)["result"]) == ("cancelled", None)


def test_a_row_deleted_while_its_job_ran_ends_the_delivery(table: Table) -> None:
    job = probe(lambda _p, context: table.run("DELETE FROM job_executions") and context)
    answer = deliver(job, table.add(job))
    assert answer.stops_qstash
    assert table.rows() == []


def test_the_fence_is_the_attempt_not_the_status(table: Table) -> None:
    job_id = table.add(probe())
    take(table, job_id)
    table.expire_lease(job_id)
    take(table, job_id)
    rows = table.other
    late = executions.record_completed(rows, job_id=job_id, attempt=1, result="late")
    assert late is not None
    assert (late.held, late.status, late.attempt) == (False, "processing", 2)
    now = executions.record_completed(rows, job_id=job_id, attempt=2, result="now")
    assert now is not None
    assert now.held
    assert table.row(job_id)["result"] == "now"


def test_an_expired_lease_that_nobody_took_still_counts(table: Table) -> None:
    def slow(_payload: Any, context: Context) -> str:
        table.expire_lease(context.job_id)
        return "done"

    job = probe(slow)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 200
    assert table.row(job_id)["result"] == "done"


# ------------------------------------------------------------------ progress and heartbeat


def test_progress_is_on_the_row_while_the_job_runs(table: Table) -> None:
    seen: list[Any] = []

    def work(_payload: Any, context: Context) -> None:
        context.progress(0.25, "a quarter", rows=10)
        seen.append(table.row(context.job_id)["progress"])
        context.progress(7, "too much")
        seen.append(table.row(context.job_id)["progress"])

    job = probe(work)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 200
    assert seen == [
        {"fraction": 0.25, "note": "a quarter", "rows": 10},
        {"fraction": 1.0, "note": "too much"},
    ]


class Hostile:
    def __repr__(self) -> str:
        raise OSError("no words")


deep: list[Any] = []
for _ in range(100):
    deep = [deep]
endless: list[Any] = []
endless.append(endless)


@pytest.mark.parametrize(
    ("note", "details", "shown"),
    [
        ("a\0b", {}, {"note": "a\ufffdb"}),
        ("\ud800", {"k\0": "\udfff"}, {"note": "\ufffd", "k\ufffd": "\ufffd"}),
        (math.nan, {"a": [math.inf]}, {"note": None, "a": [None]}),
        (Decimal("1.5"), {"at": date(2026, 1, 1)}, {"note": "1.5", "at": "2026-01-01"}),
        ("n", {"a": Hostile()}, {"note": "n", "a": "<Unserializable Hostile object>"}),
        ("n", {"a": b"\xff"}, {"note": "n", "leftOut": ANY}),
        ("n", {"a": deep}, {"note": "n", "leftOut": ANY}),
        ("n", {"a": endless}, {"note": "n", "leftOut": ANY}),
        ("n" * 99_000, {}, {"note": "n" * 1_000, "leftOut": ANY}),
    ],
    ids=["nul", "surrogate", "nan", "decimal", "object", "bytes", "deep", "endless", "long"],
)
def test_a_note_of_progress_is_made_storable_and_the_work_goes_on(
    table: Table, note: Any, details: dict[str, Any], shown: dict[str, Any]
) -> None:
    seen: list[Any] = []

    def work(_payload: Any, context: Context) -> str:
        context.progress(Decimal("0.5"), note, **details)  # type: ignore[arg-type]
        seen.append(table.row(context.job_id)["progress"])
        return "done"

    job = probe(work)
    assert deliver(job, table.add(job)).status == 200
    assert seen == [{"fraction": 0.5, **shown}]


@pytest.mark.parametrize("how", ["progress", "heartbeat"])
def test_progress_and_heartbeat_extend_the_lease(table: Table, how: str) -> None:
    leases: list[Any] = []

    def work(_payload: Any, context: Context) -> None:
        table.run("UPDATE job_executions SET lease_expires_at = now() + interval '1 s'")
        context.progress(0.5) if how == "progress" else context.heartbeat()
        leases.append(table.row(context.job_id)["lease_expires_at"])
        leases.append(context.deadline)

    job = probe(work)
    assert deliver(job, table.add(job)).status == 200
    assert leases[0] > leases[1]


@pytest.mark.parametrize("how", ["progress", "heartbeat"])
def test_who_has_lost_the_lease_hears_it(table: Table, how: str) -> None:
    heard: list[LeaseLost] = []

    def work(_payload: Any, context: Context) -> None:
        table.expire_lease(context.job_id)
        take(table, context.job_id)
        try:
            context.progress(0.5) if how == "progress" else context.heartbeat()
        except LeaseLost as error:
            heard.append(error)
            raise

    job = probe(work)
    job_id = table.add(job)
    answer = deliver(job, job_id)
    assert len(heard) == 1
    assert answer.status == 409
    assert (table.status(job_id), table.row(job_id)["errors"][1:]) == ("processing", [])


# ------------------------------------------------------------------ the database's own word

STATUSES = ["pending", "processing", "retrying", "completed", "failed", "cancelled"]
LEGAL = {
    ("pending", "processing"),
    ("pending", "cancelled"),
    ("pending", "failed"),
    ("processing", "completed"),
    ("processing", "retrying"),
    ("processing", "failed"),
    ("processing", "cancelled"),
    ("retrying", "processing"),
    ("retrying", "failed"),
    ("retrying", "cancelled"),
    ("completed", "pending"),
    ("failed", "pending"),
    ("cancelled", "pending"),
}


def test_the_database_lets_a_job_go_only_the_ways_that_exist(table: Table) -> None:
    job_id = table.add(probe())
    for old in STATUSES:
        for new in STATUSES:
            table.run("ALTER TABLE job_executions DISABLE TRIGGER job_executions_check_job")
            move(table, old)
            table.run("ALTER TABLE job_executions ENABLE TRIGGER job_executions_check_job")
            if old == new or (old, new) in LEGAL:
                move(table, new)
                assert table.status(job_id) == new
            else:
                with pytest.raises(psycopg.errors.CheckViolation, match=f"from {old} to {new}"):
                    move(table, new)


def move(table: Table, status: str) -> None:
    table.run(
        "UPDATE job_executions SET status = %s,"
        " lease_expires_at = CASE WHEN %s = 'processing' THEN now() END,"
        " completed_at = CASE WHEN %s IN ('completed', 'failed', 'cancelled') THEN now() END",
        status,
        status,
        status,
    )


@pytest.mark.parametrize(
    "change",
    [
        "status = 'lost'",
        "status = 'processing'",
        "status = 'failed'",
        "lease_expires_at = now()",
        "completed_at = now()",
        "max_attempts = 0",
        "job_id = ''",
        "job_id = repeat('x', 129)",
    ],
)
def test_the_database_refuses_a_row_that_makes_no_sense(table: Table, change: str) -> None:
    table.add(probe())
    with pytest.raises(psycopg.errors.CheckViolation):
        table.run(f"UPDATE job_executions SET {change}")


def test_a_manual_retry_is_a_new_run_with_a_key_of_its_own(table: Table) -> None:
    keys: list[str] = []

    def work(_payload: Any, context: Context) -> None:
        keys.append(context.idempotency_key)
        if len(keys) == 1:
            raise OSError

    job = probe(work)
    job_id = table.add(job)
    deliver(job, job_id)
    deliver(job, job_id)
    table.run(
        "UPDATE job_executions SET status = 'pending', completed_at = NULL, run = run + 1,"
        " available_at = now(), max_attempts = max_attempts + 3"
    )
    deliver(job, job_id)
    assert keys[0] == keys[1] == job_id
    assert keys[2] == f"{job_id}-2"
    assert table.row(job_id)["attempt"] == 3
