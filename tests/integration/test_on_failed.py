"""`on_failed=`: the job that is enqueued when another fails for good, whatever ends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from stashjobs import Cancelled, PermanentError
from stashjobs.operators import retry_and_cancel
from stashjobs.store import executions, job_types, outbox
from stashjobs.store.executions import Lease, NewJob
from stashjobs.store.outbox import DeadLetter
from tests.deliveries import deliver, probe

if TYPE_CHECKING:
    from stashjobs import Context
    from tests.deliveries import Table


def work(payload: dict[str, Any], _context: Context) -> None:
    if payload.get("cancel"):
        raise Cancelled("no")
    if not payload.get("well"):
        raise PermanentError("no luck")


def tell(payload: dict[str, Any], context: Context) -> dict[str, Any]:
    [failed] = context.parents()
    return {**payload, "type": failed.job_type, "error": failed.error}


follower = probe(tell, type="tell", retries=1)
job = probe(work, retries=0, on_failed=follower)


def followers(table: Table) -> list[dict[str, Any]]:
    return table.run("SELECT * FROM job_executions WHERE job_type = 'tell'")


@pytest.fixture
def known(table: Table) -> Table:
    """As after a delivery of the type, or a run of the relay."""
    job_types.declare_followers(table.other, {"probe": ("tell", 2)})
    return table


def test_a_job_that_fails_for_good_is_followed(table: Table) -> None:
    job_id = job.enqueue({}, connection=table.other, user_id="u_1", organization_id=7).job_id
    assert deliver(job, job_id).status == 489
    [row] = followers(table)
    assert (row["payload"], row["max_attempts"], row["status"]) == ({"jobId": job_id}, 2, "pending")
    assert (row["user_id"], row["organization_id"]) == ("u_1", "7")
    assert row["metadata"] == {"parentJobId": job_id}
    assert deliver(follower, row["job_id"]).status == 200
    result = table.row(row["job_id"])["result"]
    assert result["jobId"] == job_id
    assert (result["type"], "no luck" in result["error"]) == ("probe", True)


@pytest.mark.parametrize("payload", [{"well": True}, {"cancel": True}])
def test_a_job_that_ends_otherwise_is_not_followed(table: Table, payload: dict[str, Any]) -> None:
    deliver(job, job.enqueue(payload, connection=table.other).job_id)
    assert followers(table) == []


def test_a_failure_before_the_last_attempt_is_not_followed(table: Table) -> None:
    def fail(_payload: Any, _context: Context) -> None:
        raise ValueError

    again = probe(fail, retries=1, on_failed=follower)
    job_id = again.enqueue({}, connection=table.other).job_id
    deliver(again, job_id)
    assert followers(table) == []
    table.run("UPDATE job_executions SET available_at = now()")
    deliver(again, job_id)
    assert len(followers(table)) == 1


def test_a_lease_that_ran_out_on_the_last_attempt_is_followed(known: Table) -> None:
    for free in (
        lambda _: executions.free_expired_leases(known.other, 10),
        lambda job_id: executions.claim(
            known.other, job_id=job_id, job_type="probe", lease=Lease(9, None, None)
        ),
    ):
        job_id = job.enqueue({}, connection=known.other).job_id
        executions.claim(known.other, job_id=job_id, job_type="probe", lease=Lease(60, None, None))
        known.expire_lease(job_id)
        free(job_id)
        assert known.status(job_id) == "failed"
    assert len(followers(known)) == 2


def test_a_dead_letter_is_followed(known: Table) -> None:
    job_id = job.enqueue({}, connection=known.other).job_id
    outbox.record_dead_letters(known.other, [DeadLetter(job_id, "msg", "dlq", "gone")])
    assert known.status(job_id) == "failed"
    assert [row["payload"] for row in followers(known)] == [{"jobId": job_id}]


def test_a_message_that_never_reached_its_function_is_followed_once(known: Table) -> None:
    for _ in range(2):
        outbox.record_never_delivered(
            known.other, NewJob("never", "probe", {}, 1), DeadLetter("never", "msg", "dlq", "gone")
        )
    assert [row["payload"] for row in followers(known)] == [{"jobId": "never"}]


def test_a_manual_retry_that_fails_again_is_followed_again(table: Table) -> None:
    job_id = job.enqueue({}, connection=table.other).job_id
    deliver(job, job_id)
    retry_and_cancel.retry(job_id, actor="ada")
    deliver(job, job_id)
    assert len(followers(table)) == 2


def test_the_worker_learns_what_to_publish_with_the_failure(known: Table) -> None:
    job_id = job.enqueue({}, connection=known.other).job_id
    executions.claim(known.other, job_id=job_id, job_type="probe", lease=Lease(60, None, None))
    recorded = executions.record_not_completed(
        known.other, job_id=job_id, attempt=1, status="failed", details={"type": "E", "message": ""}
    )
    assert recorded is not None
    assert recorded.released == [row["job_id"] for row in followers(known)]


def test_a_type_that_declares_it_no_longer_is_not_followed(known: Table) -> None:
    job_types.declare_followers(known.other, {"probe": None})
    job_id = job.enqueue({}, connection=known.other).job_id
    outbox.record_dead_letters(known.other, [DeadLetter(job_id, "msg", "dlq", "gone")])
    assert followers(known) == []
