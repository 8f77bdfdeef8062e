"""Record how an attempt ended."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from stashjobs.delivery import attempt
from stashjobs.delivery.attempt import Outcome
from stashjobs.delivery.response import MAX_RETRY_AFTER_SECONDS
from stashjobs.errors import PermanentError, SettingError, SnoozedTooOften
from stashjobs.observability import log, redaction
from stashjobs.store import database, executions
from stashjobs.store.executions import UNSTORABLE

if TYPE_CHECKING:
    from stashjobs.delivery.context import Context
    from stashjobs.delivery.receive import Source
    from stashjobs.job_type import JobType
    from stashjobs.store.executions import Recorded


class Wait(NamedTuple):
    """How long it is until the next attempt, in seconds. `backoff`: it is QStash that decides."""

    seconds: float = 0.0
    backoff: bool = False


def _wait(job: JobType[Any, Any], source: Source, context: Context, outcome: Outcome) -> Wait:
    """Until QStash delivers again; none where it is the relay that publishes the job anew."""
    if outcome.until is not None:
        return Wait(max(0.0, outcome.until.timestamp() - time.time()))
    asked = outcome.retry_after
    if asked is not None and asked <= MAX_RETRY_AFTER_SECONDS:
        return Wait(asked)
    if outcome.status != "retrying" or source.message_id is None:
        return Wait()
    from stashjobs.producer import message, retry_delay

    number = source.retried or ""
    retried = int(number) if number.isascii() and number.isdigit() else 0
    try:
        if retried >= message.retries_at_qstash(context.max_attempts - 1):
            return Wait()
    except SettingError:
        return Wait()
    expression = None if asked is not None else job.retry_delay
    return Wait(retry_delay.seconds_after(retried, expression), backoff=True)


def write(
    job: JobType[Any, Any], source: Source, context: Context, outcome: Outcome
) -> tuple[Outcome, Recorded | None]:
    """Write down how the attempt ended; the outcome may become a worse one on the way.

    A connection that breaks here took the job's own writes with it, unless the commit had gone
    through. So the attempt is recorded as one to repeat, which the row refuses if it did; then only
    the acknowledgement was lost, and the attempt ended as it should.

    Returns:
        The outcome, and what the row says (None: it is gone).

    Raises:
        psycopg.Error: Nothing could be written. The lease will run out and the job be run again.
    """
    intended = outcome
    for pause in database.PAUSES:
        try:
            recorded = _write_once(job, source, context, outcome)
            break
        except psycopg.Error as error:
            shown = attempt.shown(context, error)
            log.logger().warning("not recorded yet", error=redaction.one_line(shown))
            if outcome.error is None and isinstance(error, UNSTORABLE):
                why = f"{context.job_type} ran, but its result cannot be kept: "
                outcome = Outcome("failed", error=PermanentError(why + redaction.one_line(shown)))
            elif context.has_connection:
                context.rollback()
                if outcome.error is None:
                    outcome = attempt.not_completed(context, shown)
            time.sleep(pause)
    else:
        recorded = _write_once(job, source, context, outcome)
    if outcome.until is not None and recorded is not None and recorded.status == "failed":
        why = f"{context.job_type} was put off too often; see docs/concepts.md"
        outcome = Outcome("failed", error=SnoozedTooOften(why))
    if recorded is not None and recorded.held and recorded.status == "cancelled":
        outcome = outcome._replace(status="cancelled", until=None, retry_after=None, intended=True)
    # Nobody else records under this attempt's number.
    found = None if recorded is None else (recorded.attempt, recorded.status)
    if intended.error is None and found == (context.attempt, "completed"):
        context.committed_after_all()
        return intended, recorded
    return outcome, recorded


def _write_once(
    job: JobType[Any, Any], source: Source, context: Context, outcome: Outcome
) -> Recorded | None:
    if outcome.error is not None:
        context.rollback()
        wait = _wait(job, source, context, outcome)
        return executions.record_not_completed(
            database.connection(),
            job_id=context.job_id,
            attempt=context.attempt,
            status=outcome.status,
            details=redaction.describe_error(outcome.error),
            counted=outcome.counted,
            wait_seconds=wait.seconds,
            backoff=wait.backoff,
            snoozed=outcome.until is not None,
        )
    recorded = executions.record_completed(
        context.recording_connection,
        job_id=context.job_id,
        attempt=context.attempt,
        result=outcome.result,
    )
    if recorded is not None and recorded.held:
        context.commit()
    else:
        context.rollback()
    return recorded
