"""The life of a job, as named SQL statements on `job_executions`: recorded, claimed, ended.

Each function is one statement, so one round trip. The connection is the caller's. What QStash
knows of a job is in `publications`, what an operator does to it in `operations`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from psycopg.types.json import Jsonb

from stashjobs.store.statement import Statement

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import AsyncConnection, Connection

Status = Literal["pending", "processing", "retrying", "completed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job about to be recorded. `payload` is plain JSON; `delivery` is what the job asks of
    QStash beyond its type's defaults, kept so that whoever publishes it later asks the same."""

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


class Lease(NamedTuple):
    """For how long a delivery takes a job, and what QStash says of the message it came with."""

    seconds: float
    message_id: str | None
    schedule_id: str | None


class Claim(NamedTuple):
    """What a delivery found.

    `status` is `processing` with `held` True: this delivery holds the job and runs it. Otherwise
    it says why not: `completed`, `cancelled` or `failed` jobs are over; `pending`, `retrying` and
    `processing` with `held` False mean that another delivery got there first, and `wait` is how
    long its lease still runs, in seconds.
    """

    held: bool
    status: Status
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
    held the job and nothing was written."""

    held: bool
    status: Status
    attempt: int


# A row that exists under the same idempotency key answers with its own id, and is not touched: an
# update would lock it for as long as the caller's transaction lasts. Rows go in sorted by key, so
# that two programs recording the same keys at the same time wait and do not deadlock.
RECORD_NEW_JOBS = """
WITH new AS (
    SELECT * FROM unnest(%s::text[], %s::text[], %s::jsonb[], %s::int[], %s::timestamptz[],
                         %s::text[], %s::text[], %s::text[], %s::jsonb[], %s::jsonb[])
      AS new (job_id, job_type, payload, max_attempts, available_at, user_id, organization_id,
              idempotency_key, metadata, delivery)
), made AS (
    INSERT INTO job_executions
           (job_id, job_type, payload, max_attempts, available_at, user_id, organization_id,
            idempotency_key, metadata, delivery)
    SELECT job_id, job_type, payload, max_attempts, coalesce(available_at, now()), user_id,
           organization_id, idempotency_key, metadata, delivery
      FROM new
     ORDER BY job_type, idempotency_key NULLS FIRST, job_id
    ON CONFLICT (job_type, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING job_id
)
SELECT job_id, job_id FROM made
UNION ALL
SELECT new.job_id, job.job_id
  FROM new JOIN job_executions AS job USING (job_type, idempotency_key)
 WHERE job.idempotency_key IS NOT NULL
"""


# A lease that ran out is taken over; one that ran out on the last attempt ends the job instead.
# The second half reads the row as it was when the statement began, which is enough to say why the
# job was not taken: whatever happened since was another delivery's doing.
_TAKE = """
       status = CASE WHEN job.attempt >= job.max_attempts THEN 'failed' ELSE 'processing' END,
       attempt = CASE WHEN job.attempt >= job.max_attempts THEN job.attempt
                      ELSE job.attempt + 1 END,
       error = CASE WHEN job.attempt >= job.max_attempts
                    THEN 'LeaseExpired: the attempt ended without a word'
                    ELSE job.error END,
       errors = CASE WHEN job.status <> 'processing' THEN job.errors
                     ELSE job.errors || jsonb_build_object(
                            'attempt', job.attempt, 'type', 'LeaseExpired',
                            'message', 'the attempt ended without a word',
                            'startedAt', job.started_at, 'endedAt', job.lease_expires_at) END,
       started_at = CASE WHEN job.attempt >= job.max_attempts THEN job.started_at
                         ELSE now() END,
       lease_expires_at = CASE WHEN job.attempt >= job.max_attempts THEN NULL
                               ELSE now() + make_interval(secs => %(lease_seconds)s) END,
       completed_at = CASE WHEN job.attempt >= job.max_attempts THEN now() END,
       published_at = CASE WHEN %(message_id)s::text IS NULL THEN job.published_at
                           ELSE coalesce(job.published_at, now()) END,
       message_id = coalesce(%(message_id)s, job.message_id),
       dlq_id = CASE WHEN %(message_id)s::text <> job.message_id THEN NULL ELSE job.dlq_id END,
       schedule_id = coalesce(%(schedule_id)s, job.schedule_id),
       updated_at = now()
 WHERE (job.status IN ('pending', 'retrying')
        OR (job.status = 'processing' AND job.lease_expires_at <= now()))
   AND job.job_type = %(job_type)s
"""
_CLAIMED = """
RETURNING job.status = 'processing' AS held, job.status, job.job_type, job.attempt,
          job.max_attempts, job.run, job.payload, job.user_id, job.organization_id, job.error,
          NULL::float AS wait
"""
_OR_SAY_WHY_NOT = """
SELECT * FROM claimed
UNION ALL
SELECT false, status, job_type, attempt, max_attempts, run, NULL, NULL, NULL, error,
       extract(epoch FROM lease_expires_at - now())::float
  FROM job_executions
 WHERE job_id = %(job_id)s AND NOT EXISTS (SELECT FROM claimed)
"""

# fmt: off
CLAIM = (
    "WITH claimed AS (UPDATE job_executions AS job SET" + _TAKE +
    "AND job.job_id = %(job_id)s" + _CLAIMED + ")" + _OR_SAY_WHY_NOT
)

# For a message that carries its payload: the first delivery records the job as it takes it.
CLAIM_OR_RECORD = (
    """WITH claimed AS (
    INSERT INTO job_executions AS job
           (job_id, job_type, status, payload, attempt, max_attempts, user_id, organization_id,
            idempotency_key, metadata, message_id, schedule_id, published_at, started_at,
            lease_expires_at)
    VALUES (%(job_id)s, %(job_type)s, 'processing', %(payload)s, 1, %(max_attempts)s,
            %(user_id)s, %(organization_id)s, %(idempotency_key)s, %(metadata)s, %(message_id)s,
            %(schedule_id)s, CASE WHEN %(message_id)s::text IS NOT NULL THEN now() END, now(),
            now() + make_interval(secs => %(lease_seconds)s))
    ON CONFLICT (job_id) DO UPDATE SET""" + _TAKE + _CLAIMED + ")" + _OR_SAY_WHY_NOT
)
# fmt: on

_STILL_HELD = """
 WHERE job_id = %(job_id)s AND attempt = %(attempt)s AND status = 'processing'
RETURNING true AS held, status, attempt
"""
_OR_SAY_WHAT_IS = """
SELECT * FROM recorded
UNION ALL
SELECT false, status, attempt FROM job_executions
 WHERE job_id = %(job_id)s AND NOT EXISTS (SELECT FROM recorded)
"""

RECORD_COMPLETED = (
    """WITH recorded AS (
UPDATE job_executions
   SET status = 'completed', result = %(result)s, error = NULL, lease_expires_at = NULL,
       completed_at = now(), updated_at = now()"""
    + _STILL_HELD
    + ")"
    + _OR_SAY_WHAT_IS
)

RECORD_NOT_COMPLETED = (
    """WITH recorded AS (
UPDATE job_executions
   SET status = %(status)s, error = %(error)s, lease_expires_at = NULL, updated_at = now(),
       completed_at = CASE WHEN %(status)s <> 'retrying' THEN now() END,
       -- QStash gave up on the message while the attempt ran: the relay sends another.
       published_at = CASE WHEN %(status)s = 'retrying' AND dlq_id IS NOT NULL THEN NULL
                           ELSE published_at END,
       -- QStash's patience (`publications`) begins anew with an attempt that ran.
       available_at = CASE WHEN %(status)s = 'retrying' AND %(uncounted)s = 0
                           THEN now() + make_interval(secs => %(wait_seconds)s)
                           ELSE available_at END,
       -- An attempt that ran nothing moves the window of attempts along with it.
       max_attempts = max_attempts + %(uncounted)s,
       attempts_before_run = attempts_before_run + %(uncounted)s,
       errors = errors || jsonb_build_array(%(details)s::jsonb || jsonb_build_object(
                  'attempt', attempt, 'startedAt', started_at, 'endedAt', now()))"""
    + _STILL_HELD
    + ")"
    + _OR_SAY_WHAT_IS
)

FIND_BY_IDEMPOTENCY_KEY = """
SELECT job_id FROM job_executions WHERE job_type = %s AND idempotency_key = %s
"""

EXTEND_LEASE = """
UPDATE job_executions
   SET progress = coalesce(%(progress)s, progress), updated_at = now(),
       lease_expires_at = now() + make_interval(secs => %(lease_seconds)s)
 WHERE job_id = %(job_id)s AND attempt = %(attempt)s AND status = 'processing'
RETURNING true
"""


FREE_EXPIRED_LEASES = """
UPDATE job_executions AS job
   SET status = CASE WHEN attempt >= max_attempts THEN 'failed' ELSE 'retrying' END,
       error = 'LeaseExpired: the attempt ended without a word',
       errors = errors || jsonb_build_object(
                  'attempt', attempt, 'type', 'LeaseExpired',
                  'message', 'the attempt ended without a word',
                  'startedAt', started_at, 'endedAt', lease_expires_at),
       lease_expires_at = NULL, published_at = NULL, updated_at = now(), available_at = now(),
       completed_at = CASE WHEN attempt >= max_attempts THEN now() END
 WHERE job_id IN (SELECT job_id FROM job_executions
                   WHERE status = 'processing' AND lease_expires_at <= now()
                   ORDER BY lease_expires_at LIMIT %s
                     FOR UPDATE SKIP LOCKED)
   AND status = 'processing'
RETURNING job_id, job_type, status
"""

# What every delivery executes.
_claim = Statement("claim", CLAIM)
_claim_or_record = Statement("claim_or_record", CLAIM_OR_RECORD)
_record_completed = Statement("record_completed", RECORD_COMPLETED)


def record_new_jobs(connection: Connection[Any], jobs: Sequence[NewJob]) -> list[str]:
    """Record jobs as `pending`, in one statement; another follows only for a key that somebody
    recorded in this same moment, whose row the first one does not see.

    Returns:
        One id per job, in the same order: the job's own, or, where its idempotency key exists
        already, the id of the job that came first.
    """
    ids: dict[str, str] = {}
    while rest := [job for job in jobs if job.job_id not in ids]:
        ids |= dict(connection.execute(RECORD_NEW_JOBS, _columns(rest)).fetchall())
    return [ids[job.job_id] for job in jobs]


async def record_new_jobs_async(
    connection: AsyncConnection[Any], jobs: Sequence[NewJob]
) -> list[str]:
    """`record_new_jobs` on an async connection."""
    ids: dict[str, str] = {}
    while rest := [job for job in jobs if job.job_id not in ids]:
        cursor = await connection.execute(RECORD_NEW_JOBS, _columns(rest))
        ids |= dict(await cursor.fetchall())
    return [ids[job.job_id] for job in jobs]


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
        "job_type": job_type,
        "lease_seconds": lease.seconds,
        "message_id": lease.message_id,
        "schedule_id": lease.schedule_id,
    }
    row = _claim.fetch_one(connection, parameters)
    return Claim._make(row) if row else None


def claim_or_record(
    connection: Connection[Any],
    new: NewJob,
    lease: Lease,
) -> Claim | None:
    """Take a job whose message carries its payload, recording it where it has no row. Where it has
    one, the row wins. None: another delivery recorded it in this same moment.

    Raises:
        psycopg.errors.UniqueViolation: Another job of this type has the same idempotency key.
    """
    parameters = {
        "job_id": new.job_id,
        "job_type": new.job_type,
        "payload": Jsonb(new.payload),
        "max_attempts": new.max_attempts,
        "user_id": new.user_id,
        "organization_id": new.organization_id,
        "idempotency_key": new.idempotency_key,
        "metadata": Jsonb(new.metadata),
        "lease_seconds": lease.seconds,
        "message_id": lease.message_id,
        "schedule_id": lease.schedule_id,
    }
    row = _claim_or_record.fetch_one(connection, parameters)
    return Claim._make(row) if row else None


def find_by_idempotency_key(
    connection: Connection[Any], job_type: str, idempotency_key: str
) -> str | None:
    """The id of the job of this type that has this key."""
    row = connection.execute(FIND_BY_IDEMPOTENCY_KEY, [job_type, idempotency_key]).fetchone()
    return None if row is None else str(row[0])


def record_completed(
    connection: Connection[Any], *, job_id: str, attempt: int, result: Any
) -> Recorded | None:
    """End the job well, if this attempt still holds it. None: the row is gone."""
    parameters = {"job_id": job_id, "attempt": attempt, "result": Jsonb(result)}
    row = _record_completed.fetch_one(connection, parameters)
    return Recorded._make(row) if row else None


def record_not_completed(
    connection: Connection[Any],
    *,
    job_id: str,
    attempt: int,
    status: Status,
    details: dict[str, Any],
    counted: bool = True,
    wait_seconds: float = 0.0,
) -> Recorded | None:
    """End the attempt with an error, if it still holds the job. None: the row is gone.

    Args:
        details: `type`, `message` and whatever else is known; the statement adds `attempt`,
            `startedAt` and `endedAt` and keeps it with the errors of the attempts before.
        counted: False where the job's function did not run, so that the job may try once more.
        wait_seconds: How long the next attempt is to wait.
    """
    parameters = {
        "job_id": job_id,
        "attempt": attempt,
        "status": status,
        "error": f"{details['type']}: {details['message']}",
        "details": Jsonb(details),
        "uncounted": 0 if counted else 1,
        "wait_seconds": wait_seconds,
    }
    row = connection.execute(RECORD_NOT_COMPLETED, parameters).fetchone()
    return Recorded._make(row) if row else None


def extend_lease(
    connection: Connection[Any],
    *,
    job_id: str,
    attempt: int,
    lease_seconds: float,
    progress: dict[str, Any] | None = None,
) -> bool:
    """Extend the attempt's lease and note how far it is. False: it no longer holds the job."""
    parameters = {
        "job_id": job_id,
        "attempt": attempt,
        "progress": None if progress is None else Jsonb(progress),
        "lease_seconds": lease_seconds,
    }
    return connection.execute(EXTEND_LEASE, parameters).fetchone() is not None


def free_expired_leases(connection: Connection[Any], limit: int) -> list[tuple[str, str, Status]]:
    """End attempts that never came back, at most `limit`. Returns id, type and new status."""
    return list(connection.execute(FREE_EXPIRED_LEASES, [limit]))


def _columns(jobs: Sequence[NewJob]) -> list[list[Any]]:
    return [
        [job.job_id for job in jobs],
        [job.job_type for job in jobs],
        [Jsonb(job.payload) for job in jobs],
        [job.max_attempts for job in jobs],
        [job.available_at for job in jobs],
        [job.user_id for job in jobs],
        [job.organization_id for job in jobs],
        [job.idempotency_key for job in jobs],
        [Jsonb(job.metadata) for job in jobs],
        [Jsonb(job.delivery) for job in jobs],
    ]
