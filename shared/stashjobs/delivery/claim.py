"""Claim a delivery's job: take it for this process, or learn why not."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from stashjobs.observability import log, redaction
from stashjobs.store import database, executions
from stashjobs.store.executions import Claim, Lease, NewJob

if TYPE_CHECKING:
    from stashjobs.delivery.receive import Message, Source
    from stashjobs.job_type import JobType

# Claims that were sent and not answered, by job and message: the nonces of deliveries that have
# ended. Where QStash delivers again to this process, it finds its claim.
_unanswered: dict[tuple[str, str | None], str] = {}
MAX_UNANSWERED = 100


class Duplicate(NamedTuple):
    """A message that was not recorded, since its idempotency key is that of another job."""

    first_job_id: str


def take(
    job: JobType[Any, Any], message: Message, source: Source, lease_seconds: float
) -> Claim | Duplicate | None:
    """Claim the job. Where the connection ends before the answer, the claim may be there all the
    same; so it is asked for again, with the same nonce. None: there is no such job.

    Raises:
        psycopg.Error: The database cannot be asked, or the row cannot hold what the message has
            (`executions.UNSTORABLE`).
    """
    key = (message.job_id, source.message_id)
    nonce = _unanswered.pop(key, None) or os.urandom(8).hex()
    lease = Lease(
        lease_seconds, source.message_id, source.schedule_id, nonce, *(job.follower or ())
    )
    try:
        connection = database.connection()
        for pause in database.PAUSES:
            try:
                return _ask_for_job(connection, job, message, lease)
            except psycopg.OperationalError as error:
                if not database.is_dropped(connection):
                    raise
                log.logger().warning("claim not answered", error=redaction.one_line(error))
                time.sleep(pause)
            connection = database.connection()
        return _ask_for_job(connection, job, message, lease)
    except psycopg.OperationalError:
        if len(_unanswered) >= MAX_UNANSWERED:
            _unanswered.clear()
        _unanswered[key] = nonce
        raise


def _ask_for_job(
    connection: database.Connection, job: JobType[Any, Any], message: Message, lease: Lease
) -> Claim | Duplicate | None:
    read = message.envelope
    if not read.has_payload:
        return executions.claim(connection, job_id=message.job_id, job_type=job.type, lease=lease)
    new = NewJob(
        job_id=message.job_id,
        job_type=job.type,
        payload=read.payload,
        max_attempts=job.retries + 1,
        user_id=read.user_id,
        organization_id=read.organization_id,
        idempotency_key=read.idempotency_key,
        metadata=read.metadata,
        expires_at=_in(read.expires),
    )
    try:
        return executions.claim_or_record(connection, new, lease)
    except psycopg.errors.UniqueViolation:
        # The key is another job's, or this job's own, recorded in this moment by another delivery.
        found = executions.claim(connection, job_id=message.job_id, job_type=job.type, lease=lease)
        first = executions.find_by_idempotency_key(connection, job.type, str(read.idempotency_key))
        # Neither of them is there any more: the next delivery finds the key free.
        return found or (Duplicate(first) if first is not None else None)


def _in(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
