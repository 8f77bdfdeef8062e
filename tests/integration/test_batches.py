"""Batches: jobs that belong together, and the one that runs when all have ended."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from stashjobs import InvalidPayload, PermanentError, batch
from stashjobs.operators import retry_and_cancel, search
from stashjobs.operators.search import Filter
from stashjobs.store import batches
from tests.deliveries import deliver, probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from stashjobs import Batch, Context
    from stashjobs.store.batches import BatchState
    from tests.deliveries import Table


def work(payload: dict[str, Any], context: Context) -> dict[str, Any]:
    if payload.get("fail"):
        raise PermanentError("no")
    if payload.get("more"):
        context.enqueue(job, {}, batch=context.batch_id)
    return payload


job = probe(work, retries=0)
notify = probe(lambda _, context: [parent.status for parent in context.parents()], type="notify")


def of(table: Table, *payloads: dict[str, Any], **options: Any) -> Batch:
    with batch("import", connection=table.other, **options) as made:
        made.enqueue_many(job, payloads)
    return made


def members(table: Table, made: Batch) -> list[str]:
    rows = table.run(
        "SELECT job_id FROM job_executions WHERE batch_id = %s ORDER BY job_id", made.batch_id
    )
    return [row["job_id"] for row in rows]


def state(table: Table, made: Batch) -> BatchState:
    found = batches.find(table.other, made.batch_id)
    assert found is not None
    return found


def test_the_last_job_runs_when_all_of_the_batch_have_ended(table: Table) -> None:
    made = of(table, {}, {"fail": True}, on_ended=notify)
    first, second = members(table, made)
    assert table.status(made.batch_id) == "waiting"
    deliver(job, first)
    assert table.status(made.batch_id) == "waiting"
    deliver(job, second)
    assert table.status(made.batch_id) == "pending"
    assert deliver(notify, made.batch_id).status == 200
    row = table.row(made.batch_id)
    assert (row["payload"], row["result"]) == (
        {"batchId": made.batch_id},
        ["completed", "failed"],
    )


def test_what_enqueue_answers_is_complete_after_the_block(table: Table) -> None:
    with batch("import", on_ended=notify, payload={"to": "ops"}, connection=table.other) as made:
        one = made.enqueue(job, {"n": 1}, user_id="u_1", idempotency_key="k")
        assert (one.created, table.rows()) == (False, [])
    assert (one.created, one.due, one.published) == (True, True, False)
    assert table.row(one.job_id)["user_id"] == "u_1"
    assert made.on_ended is not None
    assert (made.on_ended.job_id, made.on_ended.due) == (made.batch_id, False)
    assert table.row(made.batch_id)["payload"] == {"to": "ops"}


def test_a_block_that_raises_enqueues_nothing(table: Table) -> None:
    def fail() -> None:
        with batch("import", connection=table.other) as made:
            made.enqueue(job, {})
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert (table.rows(), batches.newest(table.other, limit=9)) == ([], [])


def test_a_batch_of_no_jobs_has_ended(table: Table) -> None:
    assert table.status(of(table, on_ended=notify).batch_id) == "pending"


def test_a_batch_needs_no_last_job(table: Table) -> None:
    made = of(table, {}, {})
    deliver(job, members(table, made)[0])
    found = state(table, made)
    assert (found.total, found.done, found.failed, found.waiting) == (2, 1, 0, 1)
    assert found.on_ended is None
    assert job.enqueue({}, batch=made, connection=table.other).created


def test_a_job_that_is_there_already_is_waited_for_and_not_taken(table: Table) -> None:
    first = job.enqueue({}, idempotency_key="k", connection=table.other).job_id
    with batch("import", on_ended=notify, connection=table.other) as made:
        same = made.enqueue(job, {}, idempotency_key="k")
    assert (same.job_id, same.created, members(table, made)) == (first, False, [])
    deliver(job, first)
    assert table.status(made.batch_id) == "pending"


def test_members_may_wait_for_each_other(table: Table) -> None:
    with batch("import", on_ended=notify, connection=table.other) as made:
        first = made.enqueue(job, {"fail": True})
        second = made.enqueue(job, {}, after=[first])
    deliver(job, first.job_id)
    assert table.status(second.job_id) == "cancelled"
    assert table.status(made.batch_id) == "pending"


def test_a_job_of_the_batch_adds_to_it(table: Table) -> None:
    made = of(table, {"more": True}, on_ended=notify)
    [first] = members(table, made)
    assert deliver(job, first).status == 200
    _, second = members(table, made)
    assert table.status(made.batch_id) == "waiting"
    deliver(job, second)
    assert table.status(made.batch_id) == "pending"


def test_a_batch_that_has_ended_takes_no_more(table: Table) -> None:
    made = of(table, {}, on_ended=notify)
    deliver(job, members(table, made)[0])
    with pytest.raises(ValueError, match=f"batch: {made.batch_id} has ended"):
        job.enqueue({}, batch=made.batch_id, connection=table.other)
    assert len(members(table, made)) == 1


def test_a_batch_that_is_not_there_takes_nothing(table: Table) -> None:
    with pytest.raises(ValueError, match="batch: there is no batch other"):
        job.enqueue({}, batch="other", connection=table.other)
    assert table.rows() == []


def test_a_job_that_waits_for_the_end_of_a_batch_cannot_be_of_it(table: Table) -> None:
    made = of(table, {}, on_ended=notify)
    behind = job.enqueue({}, after=[made.batch_id], connection=table.other)
    for after in (made.batch_id, behind):
        with pytest.raises(ValueError, match="cannot wait for its end"):
            job.enqueue({}, batch=made, after=[after], connection=table.other)


def test_sql_adds_to_a_batch(table: Table) -> None:
    made = of(table, {}, on_ended=notify)
    table.run("SELECT * FROM stashjobs.enqueue('probe', '{}', batch => %s)", made.batch_id)
    assert len(members(table, made)) == 2
    deliver(job, members(table, made)[0])
    assert table.status(made.batch_id) == "waiting"


def test_what_failed_is_retried_and_the_rest_cancelled_by_the_batch(table: Table) -> None:
    made = of(table, {"fail": True}, {}, {}, on_ended=notify)
    other = job.enqueue({}, connection=table.other).job_id
    first, second, third = members(table, made)
    deliver(job, first)
    failed = Filter(batch_id=made.batch_id, status="failed")
    assert retry_and_cancel.retry_all(failed, actor="ada").count == 1
    assert table.status(first) == "pending"
    deliver(job, second)
    assert retry_and_cancel.cancel_all(Filter(batch_id=made.batch_id), actor="ada").count == 2
    assert [table.status(one) for one in (first, second, third, other)] == [
        "cancelled",
        "completed",
        "cancelled",
        "pending",
    ]
    assert table.status(made.batch_id) == "pending"
    assert [one.job_id for one in search.newest(table.other, failed)] == []


def test_a_batch_goes_with_the_last_of_its_jobs(table: Table) -> None:
    made = of(table, {}, {})
    for one in members(table, made):
        deliver(job, one)
    table.run("UPDATE job_executions SET completed_at = now() - interval '2 days'")
    for one in members(table, made):
        assert state(table, made).total
        table.run("SELECT FROM stashjobs.delete_ended(ARRAY[%s])", one)
    assert batches.find(table.other, made.batch_id) is None


def test_a_callers_transaction_takes_the_batch_along(table: Table) -> None:
    with table.other.transaction(force_rollback=True):
        made = of(table, {}, on_ended=notify)
    assert (table.rows(), batches.find(table.other, made.batch_id)) == ([], None)


def test_a_batch_joins_the_transaction_of_an_async_connection(
    table: Table, database_url: str
) -> None:
    async def make(*, rolls_back: bool) -> Batch:
        async with (
            await psycopg.AsyncConnection.connect(database_url) as own,
            own.transaction(force_rollback=rolls_back),
            batch("import", on_ended=notify, connection=own) as made,
        ):
            made.enqueue_many(job, [{}, {}])
        return made

    undone = asyncio.run(make(rolls_back=True))
    assert (table.rows(), batches.find(table.other, undone.batch_id)) == ([], None)
    made = asyncio.run(make(rolls_back=False))
    for member in members(table, made):
        assert table.status(made.batch_id) == "waiting"
        deliver(job, member)
    assert table.status(made.batch_id) == "pending"


def test_a_batch_beside_an_event_loop_is_recorded(
    table: Table, use_qstash: Callable[[str], None]
) -> None:
    use_qstash("http://127.0.0.1:1")  # which takes nothing: the relay's part

    async def make() -> Batch:
        async with batch("import", on_ended=notify) as made:
            made.enqueue(job, {})
        return made

    made = asyncio.run(make())
    assert (len(members(table, made)), table.status(made.batch_id)) == (1, "waiting")


def test_an_async_connection_is_refused_where_nothing_can_be_awaited() -> None:
    made = batch("import", connection=object.__new__(psycopg.AsyncConnection))
    with pytest.raises(TypeError, match="write async with"), made:
        pass


@pytest.mark.parametrize(
    ("name", "options", "why"),
    [
        ("", {}, "name is ''"),
        ("a\nb", {}, "name is"),
        (7, {}, "name is 7"),
        ("x" * 201, {}, "name is"),
        ("import", {"payload": {}}, "payload and options are those of the job of on_ended"),
        ("import", {"user_id": "u"}, "payload and options are those"),
        ("import", {"on_ended": notify, "after": ["a"]}, "after is not for the job of on_ended"),
        ("import", {"on_ended": notify, "unique": "a"}, "unique is not for the job"),
    ],
)
def test_what_makes_no_sense_is_refused(name: Any, options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        batch(name, **options)


def test_a_payload_that_cannot_be_recorded_is_refused_where_it_is_added(table: Table) -> None:
    with batch("import", connection=table.other) as made:
        with pytest.raises(InvalidPayload):
            made.enqueue(job, {"a": object()})
        with pytest.raises(ValueError, match="batch is this one; leave it out"):
            made.enqueue(job, {}, batch="other")
