"""The relay: what makes "not lost" true when something went wrong.

Once a minute it frees expired leases, records the messages in QStash's dead-letter queue, publishes
every job that is not published yet, and checks that QStash still has messages that have been
silent for long. Any number of relays may run at once.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx
from qstash.errors import QStashError

from stashjobs import envelope
from stashjobs.config import settings
from stashjobs.errors import InvalidEnvelope, SettingError
from stashjobs.ids import job_id_from
from stashjobs.job_type import declared
from stashjobs.observability import redaction
from stashjobs.producer import message as messages
from stashjobs.producer import publish, qstash_client
from stashjobs.store import database, executions, outbox
from stashjobs.store.outbox import DeadLetter, Unpublished

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qstash.dlq import DlqMessage

log = logging.getLogger("stashjobs")

BATCH = 100
# So often a run with much to publish frees leases and records dead letters.
LOOK_SECONDS = 10.0
DEFAULT_MESSAGES_PER_SECOND = 100
# An enqueue publishes right after its commit; the relay is for those that could not.
QUIET_SECONDS = 15.0
# The first look at the dead-letter queue goes back this far, the later ones to a little before the
# last one that succeeded.
FIRST_LOOK_BACK = timedelta(days=3)
LATER_LOOK_BACK = timedelta(minutes=10)
# QStash is asked for a message after so long; its own waits between retries may be longer.
SILENT_SECONDS = 3600.0
SILENT_BATCH = 100
# A job that waits for others is looked at after so long; their ends release it in the first place.
WAITING_SECONDS = 3600.0
WAITING_BATCH = 1_000
NOT_NOW_PATIENCE_SECONDS = 86_400.0
FAILURE_PATIENCE_SECONDS = 3600.0

# How long a message is offered that QStash refuses: a deploy may mend what is wrong with it.
REFUSED_PATIENCE_SECONDS = 86_400.0

_looked_at: datetime | None = None


@dataclass(slots=True)
class Report:
    """What one run of the relay did, in jobs."""

    published: int = 0
    refused: int = 0
    leases_freed: int = 0
    dead_letters: int = 0
    vanished: int = 0


def run(deadline: float, *, quiet_seconds: float = QUIET_SECONDS) -> Report:
    """Do all that is to be done, until the deadline (Unix seconds); the next run does the rest.

    Raises:
        SettingError: A setting is missing.
        psycopg.Error: Postgres cannot be reached.
    """
    report = Report()
    look_around(report, deadline)
    release_overlooked()
    publish_unpublished(report, deadline, quiet_seconds)
    try:
        find_vanished(report, deadline)
    except Exception as error:  # noqa: BLE001 - QStash may be away; the next run looks again
        _could_not_ask(error)
    return report


def look_around(report: Report, deadline: float) -> None:
    """Free expired leases and record dead letters: what does not wait for messages to be
    published."""
    free_leases(report, deadline)
    try:
        reconcile_dead_letters(report, deadline)
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
                log.warning("QStash takes no messages: %s", redaction.one_line(error.cause))
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
    with database.connection().transaction():
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


def _is_about_the_messages(error: Exception) -> bool:
    """Whether it is something in the batch, so that its parts may fare better: QStash read it and
    found fault with it, or it could not even be sent. A wrong token, a missing setting, a limit or
    an outage is the same for each of them."""
    if not isinstance(error, (QStashError, httpx.HTTPError, SettingError)):
        return True
    return "status: 400" in str(error) or "status: 413" in str(error)


def reconcile_dead_letters(report: Report, deadline: float) -> None:
    """End the jobs whose message is in QStash's dead-letter queue: its failure callback says so at
    once, and this makes sure of it when the callback was lost."""
    global _looked_at  # noqa: PLW0603 - a warm process need not read the whole queue again
    now = datetime.now(UTC)
    since = now - FIRST_LOOK_BACK if _looked_at is None else _looked_at - LATER_LOOK_BACK
    cursor: str | None = None
    while time.time() < deadline:
        page = qstash_client.qstash().dlq.list(
            cursor=cursor,
            count=BATCH,
            filter={"from_time": int(since.timestamp() * 1000)},
        )
        letters = [found for message in page.messages if (found := _dead_letter_of(message))]
        if letters:
            report.dead_letters += record_dead_letters(letters)
        cursor = page.cursor
        if not cursor:
            _looked_at = now
            return


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


def record_dead_letters(messages: Sequence[DeadLetter]) -> int:
    """Record these dead letters on their rows. Returns the number of rows changed."""
    changed = outbox.record_dead_letters(database.connection(), messages)
    for job_id, status in changed:
        log.error("dead-lettered by QStash", extra={"job_id": job_id, "row_status": status})
    return len(changed)


def _dead_letter_of(message: DlqMessage) -> DeadLetter | None:
    """The job of a dead letter. None where it is no job's: the queue is the whole account's."""
    try:
        read = envelope.read((message.body or "").encode())
    except InvalidEnvelope:
        return None
    if read.job_id is None and message.schedule_id is None:
        return None
    return dead_letter(
        read.job_id,
        message.message_id,
        message.dlq_id,
        status=message.response_status,
        retries=message.max_retries,
    )


def dead_letter(
    job_id: str | None,
    message_id: str,
    dlq_id: str | None,
    *,
    status: int | None,
    retries: int | None,
) -> DeadLetter:
    """What a dead letter or a failure callback says, in the words that the row keeps.

    Args:
        job_id: As the message says; a schedule's message says none, and its own id makes it.
        message_id: QStash's.
        dlq_id: Where it is in the dead-letter queue.
        status: Of the last answer. None or 0: there was none.
        retries: How often QStash tried again at most.
    """
    answer = f"its last answer was {status}" if status else "it got no answer"
    deliveries = (retries or 0) + 1
    return DeadLetter(
        job_id=job_id or job_id_from(message_id),
        message_id=message_id,
        dlq_id=dlq_id,
        reason=f"DeliveryFailed: dead-lettered by QStash after {deliveries} deliveries; {answer}",
        patience=_patience(status),
    )


def _patience(status: int | None) -> float:
    """For how long a job is given new messages whose last answer was this one. "Not now" passes: a
    worker's own (409: busy; 503: Postgres is away, and with it the relay), and that of AWS while
    every process is busy (500 from API Gateway, where Lambda rejected the invocation, AWS docs,
    "Handling Lambda errors with an API Gateway API"; 429 from a Function URL, or over the API's own
    rate). A function that crashes (502), or says nothing, may be a broken deploy; what was refused
    will be refused again."""
    if status in {409, 429, 500, 503}:
        return NOT_NOW_PATIENCE_SECONDS
    if not status or status >= 500 or status == 408:
        return FAILURE_PATIENCE_SECONDS
    return 0.0
