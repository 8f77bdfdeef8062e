"""What QStash knows of a job, as named SQL statements on `job_executions`: what it has to be told,
what it has confirmed, and what it gave up on.

Each function is one statement, so one round trip. The connection is the caller's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg.types.json import Jsonb

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from psycopg import Connection

    from stashjobs.store.executions import NewJob, Status


class Unpublished(NamedTuple):
    """A recorded job of which QStash is to be told."""

    job_id: str
    job_type: str
    run: int
    attempt: int
    max_attempts: int
    available_at: datetime | None
    delivery: dict[str, Any]
    dlq_id: str | None = None


class GivenUp(NamedTuple):
    """A message that QStash will not deliver any more. `patience`: until so many seconds after the
    job was last due, one that has attempts left is given another message."""

    job_id: str
    message_id: str
    dlq_id: str | None
    reason: str
    patience: float = 0.0


# Rows that another relay has in hand are passed over, not waited for. `position` lets a relay that
# could not publish some go on behind them.
TAKE_UNPUBLISHED = """ -- take_unpublished
SELECT job_id, job_type, run, attempt, max_attempts, available_at, delivery, dlq_id
  FROM job_executions
 WHERE published_at IS NULL AND status IN ('pending', 'retrying')
   AND job_type = ANY(%(job_types)s)
   AND created_at <= now() - make_interval(secs => %(quiet_seconds)s)
   AND available_at <= now() + make_interval(secs => %(horizon_seconds)s)
   AND (available_at, job_id) > (%(after_time)s, %(after_id)s)
 ORDER BY available_at, job_id
 LIMIT %(limit)s
   FOR UPDATE SKIP LOCKED
"""


# `dlq_id` is about the message before this one.
CONFIRM_PUBLISHED = """ -- confirm_published
UPDATE job_executions AS job
   SET published_at = now(), message_id = coalesce(told.message_id, job.message_id), dlq_id = NULL,
       error = CASE WHEN job.status = 'pending' THEN NULL ELSE job.error END
  FROM unnest(%s::text[], %s::text[]) AS told (job_id, message_id)
 WHERE job.job_id = told.job_id AND job.published_at IS NULL
   AND job.status IN ('pending', 'retrying', 'processing')
"""


# QStash counts every answer, we count attempts: a busy job, an unreachable Postgres or a lost
# answer uses up its retries and none of ours; and its plan may allow fewer retries than the job. So
# a job that has attempts left is given another message, by the relay, while there is patience with
# what was in the way. Each attempt that ran makes the job due anew.
_ANOTHER_MESSAGE = """(job.attempt < job.max_attempts
                 AND job.available_at > now() - make_interval(secs => told.patience))"""


_ENDS = f"(job.status IN ('pending', 'retrying') AND NOT {_ANOTHER_MESSAGE})"


RECORD_REFUSED = """ -- record_refused
UPDATE job_executions AS job
   SET error = %(reason)s, updated_at = now(),
       status = CASE WHEN is_over THEN 'failed' ELSE status END,
       completed_at = CASE WHEN is_over THEN now() END
  FROM (SELECT job_id,
               greatest(available_at, created_at) < now() - make_interval(secs => %(patience)s)
                 AS is_over
          FROM job_executions WHERE job_id = %(job_id)s) AS found
 WHERE job.job_id = found.job_id AND job.status IN ('pending', 'retrying')
"""

# Only the last message seen for a job speaks for it: an older one that ends in the dead-letter
# queue says nothing about the one that followed. After a manual retry a job without a message
# waits for its first, and all that QStash gave up on are older. An attempt that still runs goes on;
# that its message is gone is kept, for `RECORD_NOT_COMPLETED`.
RECORD_GIVEN_UP = f""" -- record_given_up
UPDATE job_executions AS job
   SET dlq_id = told.dlq_id,
       status = CASE WHEN {_ENDS} THEN 'failed' ELSE status END,
       error = CASE WHEN {_ENDS} THEN told.reason ELSE error END,
       completed_at = CASE WHEN {_ENDS} THEN now() ELSE completed_at END,
       published_at = CASE WHEN job.status IN ('pending', 'retrying') AND {_ANOTHER_MESSAGE}
                           THEN NULL ELSE published_at END,
       updated_at = now()
  FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::float[])
    AS told (job_id, message_id, dlq_id, reason, patience)
 WHERE job.job_id = told.job_id
   AND (job.message_id = told.message_id OR (job.message_id IS NULL AND job.run = 1))
   AND job.dlq_id IS DISTINCT FROM told.dlq_id
   AND job.status IN ('pending', 'retrying', 'processing', 'failed')
RETURNING job.job_id, job.status
"""


# Of these nothing was heard for long. Mostly they wait for QStash's own next try. The index is on
# the later of two times, so that jobs which are not due for days are not looked at every minute.
FIND_SILENT = """ -- find_silent
SELECT job_id, message_id
  FROM job_executions
 WHERE status IN ('pending', 'retrying') AND published_at IS NOT NULL AND message_id IS NOT NULL
   AND greatest(published_at, available_at) < now() - make_interval(secs => %(seconds)s)
   AND updated_at < now() - make_interval(secs => %(seconds)s)
 ORDER BY greatest(published_at, available_at), job_id
 LIMIT %(limit)s
"""


# `published_at` is when QStash last confirmed the message; NULL has the relay send another.
RECORD_HEARD_OF = """ -- record_heard_of
UPDATE job_executions AS job
   SET published_at = CASE WHEN told.message_exists THEN now() END, updated_at = now()
  FROM unnest(%s::text[], %s::text[], %s::bool[]) AS told (job_id, message_id, message_exists)
 WHERE job.job_id = told.job_id AND job.message_id = told.message_id
   AND job.published_at IS NOT NULL AND job.status IN ('pending', 'retrying')
"""


RECORD_NEVER_DELIVERED = """ -- record_never_delivered
INSERT INTO job_executions
       (job_id, job_type, status, payload, max_attempts, user_id, organization_id, metadata,
        message_id, dlq_id, error, published_at, completed_at)
VALUES (%(job_id)s, %(job_type)s, 'failed', %(payload)s, %(max_attempts)s, %(user_id)s,
        %(organization_id)s, %(metadata)s, %(message_id)s, %(dlq_id)s, %(error)s, now(), now())
ON CONFLICT DO NOTHING
RETURNING job_id
"""


def confirm_published(connection: Connection[Any], message_ids: dict[str, str | None]) -> None:
    """Note that QStash has taken the messages of these jobs. `message_ids` is by job id."""
    connection.execute(CONFIRM_PUBLISHED, [list(message_ids), list(message_ids.values())])


def take_unpublished(
    connection: Connection[Any],
    *,
    job_types: Sequence[str],
    limit: int,
    quiet_seconds: float,
    horizon_seconds: float,
    after: Unpublished | None,
) -> list[Unpublished]:
    """Lock the oldest jobs of which QStash is to be told, for this transaction.

    Args:
        connection: In a transaction.
        job_types: Those whose delivery is known here.
        limit: At most so many.
        quiet_seconds: Leave out what is younger than so many seconds: whoever enqueued it is
            telling QStash just now.
        horizon_seconds: Leave out what is to be delivered later than this; QStash holds a
            message only for so long.
        after: Only what comes behind this one.
    """
    parameters = {
        "job_types": list(job_types),
        "limit": limit,
        "quiet_seconds": quiet_seconds,
        "horizon_seconds": horizon_seconds,
        "after_time": "-infinity" if after is None else after.available_at,
        "after_id": "" if after is None else after.job_id,
    }
    return [Unpublished(*row) for row in connection.execute(TAKE_UNPUBLISHED, parameters)]


def record_given_up(
    connection: Connection[Any], messages: Sequence[GivenUp]
) -> list[tuple[str, Status]]:
    """Note that QStash gave up on these messages. Returns id and status of the rows it changed."""
    columns = [
        [message.job_id for message in messages],
        [message.message_id for message in messages],
        [message.dlq_id for message in messages],
        [message.reason for message in messages],
        [message.patience for message in messages],
    ]
    return list(connection.execute(RECORD_GIVEN_UP, columns))


def find_silent(
    connection: Connection[Any], *, seconds: float, limit: int
) -> list[tuple[str, str]]:
    """Waiting jobs that QStash was told of and of which nothing was heard for so long: job id and
    message id."""
    return list(connection.execute(FIND_SILENT, {"seconds": seconds, "limit": limit}))


def record_heard_of(connection: Connection[Any], messages: Sequence[tuple[str, str, bool]]) -> None:
    """Note whether QStash still has these messages: job id, message id, and whether it has."""
    connection.execute(RECORD_HEARD_OF, [list(column) for column in zip(*messages, strict=True)])


def record_refused(
    connection: Connection[Any], job_id: str, *, reason: str, patience_seconds: float
) -> None:
    """Note why QStash takes no message of a job that waits; it has failed when that has been so
    for `patience_seconds` since it was due."""
    parameters = {"job_id": job_id, "reason": reason, "patience": patience_seconds}
    connection.execute(RECORD_REFUSED, parameters)


def record_never_delivered(connection: Connection[Any], new: NewJob, given_up: GivenUp) -> bool:
    """Record as `failed` a job whose message carried its payload and never reached its function,
    so that it is seen. False: it has a row after all."""
    parameters = {
        "job_id": new.job_id,
        "job_type": new.job_type,
        "payload": Jsonb(new.payload),
        "max_attempts": new.max_attempts,
        "user_id": new.user_id,
        "organization_id": new.organization_id,
        "metadata": Jsonb(new.metadata),
        "message_id": given_up.message_id,
        "dlq_id": given_up.dlq_id,
        "error": given_up.reason,
    }
    return connection.execute(RECORD_NEVER_DELIVERED, parameters).fetchone() is not None
