"""How a delivery ends: the answer to QStash, the log line, and the metric that it counts as."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from stashjobs.delivery.response import MAX_RETRY_AFTER_SECONDS, answer, refuse
from stashjobs.errors import InvalidEnvelope
from stashjobs.observability import log, redaction, sentry

if TYPE_CHECKING:
    from stashjobs.delivery import attempt
    from stashjobs.delivery.attempt import Outcome
    from stashjobs.delivery.claim import Duplicate
    from stashjobs.delivery.context import Context
    from stashjobs.delivery.receive import Message
    from stashjobs.delivery.request import Response
    from stashjobs.job_type import JobType
    from stashjobs.store.executions import Claim, Recorded

BUSY_RETRY_SECONDS = 10

# What becomes of a delivery; each is a metric (docs/monitoring.md).
Count = Literal[
    "Completed",
    "Retried",
    "Snoozed",
    "Failed",
    "Cancelled",
    "Duplicate",
    "Busy",
    "NotDue",
    "LeaseLost",
    "Rejected",
    "Unreadable",
    "Unavailable",
]
COUNT_OF: dict[attempt.Status, Count] = {
    "completed": "Completed",
    "retrying": "Retried",
    "failed": "Failed",
    "cancelled": "Cancelled",
}


class Ending(NamedTuple):
    """How a delivery ended: the answer, the metric it counts as, and the type of error that was in
    the way. `seconds` is how long it took, where an attempt ran; `seconds_behind` how far this
    machine's clock is behind QStash's, where it was refused for that."""

    response: Response
    metric: Count
    error_type: str | None = None
    seconds: float | None = None
    seconds_behind: float | None = None


def refused(
    count: Count, status: int, error: BaseException, *, retry_after: float | None = None
) -> Ending:
    """A delivery that got no further than its message, or than the database."""
    response = refuse(status, error, retry_after=retry_after)
    return Ending(response, count, redaction.type_name(error))


def ended(context: Context, outcome: Outcome, recorded: Recorded | None, began: float) -> Ending:
    """A delivery whose attempt ran; what it released or enqueued is published first."""
    document: dict[str, Any] = {"jobId": context.job_id, "attempt": context.attempt}
    if recorded is None or (recorded.attempt, recorded.status) != (
        context.attempt,
        outcome.status,
    ):
        return _answer_overtaken(document, recorded)

    seconds = time.time() - began
    document["status"] = outcome.status
    snoozed = outcome.until is not None
    context.publish_enqueued([*recorded.released, *([context.job_id] if snoozed else [])])
    if outcome.until is not None:
        until = outcome.until.isoformat()
        why = "" if outcome.error is None else redaction.one_line(outcome.error)
        log.logger().info("snoozed", until=until, reason=why)
        said = answer(200, document | {"status": "snoozed", "until": until})
        return Ending(said, "Snoozed", seconds=seconds)
    if outcome.error is None:
        log.logger().info(outcome.status, duration_ms=round(seconds * 1000))
        return Ending(answer(200, document), "Completed", seconds=seconds)
    document["error"] = redaction.one_line(outcome.error)
    _tell_of_error(context, outcome, document["error"], seconds)
    return Ending(
        _answer_error(outcome, document),
        COUNT_OF[outcome.status],
        redaction.type_name(outcome.error),
        seconds,
    )


def _tell_of_error(context: Context, outcome: Outcome, error: str, seconds: float) -> None:
    logger = log.logger()
    say = logger.error if outcome.status == "failed" else logger.warning
    say(outcome.status, error=error, duration_ms=round(seconds * 1000))
    if outcome.error is not None and not outcome.intended:
        sentry.report(
            outcome.error,
            "error" if outcome.status == "failed" else "warning",
            job_id=context.job_id,
            job_type=context.job_type,
            attempt=context.attempt,
        )


def _answer_error(outcome: Outcome, document: dict[str, Any]) -> Response:
    if outcome.status == "cancelled":
        return answer(200, document)
    if outcome.status == "failed":
        return answer(489, document)
    status = 500 if outcome.retry_after is None else 503
    return answer(status, document, retry_after=outcome.retry_after)


def _answer_overtaken(document: dict[str, Any], recorded: Recorded | None) -> Ending:
    """Another delivery took the job while this attempt ran; its word counts, not this one's."""
    status = None if recorded is None else recorded.status
    log.logger().warning("lease lost", row_status=status)
    why = "this attempt had lost its lease"
    return Ending(_answer_standing(document, status, why, BUSY_RETRY_SECONDS), "LeaseLost")


def unclaimed(job: JobType[Any, Any], message: Message, claim: Claim | None) -> Ending:
    """A delivery that did not get its job."""
    document: dict[str, Any] = {"jobId": message.job_id}
    if claim is not None and claim.job_type != job.type:
        error = InvalidEnvelope(f"this job is a {claim.job_type}, not a {job.type}")
        return refused("Unreadable", 489, error)
    if claim is None and not message.envelope.has_payload:
        return refused("Unreadable", 489, InvalidEnvelope("there is no job with this id"))
    status = "processing" if claim is None else claim.status
    log.append_keys(attempt=None if claim is None else claim.attempt)
    log.logger().info("not claimed", row_status=status)
    wait = claim.wait if claim is not None else None
    if status in {"pending", "retrying", "paused"} and wait is not None and wait > 0:
        reason = "the type is paused" if status == "paused" else "not due yet"
        document |= {"status": status, "ran": False, "reason": reason}
        response = answer(503, document, retry_after=min(wait, MAX_RETRY_AFTER_SECONDS))
        return Ending(response, "NotDue")
    if wait is None or wait <= 0:
        wait = BUSY_RETRY_SECONDS  # how long the other attempt's lease lasts is not known
    response = _answer_standing(document, status, claim.error if claim else None, wait)
    if status == "cancelled" and claim is not None and (claim.error or "").startswith("Expired: "):
        return Ending(response, "Cancelled")
    is_over = status in {"completed", "cancelled", "failed"}
    return Ending(response, "Duplicate" if is_over else "Busy")


def _answer_standing(
    document: dict[str, Any], status: str | None, error: str | None, wait: float
) -> Response:
    """The answer for a delivery that runs nothing, because of how the job stands."""
    document |= {"status": status, "ran": False}
    if status in {"completed", "cancelled"}:
        return answer(200, document)
    if status in {"failed", None}:
        return answer(489, document | {"error": error})
    return answer(409, document, retry_after=wait)


def duplicate(found: Duplicate) -> Ending:
    """The message's idempotency key belongs to another job: that job stands for both."""
    log.logger().info("duplicate idempotency key", first_job_id=found.first_job_id)
    document = {"jobId": found.first_job_id, "status": "duplicate", "ran": False}
    return Ending(answer(200, document), "Duplicate")
