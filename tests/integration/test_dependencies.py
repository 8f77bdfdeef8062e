"""Jobs that wait for others (`after=`): what becomes of them when those end."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from stashjobs import Cancelled, PermanentError
from stashjobs.operators import retry_and_cancel
from stashjobs.store import executions, outbox
from stashjobs.store.outbox import DeadLetter
from tests.deliveries import deliver, probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from stashjobs import Context
    from tests.deliveries import Table


def work(payload: dict[str, Any], _context: Context) -> dict[str, Any]:
    """Does what its payload says."""
    if payload.get("fail"):
        raise PermanentError("no")
    if payload.get("cancel"):
        raise Cancelled("no")
    return payload


job = probe(work, retries=0)


def add(table: Table, payload: dict[str, Any] | None = None, **options: Any) -> str:
    return job.enqueue(payload or {}, connection=table.other, **options).job_id


def test_a_job_waits_until_all_its_parents_have_completed(table: Table) -> None:
    parents = [add(table), add(table)]
    child = add(table, after=parents)
    for parent in parents:
        assert table.status(child) == "waiting"
        assert deliver(job, parent).status == 200
    assert table.status(child) == "pending"
    assert deliver(job, child).status == 200


def test_a_job_whose_parents_have_completed_before_is_due_at_once(table: Table) -> None:
    parent = add(table)
    deliver(job, parent)
    enqueued = job.enqueue({}, connection=table.other, after=[parent])
    assert (enqueued.due, table.status(enqueued.job_id)) == (True, "pending")


def test_what_enqueue_returned_and_uuids_name_parents_as_ids_do(table: Table) -> None:
    first = job.enqueue({}, connection=table.other)
    child = add(table, after=[first, uuid.UUID(add(table)), first.job_id])
    [links] = table.run("SELECT count(*) FROM job_dependencies WHERE job_id = %s", child)
    assert links["count"] == 2


def test_no_parents_is_no_wait(table: Table) -> None:
    assert table.status(add(table, after=[])) == "pending"


def test_a_waiting_job_is_due_no_earlier_than_it_asked_for(table: Table) -> None:
    parent = add(table)
    child = add(table, after=[parent], delay=3600)
    asked = table.row(child)["available_at"]
    deliver(job, parent)
    row = table.row(child)
    assert (row["status"], row["available_at"]) == ("pending", asked)


def by_its_function(table: Table, parent: str) -> None:
    table.run("UPDATE job_executions SET payload = '{\"fail\": true}' WHERE job_id = %s", parent)
    deliver(job, parent)


def by_an_operator(_table: Table, parent: str) -> None:
    retry_and_cancel.cancel(parent, actor="ada")


def by_its_lease(table: Table, parent: str) -> None:
    lease = executions.Lease(60, "msg", None)
    executions.claim(table.other, job_id=parent, job_type=job.type, lease=lease)
    table.expire_lease(parent)
    executions.free_expired_leases(table.other, 10)


def by_a_delivery_after_its_last_lease(table: Table, parent: str) -> None:
    lease = executions.Lease(60, "msg", None)
    executions.claim(table.other, job_id=parent, job_type=job.type, lease=lease)
    table.expire_lease(parent)
    deliver(job, parent)


def by_its_dead_letter(table: Table, parent: str) -> None:
    outbox.confirm_published(table.other, {parent: "msg"})
    outbox.record_dead_letters(table.other, [DeadLetter(parent, "msg", "dlq", "no")])


def by_what_qstash_refuses(table: Table, parent: str) -> None:
    outbox.record_refused(table.other, parent, reason="no", patience_seconds=-1)


WITHOUT_COMPLETING = [
    by_its_function,
    by_an_operator,
    by_its_lease,
    by_a_delivery_after_its_last_lease,
    by_its_dead_letter,
    by_what_qstash_refuses,
]


@pytest.mark.parametrize("end", WITHOUT_COMPLETING)
def test_a_parent_that_does_not_complete_cancels_what_waits_for_it(
    table: Table, end: Callable[[Table, str], None]
) -> None:
    parent = add(table)
    child = add(table, after=[parent, add(table)])
    grandchild = add(table, after=[child])
    end(table, parent)
    row = table.row(child)
    assert row["status"] == "cancelled"
    assert row["error"].startswith(f"ParentNotCompleted: {parent}, which this job waited for, ")
    row = table.row(grandchild)
    assert row["error"] == (
        f"ParentNotCompleted: {child}, which this job waited for, was cancelled"
    )


@pytest.mark.parametrize("end", WITHOUT_COMPLETING)
def test_a_job_that_waits_for_ends_runs_however_they_ended(
    table: Table, end: Callable[[Table, str], None]
) -> None:
    parent, other = add(table), add(table)
    child = add(table, after=[parent, other], when="ended")
    end(table, parent)
    assert table.status(child) == "waiting"
    deliver(job, other)
    assert table.status(child) == "pending"


def of_one_shard(table: Table) -> None:
    """As if there were very many."""
    table.run("UPDATE job_dependencies SET shard = 7")


@pytest.mark.parametrize("many", [False, True])
def test_a_parent_that_is_retried_while_a_job_waits_is_waited_for_again(
    table: Table, many: bool
) -> None:
    parent, other = add(table), add(table)
    child = add(table, after=[parent, other])
    if many:
        of_one_shard(table)
    deliver(job, parent)
    retry_and_cancel.retry(parent, actor="ada")
    deliver(job, other)
    assert table.status(child) == "waiting"
    deliver(job, parent)
    assert table.status(child) == "pending"


def test_a_parent_that_is_retried_while_the_last_of_its_shard_ends_is_waited_for(
    table: Table, database_url: str
) -> None:
    parent, other = add(table), add(table)
    child = add(table, after=[parent, other])
    of_one_shard(table)
    deliver(job, parent)
    claim = claimed(table, other)
    with (
        ThreadPoolExecutor(1) as pool,
        psycopg.connect(database_url) as operator,
        psycopg.connect(database_url, autocommit=True) as worker,
    ):
        operator.execute("SELECT FROM stashjobs.retry(job_ids => %s, actor => 'ada')", [[parent]])
        ended = pool.submit(executions.record_completed, worker, **claim)
        while not table.run("SELECT pid FROM pg_locks WHERE NOT granted") and not ended.done():
            time.sleep(0.01)
        operator.commit()
        recorded = ended.result()
    assert recorded is not None
    assert (recorded.released, table.status(child)) == ([], "waiting")
    deliver(job, parent)
    assert table.status(child) == "pending"


def test_a_parent_that_is_retried_later_does_not_run_the_job_again(table: Table) -> None:
    parent = add(table)
    child = add(table, after=[parent])
    deliver(job, parent)
    deliver(job, child)
    retry_and_cancel.retry(parent, actor="ada")
    deliver(job, parent)
    assert table.status(child) == "completed"


def test_a_job_learns_its_parents_results_in_the_order_it_asked(table: Table) -> None:
    parents = [add(table, {"n": n}) for n in range(3)][::-1]
    for parent in parents:
        deliver(job, parent)
    gather = probe(lambda _payload, context: [each.result for each in context.parents()])
    child = gather.enqueue({}, connection=table.other, after=parents).job_id
    deliver(gather, child)
    assert table.row(child)["result"] == [{"n": 2}, {"n": 1}, {"n": 0}]


def test_a_parent_that_does_not_exist_is_refused_by_its_id(table: Table) -> None:
    with pytest.raises(ValueError, match="after: there is no job nobody"):
        add(table, after=["nobody"])
    assert table.rows() == []


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"after": "a-job"}, TypeError),
        ({"after": [7]}, TypeError),
        ({"after": ["x"], "when": "failed"}, ValueError),
        ({"when": "ended"}, ValueError),
    ],
)
def test_options_that_make_no_sense_are_refused(
    table: Table, options: dict[str, Any], error: type[Exception]
) -> None:
    with pytest.raises(error, match=r"after|when"):
        add(table, **options)
    assert table.rows() == []


def test_it_is_part_of_the_caller_s_transaction(table: Table) -> None:
    with table.other.transaction(force_rollback=True):
        add(table, after=[add(table)])
    assert table.rows() == []
    assert table.run("SELECT * FROM job_dependencies") == []


def test_sql_enqueues_a_job_that_waits(table: Table) -> None:
    parent = add(table)
    enqueue = "SELECT * FROM stashjobs.enqueue('probe', '{}', after => ARRAY[%s])"
    [made] = table.run(enqueue, parent)
    assert table.status(made["job_id"]) == "waiting"
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="after_when is 'never'"):
        table.run(
            "SELECT * FROM stashjobs.enqueue('p', '{}', after => ARRAY['x'], after_when => 'never')"
        )


def test_a_wide_fan_and_a_deep_chain_are_released_by_one_end(table: Table) -> None:
    parent = add(table)
    fan = [
        each.job_id for each in job.enqueue_many([{}] * 500, connection=table.other, after=[parent])
    ]
    ended = executions.record_completed(table.other, **claimed(table, parent))
    assert ended is not None
    assert set(ended.released) == set(fan)
    chain = [add(table)]
    for _ in range(100):
        chain.append(add(table, after=[chain[-1]]))
    retry_and_cancel.cancel(chain[0], actor="ada")
    assert {table.status(each) for each in chain} == {"cancelled"}


def claimed(table: Table, job_id: str) -> dict[str, Any]:
    lease = executions.Lease(60, "msg", None)
    executions.claim(table.other, job_id=job_id, job_type=job.type, lease=lease)
    return {"job_id": job_id, "attempt": 1, "result": None}


@pytest.mark.parametrize("parents", [2, 16, 450])
def test_parents_that_end_at_the_same_moment_release_the_job_once(
    table: Table, database_url: str, parents: int
) -> None:
    """Also with so many that they are in shards."""
    ids = [each.job_id for each in job.enqueue_many([{}] * parents, connection=table.other)]
    child = add(table, after=ids)
    claims = [claimed(table, each) for each in ids]
    threads = min(parents, 16)
    begin = threading.Barrier(threads)
    released: list[str] = []

    def end(number: int) -> None:
        with psycopg.connect(database_url) as connection:
            begin.wait()
            for claim in claims[number::threads]:
                with connection.transaction():
                    ended = executions.record_completed(connection, **claim)
                    assert ended is not None
                released.extend(ended.released)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(end, range(threads)))
    assert released == [child]
    assert table.status(child) == "pending"


def test_very_many_parents_do_not_wait_for_each_other(table: Table, database_url: str) -> None:
    """One is ended by a transaction that does not commit: only those of its shard wait for it."""
    ids = [each.job_id for each in job.enqueue_many([{}] * 130, connection=table.other)]
    add(table, after=ids)
    shards = table.run(
        "SELECT array_agg(parent_id) AS ids FROM job_dependencies"
        " GROUP BY shard HAVING count(*) > 1 LIMIT 2"
    )
    claims = [claimed(table, each["ids"][0]) for each in shards]
    with psycopg.connect(database_url) as slow, slow.transaction(force_rollback=True):
        executions.record_completed(slow, **claims[0])
        with table.other.transaction():
            table.other.execute("SET LOCAL lock_timeout = '10s'")
            ended = executions.record_completed(table.other, **claims[1])
    assert ended is not None
    assert (ended.held, ended.released) == (True, [])


def test_the_relay_releases_what_a_deleted_parent_left_waiting(table: Table) -> None:
    parents = [add(table) for _ in range(3)]
    child, other = add(table, after=parents[:1]), add(table, after=parents[1:], when="ended")
    table.run("DELETE FROM job_executions WHERE job_id = ANY(%s)", parents[:2])
    assert executions.release_overlooked(table.other, quiet_seconds=0, limit=10) == 1
    assert table.row(child)["error"] == (
        f"ParentNotCompleted: {parents[0]}, which this job waited for, is gone"
    )
    assert table.status(other) == "waiting"
    table.run("UPDATE job_dependencies SET open = false")
    assert executions.release_overlooked(table.other, quiet_seconds=0, limit=10) == 1
    assert table.status(other) == "pending"
    assert executions.release_overlooked(table.other, quiet_seconds=0, limit=10) == 0


def test_what_a_worker_of_release_0_1_ended_is_released_with_the_next_run_of_the_relay(
    table: Table,
) -> None:
    done, failed = add(table), add(table)
    then, after_failure = add(table, after=[done]), add(table, after=[failed])
    table.run(
        "UPDATE job_executions SET status = 'processing', lease_expires_at = now() + '1 h'"
        " WHERE status = 'pending'"
    )
    table.run(
        "UPDATE job_executions SET status = 'completed', lease_expires_at = NULL,"
        " completed_at = now() WHERE job_id = %s",
        done,
    )
    table.run(
        "UPDATE job_executions SET status = 'failed', lease_expires_at = NULL,"
        " completed_at = now() WHERE job_id = %s",
        failed,
    )
    assert table.status(then) == "waiting"
    released = executions.release_overlooked(table.other, quiet_seconds=3600, limit=10)
    assert (released, table.status(then), table.status(after_failure)) == (
        1,
        "pending",
        "cancelled",
    )
    assert executions.release_overlooked(table.other, quiet_seconds=3600, limit=10) == 0
