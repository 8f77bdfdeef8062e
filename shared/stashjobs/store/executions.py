"""The life of a job: recorded, claimed, ended, by the functions that the database has in its schema
`stashjobs` (`store/sql`).

Each function here is one call, so one round trip. The connection is the caller's. What QStash knows
of a job is in `outbox`. Calls name their arguments and columns, since a newer version's functions
may have more of both.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import psycopg
from psycopg.rows import tuple_row

from stashjobs.observability import tracing
from stashjobs.store import jsonb

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from psycopg import AsyncConnection, Connection

Status = Literal["waiting", "pending", "processing", "retrying", "completed", "failed", "cancelled"]
ENDED = ("completed", "failed", "cancelled")

# What a row cannot hold, which no repetition changes (an idempotency key too long for its index).
UNSTORABLE = (
    psycopg.DataError,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.StatementTooComplex,
)


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job about to be recorded. `payload` is plain JSON; `delivery` is what the job asks of
    QStash beyond its type's defaults, kept so that the relay can publish it the same way; `after`
    is what it waits for: `ids`, and `when`; `uniqueness` has `key`, `running`, `replace` and
    `maxWait`; `batch_id` is that of the batch it belongs to."""

    job_id: str
    job_type: str
    payload: Any
    max_attempts: int
    available_at: datetime | None = None
    user_id: str | None = None
    organization_id: str | None = None
    idempotency_key: str | None = None
    metadata: dict[str, Any] = field(default_factory=dict)
    delivery: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] | None = None
    enqueued_by: str | None = None
    uniqueness: dict[str, Any] | None = None
    expires_at: datetime | None = None
    batch_id: str | None = None


class Lease(NamedTuple):
    """For how long a delivery takes a job, and what QStash says of the message it came with.
    A `nonce` of its own lets a delivery ask again that did not hear the answer. `on_failed` is the
    type of the job that is to follow its failure, which has `follower_attempts`."""

    seconds: float
    message_id: str | None
    schedule_id: str | None
    nonce: str | None = None
    on_failed: str | None = None
    follower_attempts: int | None = None


class Claim(NamedTuple):
    """What a delivery found.

    `status` is `processing` with `held` True: this delivery holds the job and runs it. Otherwise
    it says why not: `completed`, `cancelled` or `failed` jobs are over; `pending` and
    `retrying` ones are not due yet, `processing` ones are another delivery's, and `wait` is until
    that changes, in seconds; `paused` says that the job waits, and its type is
    paused. `payload` is an `Unreadable` where Python cannot read it.
    """

    held: bool
    status: Status | Literal["paused"]
    job_type: str
    attempt: int
    max_attempts: int
    run: int
    payload: Any
    user_id: str | None
    organization_id: str | None
    error: str | None
    wait: float | None


class Recorded(NamedTuple):
    """What the row says after an attempt to record: `held` is False when this attempt no longer
    held the job and nothing was written. `released` are the ids of jobs that waited for this one
    and are due now."""

    held: bool
    status: Status
    attempt: int
    released: list[str]


class Parent(NamedTuple):
    """A job that another one waited for. `result` is what its function returned, as JSON; None
    where it did not complete."""

    job_id: str
    job_type: str
    status: Status
    result: Any
    error: str | None


class JobState(NamedTuple):
    """How a job stands. `result` is what its function returned, as JSON; None where it has not
    completed."""

    job_id: str
    job_type: str
    status: Status
    result: Any
    error: str | None

    @property
    def ended(self) -> bool:
        """Whether it has: `completed`, `failed` or `cancelled`."""
        return self.status in ENDED


class New(NamedTuple):
    """A job that was recorded, or the one that has its idempotency key or its unique key already.
    `due`: it is new, and waits for no other job."""

    job_id: str
    due: bool


ENQUEUE_MANY = """
SELECT asked_id, job_id, due
  FROM stashjobs.enqueue_many(
           job_ids => %(job_ids)s::text[], types => %(types)s::text[],
           payloads => %(payloads)s::jsonb[], max_attempts => %(max_attempts)s::int[],
           available_at => %(available_at)s::timestamptz[], user_ids => %(user_ids)s::text[],
           organization_ids => %(organization_ids)s::text[],
           idempotency_keys => %(idempotency_keys)s::text[], metadata => %(metadata)s::jsonb[],
           delivery => %(delivery)s::jsonb[], after => %(after)s::jsonb[],
           enqueued_by => %(enqueued_by)s::text[], uniqueness => %(uniqueness)s::jsonb[],
           expires_at => %(expires_at)s::timestamptz[], batch_ids => %(batch_ids)s::text[])
"""
CLAIM = """
SELECT held, status, job_type, attempt, max_attempts, run, payload::text, user_id,
       organization_id, error, wait_seconds
  FROM stashjobs.claim(
           job_id => %(job_id)s, type => %(type)s, lease_seconds => %(lease_seconds)s,
           message_id => %(message_id)s, schedule_id => %(schedule_id)s, nonce => %(nonce)s,
           on_failed => %(on_failed)s, follower_attempts => %(follower_attempts)s)
"""
CLAIM_OR_RECORD = """
SELECT held, status, job_type, attempt, last_attempt, run, document::text,
       for_user_id, for_organization_id, error, wait_seconds
  FROM stashjobs.claim_or_record(
           job_id => %(job_id)s, type => %(type)s, lease_seconds => %(lease_seconds)s,
           payload => %(payload)s, max_attempts => %(max_attempts)s, user_id => %(user_id)s,
           organization_id => %(organization_id)s, idempotency_key => %(idempotency_key)s,
           metadata => %(metadata)s, message_id => %(message_id)s,
           schedule_id => %(schedule_id)s, nonce => %(nonce)s, expires_at => %(expires_at)s,
           on_failed => %(on_failed)s, follower_attempts => %(follower_attempts)s)
"""
COMPLETE = """
SELECT held, row_status, row_attempt, released
  FROM stashjobs.complete(job_id => %(job_id)s, attempt => %(attempt)s, result => %(result)s)
"""
FAIL = """
SELECT held, row_status, row_attempt, released
  FROM stashjobs.fail(
           job_id => %(job_id)s, attempt => %(attempt)s, status => %(status)s,
           details => %(details)s, counted => %(counted)s, wait_seconds => %(wait_seconds)s,
           backoff => %(backoff)s, snoozed => %(snoozed)s)
"""
EXTEND_LEASE = """
SELECT stashjobs.extend_lease(
           job_id => %(job_id)s, attempt => %(attempt)s, lease_seconds => %(lease_seconds)s,
           progress => %(progress)s),
       (SELECT cancel_requested_by FROM job_executions WHERE job_id = %(job_id)s)
"""
READ_CANCEL_REQUESTED = """
-- read_cancel_requested
SELECT cancel_requested_by IS NOT NULL FROM job_executions WHERE job_id = %(job_id)s
"""
FREE_EXPIRED_LEASES = """
SELECT job_id, job_type, status FROM stashjobs.free_expired_leases(max_jobs => %(max_jobs)s)
"""
CANCEL_EXPIRED = """
SELECT job_id, job_type, message_id FROM stashjobs.cancel_expired(max_jobs => %(max_jobs)s)
"""
RELEASE_OVERLOOKED = """
SELECT stashjobs.release_overlooked(
           quiet_seconds => %(quiet_seconds)s, max_jobs => %(max_jobs)s)
"""
FIND_PARENTS = """
-- find_parents
SELECT parent.job_id, parent.job_type, parent.status, parent.result, parent.error
  FROM job_dependencies AS link JOIN job_executions AS parent ON parent.job_id = link.parent_id
 WHERE link.job_id = %(job_id)s
 ORDER BY link.position, link.parent_id
"""
HAS_ENDED = """
-- has_ended
SELECT completed_at IS NOT NULL FROM job_executions WHERE job_id = %(job_id)s
"""
FIND_STATE = """
-- find_state
SELECT job_id, job_type, status, result, error FROM job_executions WHERE job_id = %(job_id)s
"""
FIND_BY_IDEMPOTENCY_KEY = """
-- find_by_idempotency_key
SELECT job_id FROM job_executions WHERE job_type = %(type)s AND idempotency_key = %(key)s
"""


def call(
    connection: Connection[Any], statement: str, parameters: Mapping[str, Any]
) -> list[tuple[Any, ...]]:
    """Execute one of these statements. Returns its rows as tuples, whatever the connection's own
    rows and cursors are.

    Raises:
        psycopg.Error: As `connection.execute` would.
    """
    kind = tracing.TracedCursor if tracing.traces(connection) else psycopg.Cursor
    with kind(connection, row_factory=tuple_row) as cursor:
        return cursor.execute(statement.encode(), parameters, prepare=False).fetchall()


def record_new_jobs(connection: Connection[Any], jobs: Sequence[NewJob]) -> list[New]:
    """Record jobs as `pending` or `waiting`, in one statement; another follows only for a key
    recorded by another producer at the same moment, whose row the first one does not see.

    Returns:
        One per job, in the same order: itself, or, where its idempotency key exists already, the
        job that came first.

    Raises:
        psycopg.errors.InvalidParameterValue: One is to wait for a job that does not exist.
    """
    found: dict[str, New] = {}
    while rest := [job for job in jobs if job.job_id not in found]:
        found |= _new(call(connection, ENQUEUE_MANY, _columns(rest)))
    return [found[job.job_id] for job in jobs]


def record_alike(
    connection: Connection[Any], like: NewJob, payloads: Mapping[str, str]
) -> dict[str, New]:
    """Record jobs without keys that differ in their ids and payloads alone, in one statement.

    Args:
        connection: The caller's.
        like: Has the rest.
        payloads: By id, as `jsonb.text_of` writes them.

    Returns:
        By id.

    Raises:
        psycopg.errors.InvalidParameterValue: They are to wait for a job that does not exist.
    """
    columns = {
        name: column and _repeated(column, len(payloads))
        for name, column in _columns([like]).items()
    }
    columns |= {"job_ids": _array(payloads), "payloads": _array(payloads.values())}
    return _new(call(connection, ENQUEUE_MANY, columns))


async def record_new_jobs_async(
    connection: AsyncConnection[Any], jobs: Sequence[NewJob]
) -> list[New]:
    """`record_new_jobs` on an async connection."""
    found: dict[str, New] = {}
    while rest := [job for job in jobs if job.job_id not in found]:
        async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
            await cursor.execute(ENQUEUE_MANY.encode(), _columns(rest), prepare=False)
            found |= _new(await cursor.fetchall())
    return [found[job.job_id] for job in jobs]


def claim(
    connection: Connection[Any],
    *,
    job_id: str,
    job_type: str,
    lease: Lease,
) -> Claim | None:
    """Take a recorded job for this delivery, or learn why not. None: there is no such job."""
    parameters = {
        "job_id": job_id,
        "type": job_type,
        "lease_seconds": lease.seconds,
        "message_id": lease.message_id,
        "schedule_id": lease.schedule_id,
        "nonce": lease.nonce,
        "on_failed": lease.on_failed,
        "follower_attempts": lease.follower_attempts,
    }
    rows = call(connection, CLAIM, parameters)
    return _claim(rows)


def claim_or_record(
    connection: Connection[Any],
    new: NewJob,
    lease: Lease,
) -> Claim | None:
    """Take a job whose message carries its payload, recording it where it has no row. Where it has
    one, the row wins.

    Raises:
        psycopg.errors.UniqueViolation: Another job of this type has the same idempotency key.
    """
    parameters = {
        "job_id": new.job_id,
        "type": new.job_type,
        "payload": jsonb.parameter(new.payload),
        "max_attempts": new.max_attempts,
        "user_id": new.user_id,
        "organization_id": new.organization_id,
        "idempotency_key": new.idempotency_key,
        "metadata": jsonb.parameter(new.metadata),
        "lease_seconds": lease.seconds,
        "message_id": lease.message_id,
        "schedule_id": lease.schedule_id,
        "nonce": lease.nonce,
        "on_failed": lease.on_failed,
        "follower_attempts": lease.follower_attempts,
        "expires_at": new.expires_at,
    }
    rows = call(connection, CLAIM_OR_RECORD, parameters)
    return _claim(rows)


def find_by_idempotency_key(
    connection: Connection[Any], job_type: str, idempotency_key: str
) -> str | None:
    """The id of the job of this type that has this key."""
    parameters = {"type": job_type, "key": idempotency_key}
    rows = call(connection, FIND_BY_IDEMPOTENCY_KEY, parameters)
    return str(rows[0][0]) if rows else None


def find_parents(connection: Connection[Any], job_id: str) -> list[Parent]:
    """The jobs that this one waits or waited for, in the order in which they were given."""
    return [Parent._make(row) for row in call(connection, FIND_PARENTS, {"job_id": job_id})]


def has_ended(connection: Connection[Any], job_id: str) -> bool:
    """Whether the job has. A job that is not there has not: its transaction may be under way."""
    rows = call(connection, HAS_ENDED, {"job_id": job_id})
    return bool(rows and rows[0][0])


def find_state(connection: Connection[Any], job_id: str) -> JobState | None:
    """How the job stands, an encrypted result as it is kept. None: there is no such job."""
    rows = call(connection, FIND_STATE, {"job_id": job_id})
    return JobState._make(rows[0]) if rows else None


def record_completed(
    connection: Connection[Any], *, job_id: str, attempt: int, result: Any
) -> Recorded | None:
    """End the job well, if this attempt still holds it. None: the row is gone."""
    parameters = {"job_id": job_id, "attempt": attempt, "result": jsonb.parameter(result)}
    rows = call(connection, COMPLETE, parameters)
    return Recorded._make(rows[0]) if rows else None


def record_not_completed(
    connection: Connection[Any],
    *,
    job_id: str,
    attempt: int,
    status: Status,
    details: dict[str, Any],
    counted: bool = True,
    wait_seconds: float = 0.0,
    backoff: bool = False,
    snoozed: bool = False,
) -> Recorded | None:
    """End the attempt with an error, if it still holds the job. None: the row is gone.

    Args:
        details: `type`, `message` and whatever else is known; the statement adds `attempt`,
            `startedAt` and `endedAt` and keeps it with the errors of the attempts before.
        counted: False where the job's function did not run, so that the job may try once more.
        wait_seconds: How long the next attempt is to wait.
        backoff: Whether that is how long QStash waits of its own accord.
        snoozed: Whether the job put itself off, and a new message is to be published for then.
    """
    parameters = {
        "job_id": job_id,
        "attempt": attempt,
        "status": status,
        "details": jsonb.parameter(details),
        "counted": counted,
        "wait_seconds": wait_seconds,
        "backoff": backoff,
        "snoozed": snoozed,
    }
    rows = call(connection, FAIL, parameters)
    return Recorded._make(rows[0]) if rows else None


def extend_lease(
    connection: Connection[Any],
    *,
    job_id: str,
    attempt: int,
    lease_seconds: float,
    progress: dict[str, Any] | None = None,
) -> tuple[bool, str | None]:
    """Extend the attempt's lease and note how far it is. Returns whether it still holds the job,
    and who asked for it to be cancelled."""
    parameters = {
        "job_id": job_id,
        "attempt": attempt,
        "progress": None if progress is None else jsonb.parameter(progress),
        "lease_seconds": lease_seconds,
    }
    [(held, cancelled_by)] = call(connection, EXTEND_LEASE, parameters)
    return bool(held), cancelled_by


def is_cancel_requested(connection: Connection[Any], job_id: str) -> bool:
    """Whether an operator asked for the running job to be cancelled."""
    rows = call(connection, READ_CANCEL_REQUESTED, {"job_id": job_id})
    return bool(rows and rows[0][0])


def free_expired_leases(connection: Connection[Any], limit: int) -> list[tuple[str, str, Status]]:
    """End attempts that never came back, at most `limit`. Returns id, type and new status."""
    rows = call(connection, FREE_EXPIRED_LEASES, {"max_jobs": limit})
    return [(job_id, job_type, status) for job_id, job_type, status in rows]


def cancel_expired(connection: Connection[Any], limit: int) -> list[tuple[str, str, str | None]]:
    """Cancel jobs that wait although their time to begin is over, at most `limit`. Returns id, type
    and the id of the message that QStash still has."""
    rows = call(connection, CANCEL_EXPIRED, {"max_jobs": limit})
    return [(job_id, job_type, message_id) for job_id, job_type, message_id in rows]


def release_overlooked(connection: Connection[Any], *, quiet_seconds: float, limit: int) -> int:
    """Release jobs that have waited for so long (seconds) for others that have all ended. Returns
    how many."""
    parameters = {"quiet_seconds": quiet_seconds, "max_jobs": limit}
    [(released,)] = call(connection, RELEASE_OVERLOOKED, parameters)
    return int(released)


def _new(rows: Sequence[tuple[Any, ...]]) -> dict[str, New]:
    return {asked_id: New(job_id, due) for asked_id, job_id, due in rows}


def _claim(rows: list[tuple[Any, ...]]) -> Claim | None:
    if not rows:
        return None
    claim = Claim._make(rows[0])
    return claim if claim.payload is None else claim._replace(payload=jsonb.read(claim.payload))


def _columns(jobs: Sequence[NewJob]) -> dict[str, str | None]:
    waiting = any(job.after for job in jobs)
    return {
        "job_ids": _array(job.job_id for job in jobs),
        "types": _array(job.job_type for job in jobs),
        "payloads": _array(jsonb.text_of(job.payload) for job in jobs),
        "max_attempts": _array(str(job.max_attempts) for job in jobs),
        "available_at": _array(_time(job.available_at) for job in jobs),
        "user_ids": _array(job.user_id for job in jobs),
        "organization_ids": _array(job.organization_id for job in jobs),
        "idempotency_keys": _array(job.idempotency_key for job in jobs),
        "metadata": _array(jsonb.text_of(job.metadata) for job in jobs),
        "delivery": _array(jsonb.text_of(job.delivery) for job in jobs),
        "after": _array(_object(job.after) for job in jobs) if waiting else None,
        "enqueued_by": _array(job.enqueued_by for job in jobs),
        "uniqueness": _array(_object(job.uniqueness) for job in jobs),
        "expires_at": _array(_time(job.expires_at) for job in jobs),
        "batch_ids": _array(job.batch_id for job in jobs),
    }


def _time(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()


def _object(value: dict[str, Any] | None) -> str | None:
    return None if value is None else jsonb.text_of(value)


def _repeated(array: str, times: int) -> str:
    """An array of one element, or of none, with that element so many times."""
    return array if array == "{}" else f"{{{','.join([array[1:-1]] * times)}}}"


def _array(values: Iterable[str | None]) -> str:
    """An array as Postgres reads it (PostgreSQL docs, "Array Input and Output Syntax"). Without a
    value it is empty, which says the same: `unnest` fills up with NULLs. psycopg's own dumper takes
    ten times as long, and is asked for each value."""
    texts = [
        "NULL" if value is None else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
        for value in values
    ]
    return f"{{{','.join(texts)}}}" if texts.count("NULL") < len(texts) else "{}"
