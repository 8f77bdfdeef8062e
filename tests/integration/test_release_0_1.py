"""The release before runs on this one's database: a deploy migrates first, and its functions go on
until they are replaced. `release_0_1/` has its statements as they were."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg.types.json import Jsonb

from tests.deliveries import deliver, probe

if TYPE_CHECKING:
    from tests.deliveries import Table

FOLDER = Path(__file__).parent / "release_0_1"

job = probe()


class Before:
    """The release before, at the same database."""

    def __init__(self, table: Table) -> None:
        self._connection = table.other

    def __call__(self, name: str, parameters: Any) -> list[tuple[Any, ...]]:
        statement = (FOLDER / f"{name}.sql").read_bytes()
        cursor = self._connection.execute(statement, parameters)
        return cursor.fetchall() if cursor.description else []

    def enqueue(self, job_id: str, key: str | None = None) -> str:
        columns = [job_id], [job.type], [Jsonb({})], [3], [None], [None], [None], [key]
        [(_, recorded)] = self("enqueue", [*columns, [Jsonb({})], [Jsonb({})]])
        return str(recorded)

    def claim(self, job_id: str, name: str = "claim", **more: Any) -> tuple[bool, str, int]:
        parameters = {
            "job_id": job_id,
            "job_type": job.type,
            "lease_seconds": 60,
            "message_id": "msg",
            "schedule_id": None,
        }
        [(held, status, _, attempt, *_rest)] = self(name, parameters | more)
        return held, status, attempt

    def complete(self, job_id: str, attempt: int) -> tuple[Any, ...]:
        return self("complete", {"job_id": job_id, "attempt": attempt, "result": Jsonb(7)})[0]

    def fail(self, job_id: str, attempt: int, status: str) -> tuple[Any, ...]:
        parameters = {
            "job_id": job_id,
            "attempt": attempt,
            "status": status,
            "error": "ValueError: no",
            "uncounted": 0,
            "wait_seconds": 0,
            "details": Jsonb({"type": "ValueError", "message": "no"}),
        }
        return self("fail", parameters)[0]


def test_its_worker_runs_a_job_to_its_end(table: Table) -> None:
    before = Before(table)
    job_id = before.enqueue("a", "key")
    assert before.enqueue("b", "key") == job_id
    assert before.claim(job_id) == (True, "processing", 1)
    assert before.claim(job_id) == (False, "processing", 1)
    lease = {"job_id": job_id, "attempt": 1, "progress": None, "lease_seconds": 60}
    assert before("extend_lease", lease) == [(True,)]
    assert before.fail(job_id, 1, "retrying") == (True, "retrying", 1)
    assert before.claim(job_id) == (True, "processing", 2)
    assert before.complete(job_id, 2) == (True, "completed", 2)
    assert before.complete(job_id, 2) == (False, "completed", 2)


def test_its_worker_records_what_comes_with_its_payload(table: Table) -> None:
    new = {
        "payload": Jsonb({}),
        "max_attempts": 3,
        "user_id": None,
        "organization_id": None,
        "idempotency_key": None,
        "metadata": Jsonb({}),
    }
    assert Before(table).claim("a", "claim_or_record", **new) == (True, "processing", 1)


def test_its_relay_publishes_frees_leases_and_hears_of_dead_letters(table: Table) -> None:
    before = Before(table)
    job_id = before.enqueue("a")
    relay = {
        "job_types": [job.type],
        "quiet_seconds": 0,
        "horizon_seconds": 60,
        "after_time": "-infinity",
        "after_id": "",
        "limit": 10,
    }
    assert [row[0] for row in before("take_unpublished", relay)] == [job_id]
    before("confirm_published", [[job_id], ["msg"]])
    before.claim(job_id)
    table.expire_lease(job_id)
    assert before("free_expired_leases", [10]) == [(job_id, job.type, "retrying")]
    dead = [[job_id], ["msg"], ["dlq"], ["no"], [0.0]]
    assert before("record_dead_letters", dead) == [(job_id, "failed")]


def test_its_operators_retry_and_cancel(table: Table) -> None:
    before = Before(table)
    job_id = before.enqueue("a")
    which = {"job_ids": [job_id], "actor": "ada", "payload": None}
    before("cancel", which | {"action": "cancel", "statuses": ["pending", "retrying"]})
    assert table.status(job_id) == "cancelled"
    before("retry", which | {"action": "retry", "statuses": ["cancelled"]})
    assert table.status(job_id) == "pending"


def test_both_work_on_one_job_and_only_the_holder_records(table: Table) -> None:
    before = Before(table)
    job_id = before.enqueue("a")
    assert before.claim(job_id) == (True, "processing", 1)
    assert deliver(job, job_id).status == 409
    table.expire_lease(job_id)
    assert deliver(job, job_id).status == 200
    assert before.complete(job_id, 1) == (False, "completed", 2)
    assert before.claim(table.add(job)) == (True, "processing", 1)
