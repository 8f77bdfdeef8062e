"""Publishing as the rows know it: which messages are to be published, which QStash has confirmed,
and which it will not deliver any more; by the functions that the database has (`store/sql`).

Each function here is one call, so one round trip. The connection is the caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from stashjobs.store import jsonb
from stashjobs.store.executions import call

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

    from stashjobs.store.executions import NewJob, Status


class Unpublished(NamedTuple):
    """A recorded job that is to be published."""

    job_id: str
    job_type: str
    run: int
    attempt: int
    max_attempts: int
    available_at: datetime | None
    delivery: dict[str, Any]
    dlq_id: str | None = None
    moved: int = 0


class DeadLetter(NamedTuple):
    """A message that QStash will not deliver any more. `patience`: until so many seconds after the
    job was last due, one that has attempts left is given another message."""

    job_id: str
    message_id: str
    dlq_id: str | None
    reason: str
    patience: float = 0.0


TAKE_UNPUBLISHED = """
SELECT job_id, job_type, run, attempt, max_attempts, available_at, delivery, dlq_id, moved
  FROM stashjobs.take_unpublished(
           job_types => %(job_types)s::text[], max_jobs => %(max_jobs)s,
           quiet_seconds => %(quiet_seconds)s, horizon_seconds => %(horizon_seconds)s,
           after_time => %(after_time)s, after_id => %(after_id)s)
"""
READ_RELEASED = """
-- read_released
SELECT job_id, job_type, run, attempt, max_attempts, available_at, delivery, dlq_id, moved
  FROM job_executions
 WHERE job_id = ANY(%(job_ids)s) AND status IN ('pending', 'retrying') AND published_at IS NULL
"""
READ_ANYTHING_OPEN = """
-- read_anything_open
SELECT EXISTS (SELECT FROM job_executions WHERE status = 'processing')
    OR EXISTS (SELECT FROM job_executions
                WHERE published_at IS NULL AND status IN ('pending', 'retrying')
                  AND available_at <= now() + make_interval(secs => %(horizon_seconds)s))
"""
READ_UNPUBLISHED_TYPES = """
-- read_unpublished_types
WITH RECURSIVE unpublished AS (
    (SELECT job_type FROM job_executions
      WHERE published_at IS NULL AND status IN ('pending', 'retrying')
      ORDER BY job_type LIMIT 1)
    UNION ALL
    SELECT (SELECT next.job_type FROM job_executions AS next
             WHERE next.published_at IS NULL AND next.status IN ('pending', 'retrying')
               AND next.job_type > unpublished.job_type
             ORDER BY next.job_type LIMIT 1)
      FROM unpublished WHERE unpublished.job_type IS NOT NULL
)
SELECT job_type FROM unpublished
 WHERE job_type IS NOT NULL AND job_type <> ALL(%(but)s::text[])
"""
READ_REFUSED = """
-- read_refused
SELECT job_id FROM job_executions
 WHERE published_at IS NULL AND status IN ('pending', 'retrying') AND job_type = %(job_type)s
   AND greatest(available_at, created_at) < now() - make_interval(secs => %(seconds)s)
   AND (error IS DISTINCT FROM %(reason)s OR greatest(available_at, created_at)
                                              < now() - make_interval(secs => %(patience_seconds)s))
 ORDER BY available_at, job_id
 LIMIT %(max_jobs)s
"""
CONFIRM_PUBLISHED = """
SELECT stashjobs.confirm_published(
           job_ids => %(job_ids)s::text[], message_ids => %(message_ids)s::text[])
"""
RECORD_REFUSED = """
SELECT stashjobs.record_refused(
           job_id => %(job_id)s, reason => %(reason)s, patience_seconds => %(patience_seconds)s)
"""
RECORD_DEAD_LETTERS = """
SELECT job_id, status
  FROM stashjobs.record_dead_letters(
           job_ids => %(job_ids)s::text[], message_ids => %(message_ids)s::text[],
           dlq_ids => %(dlq_ids)s::text[], reasons => %(reasons)s::text[],
           patience_seconds => %(patience_seconds)s::float8[])
"""
READ_FAILURE_CALLBACKS = """
-- read_failure_callbacks
SELECT job_id, delivery ->> 'failureCallback', dlq_id FROM job_executions
 WHERE job_id = ANY(%(job_ids)s) AND delivery ->> 'failureCallback' IS NOT NULL
"""
FIND_SILENT = """
SELECT job_id, message_id
  FROM stashjobs.find_silent(seconds => %(seconds)s, max_jobs => %(max_jobs)s)
"""
RECORD_HEARD_OF = """
SELECT stashjobs.record_heard_of(
           job_ids => %(job_ids)s::text[], message_ids => %(message_ids)s::text[],
           message_exists => %(message_exists)s::boolean[])
"""
RECORD_NEVER_DELIVERED = """
SELECT stashjobs.record_never_delivered(
           job_id => %(job_id)s, type => %(type)s, payload => %(payload)s,
           max_attempts => %(max_attempts)s, error => %(error)s, message_id => %(message_id)s,
           dlq_id => %(dlq_id)s, user_id => %(user_id)s, organization_id => %(organization_id)s,
           metadata => %(metadata)s)
"""


def is_anything_open(connection: Connection[Any], *, horizon_seconds: float) -> bool:
    """Whether the relay has anything to look for: an attempt that runs, whose lease may run out, or
    a job that is not published and could be, being due within so many seconds."""
    row = connection.execute(READ_ANYTHING_OPEN, {"horizon_seconds": horizon_seconds}).fetchone()
    return row is not None and bool(row[0])


def confirm_published(connection: Connection[Any], message_ids: dict[str, str | None]) -> None:
    """Note that QStash has taken the messages of these jobs. `message_ids` is by job id."""
    parameters = {"job_ids": list(message_ids), "message_ids": list(message_ids.values())}
    call(connection, CONFIRM_PUBLISHED, parameters)


def take_unpublished(
    connection: Connection[Any],
    *,
    job_types: Sequence[str],
    limit: int,
    quiet_seconds: float,
    horizon_seconds: float,
    after: Unpublished | None,
) -> list[Unpublished]:
    """Lock the oldest unpublished jobs for this transaction.

    Args:
        connection: In a transaction.
        job_types: Those whose delivery is known here.
        limit: At most so many.
        quiet_seconds: Leave out jobs younger than this: their producer is still
            publishing them.
        horizon_seconds: Leave out what is to be delivered later than this; QStash holds a
            message only for so long.
        after: Only what comes behind this one.
    """
    parameters = {
        "job_types": list(job_types),
        "max_jobs": limit,
        "quiet_seconds": quiet_seconds,
        "horizon_seconds": horizon_seconds,
        "after_time": "-infinity" if after is None else after.available_at,
        "after_id": "" if after is None else after.job_id,
    }
    return [Unpublished(*row) for row in call(connection, TAKE_UNPUBLISHED, parameters)]


def read_unpublished_types(connection: Connection[Any], *, but: Sequence[str]) -> list[str]:
    """The types of unpublished jobs, without those of `but`."""
    rows = call(connection, READ_UNPUBLISHED_TYPES, {"but": list(but)})
    return [job_type for (job_type,) in rows]


def read_refused(
    connection: Connection[Any],
    *,
    job_type: str,
    reason: str,
    seconds: float,
    patience_seconds: float,
    limit: int,
) -> list[str]:
    """The ids of unpublished jobs of this type that have been due for so many seconds, and do not
    have this reason yet, or have waited for longer than the patience."""
    parameters = {
        "job_type": job_type,
        "reason": reason,
        "seconds": seconds,
        "patience_seconds": patience_seconds,
        "max_jobs": limit,
    }
    return [job_id for (job_id,) in call(connection, READ_REFUSED, parameters)]


def read_released(connection: Connection[Any], job_ids: Sequence[str]) -> list[Unpublished]:
    """Those of these jobs that are to be published now: released by the end of another, or
    snoozed."""
    rows = call(connection, READ_RELEASED, {"job_ids": list(job_ids)})
    return [Unpublished(*row) for row in rows]


def read_failure_callbacks(
    connection: Connection[Any], job_ids: Sequence[str]
) -> list[tuple[str, str, str | None]]:
    """Where callers want to be told of a dead letter. Returns job id, URL and the row's dead
    letter, of those that gave a URL."""
    rows = call(connection, READ_FAILURE_CALLBACKS, {"job_ids": list(job_ids)})
    return [(job_id, url, dlq_id) for job_id, url, dlq_id in rows]


def record_dead_letters(
    connection: Connection[Any], messages: Sequence[DeadLetter]
) -> list[tuple[str, Status]]:
    """Record these dead letters. Returns the id and status of each row changed."""
    parameters = {
        "job_ids": [message.job_id for message in messages],
        "message_ids": [message.message_id for message in messages],
        "dlq_ids": [message.dlq_id for message in messages],
        "reasons": [message.reason for message in messages],
        "patience_seconds": [message.patience for message in messages],
    }
    changed = call(connection, RECORD_DEAD_LETTERS, parameters)
    return [(job_id, status) for job_id, status in changed]


def find_silent(
    connection: Connection[Any], *, seconds: float, limit: int
) -> list[tuple[str, str]]:
    """Published jobs that have been waiting for this long without a delivery: job id and message
    id."""
    found = call(connection, FIND_SILENT, {"seconds": seconds, "max_jobs": limit})
    return [(job_id, message_id) for job_id, message_id in found]


def record_heard_of(connection: Connection[Any], messages: Sequence[tuple[str, str, bool]]) -> None:
    """Note whether QStash still has these messages: job id, message id, and whether it has."""
    parameters = {
        "job_ids": [job_id for job_id, _, _ in messages],
        "message_ids": [message_id for _, message_id, _ in messages],
        "message_exists": [exists for _, _, exists in messages],
    }
    call(connection, RECORD_HEARD_OF, parameters)


def record_refused(
    connection: Connection[Any], job_id: str, *, reason: str, patience_seconds: float
) -> None:
    """Note why QStash takes no message of a job that waits; it has failed when that has been so
    for `patience_seconds` since it was due."""
    parameters = {"job_id": job_id, "reason": reason, "patience_seconds": patience_seconds}
    call(connection, RECORD_REFUSED, parameters)


def record_never_delivered(connection: Connection[Any], new: NewJob, letter: DeadLetter) -> bool:
    """Record as `failed` a job whose message carried its payload and never reached its function,
    so that it is seen. False: it has a row after all."""
    parameters = {
        "job_id": new.job_id,
        "type": new.job_type,
        "payload": jsonb.parameter(new.payload),
        "max_attempts": new.max_attempts,
        "user_id": new.user_id,
        "organization_id": new.organization_id,
        "metadata": jsonb.parameter(new.metadata),
        "message_id": letter.message_id,
        "dlq_id": letter.dlq_id,
        "error": letter.reason,
    }
    [(is_new,)] = call(connection, RECORD_NEVER_DELIVERED, parameters)
    return bool(is_new)
