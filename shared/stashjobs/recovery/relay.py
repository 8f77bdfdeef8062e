"""The relay: what makes "not lost" true when something went wrong.

Once a minute it frees expired leases, records the messages in QStash's dead-letter queue, publishes
every job that is not published yet, and checks that QStash still has messages that have been
silent for long. Any number of relays may run at once.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass

import httpx
from qstash.errors import QStashError

from stashjobs.config import settings
from stashjobs.errors import SettingError
from stashjobs.job_type import broken, close_to, declared, is_left_out
from stashjobs.observability import redaction
from stashjobs.producer import dead_letters as letters
from stashjobs.producer import flow_control, publish, qstash_client
from stashjobs.producer import message as messages
from stashjobs.recovery import dead_letters
from stashjobs.store import database, executions, job_types, outbox
from stashjobs.store.outbox import Unpublished

log = logging.getLogger("stashjobs")

BATCH = 100
# After which Postgres frees the rows of a relay that was stopped; waits for QStash end before.
IDLE_SECONDS = 30.0
# So often a run with much to publish frees leases and records dead letters.
LOOK_SECONDS = 10.0
DEFAULT_MESSAGES_PER_SECOND = 100
# An enqueue publishes right after its commit; the relay is for those that could not.
QUIET_SECONDS = 15.0
# QStash is asked for a message after so long; its own waits between retries may be longer.
SILENT_SECONDS = 3600.0
SILENT_BATCH = 100
# A job that waits for others is looked at after so long; their ends release it in the first place.
WAITING_SECONDS = 3600.0
WAITING_BATCH = 1_000
# How long a message is offered that QStash refuses: a deploy may mend what is wrong with it.
REFUSED_PATIENCE_SECONDS = 86_400.0
# For so long a newer relay of this stage may know a type that this one does not.
UNKNOWN_SECONDS = 60.0


@dataclass(slots=True)
class Report:
    """What one run of the relay did, in jobs."""

    published: int = 0
    refused: int = 0
    leases_freed: int = 0
    dead_letters: int = 0
    vanished: int = 0
    types_corrected: int = 0
    expired: int = 0


def run(deadline: float, *, quiet_seconds: float = QUIET_SECONDS) -> Report:
    """Do all that is to be done, until the deadline (Unix seconds); the next run does the rest.

    Raises:
        SettingError: A setting is missing.
        psycopg.Error: Postgres cannot be reached.
    """
    report = Report()
    declare_followers()
    reconcile_types(report)
    look_around(report, deadline)
    release_overlooked()
    cancel_expired(report, deadline)
    publish_unpublished(report, deadline, quiet_seconds)
    refuse_unknown_types(report, deadline)
    try:
        find_vanished(report, deadline)
    except Exception as error:  # noqa: BLE001 - QStash may be away; the next run looks again
        _could_not_ask(error)
    return report


def reconcile_types(report: Report) -> None:
    """Have QStash pause and limit what the rows of job types say."""
    try:
        report.types_corrected += flow_control.reconcile()
    except Exception as error:  # noqa: BLE001 - QStash may be away; the next run looks again
        log.warning("flow control could not be compared: %s", redaction.one_line(error))


def declare_followers() -> None:
    """Have the database know what follows the failure of a job (`on_failed`)."""
    followers = {job.type: job.follower for job in declared()}
    job_types.declare_followers(database.connection(), followers)


def look_around(report: Report, deadline: float) -> None:
    """Free expired leases and record dead letters: what does not wait for messages to be
    published."""
    free_leases(report, deadline)
    try:
        report.dead_letters += dead_letters.reconcile(deadline)
    except Exception as error:  # noqa: BLE001 - QStash may be away; the next look looks again
        _could_not_ask(error)


def _could_not_ask(error: Exception) -> None:
    log.warning("QStash could not be asked what became of messages: %s", redaction.one_line(error))


def free_leases(report: Report, deadline: float) -> None:
    """Give jobs whose attempt never came back to the next attempt, or end them."""
    while time.time() < deadline:
        freed = executions.free_expired_leases(database.connection(), BATCH)
        for job_id, job_type, status in freed:
            log.warning("lease expired", extra={"job_id": job_id, "job_type": job_type})
            say = log.error if status == "failed" else log.info
            say(status, extra={"job_id": job_id, "job_type": job_type})
        report.leases_freed += len(freed)
        if len(freed) < BATCH:
            return


def cancel_expired(report: Report, deadline: float) -> None:
    """Cancel jobs that wait although their time to begin is over, and their messages."""
    while time.time() < deadline:
        expired = executions.cancel_expired(database.connection(), BATCH)
        for job_id, job_type, _ in expired:
            log.warning("expired", extra={"job_id": job_id, "job_type": job_type})
        publish.cancel_messages([message for _, _, message in expired if message is not None])
        report.expired += len(expired)
        if len(expired) < BATCH:
            return


def release_overlooked() -> None:
    """Release jobs whose parents have all ended, or are gone, without having released them."""
    released = executions.release_overlooked(
        database.connection(), quiet_seconds=WAITING_SECONDS, limit=WAITING_BATCH
    )
    if released:
        log.warning("%d jobs waited for what had ended before", released)


@dataclass(slots=True)
class _Turn:
    """How far a run has come with one type. `last` was looked at; `size`: so many at once."""

    job_type: str
    size: int
    last: Unpublished | None = None


def publish_unpublished(report: Report, deadline: float, quiet_seconds: float) -> None:
    """Publish every unpublished job, the oldest of each type first, at the configured rate. The
    types take turns, so that none waits for the thousands of another, and every `LOOK_SECONDS` so
    do leases and dead letters.

    The rows stay locked meanwhile, so that no other relay publishes them too. If this process
    dies in between, the lock goes with it, the next relay publishes again, and the
    deduplication id makes that one message.
    """
    rate = settings.whole_number("RELAY_MESSAGES_PER_SECOND", DEFAULT_MESSAGES_PER_SECOND)
    turns = [_Turn(job.type, BATCH) for job in declared()]
    looked = time.time()
    while True:
        there_is_more = False
        for turn in turns:
            if time.time() >= deadline:
                return
            try:
                there_is_more |= _take_turn(report, turn, rate, quiet_seconds)
            except _QStashTakesNone as error:
                log.warning("QStash takes no messages: %s", qstash_client.why(error.cause))
                report.refused += error.messages
                return
            if time.time() >= looked + LOOK_SECONDS:
                look_around(report, deadline)
                looked = time.time()
        if not there_is_more:
            return


class _QStashTakesNone(Exception):
    """A wrong token, a missing setting, a limit or an outage: the same for every message."""

    def __init__(self, cause: Exception, messages: int) -> None:
        super().__init__()
        self.cause = cause
        self.messages = messages


def _take_turn(report: Report, turn: _Turn, rate: int, quiet_seconds: float) -> bool:
    """Publish one batch. Returns whether the type has more."""
    began = time.time()
    with database.transaction(database.connection(), idle_seconds=IDLE_SECONDS):
        batch = outbox.take_unpublished(
            database.connection(),
            job_types=[turn.job_type],
            limit=turn.size,
            quiet_seconds=quiet_seconds,
            horizon_seconds=messages.horizon_seconds(),
            after=turn.last,
        )
        if not batch:
            return False
        try:
            told = publish.send(batch)
        except Exception as error:
            if not _is_about_the_messages(error):
                raise _QStashTakesNone(error, len(batch)) from error
            if len(batch) > 1:
                # One that QStash will never take must not hold up the others. Smaller batches
                # find it, each in a transaction of its own: no worker waits long for a row.
                turn.size = len(batch) // 2
                return True
            _refused(report, batch[0], error)
        else:
            outbox.confirm_published(database.connection(), told)
            report.published += len(told)
            # Each has another message now.
            letters.discard([each.dlq_id for each in batch if each.dlq_id is not None])
    there_is_more = len(batch) == turn.size
    turn.last, turn.size = batch[-1], min(BATCH, turn.size * 2)
    if rate:
        time.sleep(max(0.0, len(batch) / rate - (time.time() - began)))
    return there_is_more


def _refused(report: Report, unpublished: Unpublished, error: Exception) -> None:
    """Write on the row why nothing happens to it; in the end the job has failed."""
    report.refused += 1
    reason = f"QStash refuses this job's message: {redaction.one_line(error)}"
    outbox.record_refused(
        database.connection(),
        unpublished.job_id,
        reason=redaction.storable(reason),
        patience_seconds=REFUSED_PATIENCE_SECONDS,
    )
    names = {"job_id": unpublished.job_id, "job_type": unpublished.job_type}
    log.error("%s", reason, extra=names)


def refuse_unknown_types(report: Report, deadline: float) -> None:
    """Write on rows of types that nobody declares, which only SQL can have written, why nothing
    happens to them. Not while a handler cannot be imported: they may be its own."""
    if broken():
        return
    known = [job.type for job in declared()]
    connection = database.connection()
    for job_type in outbox.read_unpublished_types(connection, but=known):
        meant = close_to(job_type, known)
        reason = f"no function has the job type {job_type[:100]!r}{meant}"
        if is_left_out(job_type):
            reason = f"{job_type} is left out of this stage"
        reason = redaction.storable(reason)
        while time.time() < deadline:
            refused = outbox.read_refused(
                connection,
                job_type=job_type,
                reason=reason,
                seconds=UNKNOWN_SECONDS,
                patience_seconds=REFUSED_PATIENCE_SECONDS,
                limit=BATCH,
            )
            for job_id in refused:
                outbox.record_refused(
                    connection, job_id, reason=reason, patience_seconds=REFUSED_PATIENCE_SECONDS
                )
                log.error("%s", reason, extra={"job_id": job_id})
            report.refused += len(refused)
            if len(refused) < BATCH:
                break


def _is_about_the_messages(error: Exception) -> bool:
    """Whether it is something in the batch, so that its parts may fare better: QStash read it and
    found fault with it, or it could not even be sent. A wrong token, a missing setting, a limit or
    an outage is the same for each of them."""
    if not isinstance(error, (QStashError, httpx.HTTPError, SettingError)):
        return True
    return "status: 400" in str(error) or "status: 413" in str(error)


def find_vanished(report: Report, deadline: float) -> None:
    """Send another message for jobs whose message QStash no longer has, although its
    outcome is unknown: QStash lost it, or it was deleted there."""
    silent = outbox.find_silent(database.connection(), seconds=SILENT_SECONDS, limit=SILENT_BATCH)
    heard = []
    for job_id, message_id in silent:
        if time.time() > deadline:
            break
        exists = _qstash_has(message_id)
        if not exists:
            log.error("QStash lost the message", extra={"job_id": job_id})
            report.vanished += 1
        heard.append((job_id, message_id, exists))
    if heard:
        outbox.record_heard_of(database.connection(), heard)


def _qstash_has(message_id: str) -> bool:
    try:
        qstash_client.qstash().message.get(message_id)
    except Exception as error:
        if "status: 404" in str(error):
            return False
        raise
    return True
