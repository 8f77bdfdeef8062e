"""One delivery, from event to answer.

    verify -> read -> claim -> run -> record -> answer

Read `deliver` from top to bottom; every other function here is one of its steps. The answer's
status is what makes QStash do the right thing (`answers`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import psycopg

from stashjobs import encryption, envelope, hooks
from stashjobs.delivery import attempt
from stashjobs.delivery import request as lambda_event
from stashjobs.delivery.attempt import Outcome
from stashjobs.delivery.context import Context
from stashjobs.delivery.response import answer, refuse
from stashjobs.errors import (
    DeliveryRefused,
    EncryptionError,
    InvalidEnvelope,
    InvalidSignature,
    PermanentError,
    SettingError,
    SnoozedTooOften,
)
from stashjobs.ids import job_id_from
from stashjobs.observability import log, metrics, redaction, sentry, tracing
from stashjobs.store import database, executions
from stashjobs.store.executions import Claim, Lease, NewJob, Recorded

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stashjobs.delivery.request import Event, Request, Response
    from stashjobs.envelope import Envelope
    from stashjobs.job_type import JobType

BUSY_RETRY_SECONDS = 10
DATABASE_RETRY_SECONDS = 20
# QStash honours no longer wait than a day (`RetryLater`).
MAX_RETRY_AFTER_SECONDS = 86_400.0
# What is left of Lambda's time for recording how the attempt ended.
RECORD_SECONDS = 2.0
# API Gateway's HTTP APIs hang up after 30 seconds, whatever the function's own timeout.
GATEWAY_SECONDS = 29.0
# A lease outlives its attempt by this much, so that clocks and a slow record do not matter.
LEASE_GRACE_SECONDS = 10.0


# What a row cannot hold, which no repetition changes (an idempotency key too long for its index).
UNSTORABLE = (
    psycopg.DataError,
    psycopg.errors.ProgramLimitExceeded,
    psycopg.errors.StatementTooComplex,
)
# How long to wait between tries to claim and to record, in seconds.
PAUSES = (0.1, 0.4, 1.0)
# Claims that were sent and not answered, by job and message: the nonces of deliveries that have
# ended. Where QStash delivers again to this process, it finds its claim.
_unanswered: dict[tuple[str, str | None], str] = {}
MAX_UNANSWERED = 100

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


class Message(NamedTuple):
    """A message and the id of its job, which the message itself may lack."""

    job_id: str
    envelope: Envelope


class Source(NamedTuple):
    """What QStash says of a message, and when the caller hangs up (seconds). All None, and no
    headers, for a direct invocation."""

    message_id: str | None = None
    schedule_id: str | None = None
    retried: str | None = None
    hangs_up_after: float | None = None
    headers: Mapping[str, str] = MappingProxyType({})


class Duplicate(NamedTuple):
    """A message that was not recorded, since its idempotency key is that of another job."""

    first_job_id: str


class Ending(NamedTuple):
    """How a delivery ended: the answer, the metric it counts as, and the type of error that was in
    the way. `seconds` is how long it took, where an attempt ran; `seconds_behind` how far this
    machine's clock is behind QStash's, where it was refused for that."""

    response: Response
    metric: Count
    error_type: str | None = None
    seconds: float | None = None
    seconds_behind: float | None = None


def prepare() -> None:
    """Make ready what every delivery needs, so that the first one need not: while a function is
    initialised it has a whole processor.

    Settings or a database that cannot be had now are asked for again, and complained of, by the
    delivery: of an error here Lambda would tell nobody but its log, and start the function anew
    (AWS docs, "Understanding the Lambda execution environment lifecycle"). A copy restored by
    SnapStart would find a connection that ended long ago.
    """
    log.logger()
    metrics.new()
    hooks.declared("attempt")
    if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") != "snap-start":
        with contextlib.suppress(Exception):
            database.connection()


def deliver(job: JobType[Any, Any], event: Event, lambda_context: Any) -> Response:
    """Handle one delivery of a job.

    Args:
        job: The job type that this Lambda serves.
        event: An HTTP request in payload format version 2.0, or, where a schedule or an operator
            invokes the Lambda directly, the message itself; then IAM is the proof of who calls.
        lambda_context: Lambda's context object.

    Raises:
        DeliveryRefused: Only of a direct invocation that left no trace on a row: Lambda takes any
            answer for success, and an error for a reason to invoke again.
    """
    began = time.time()
    log.begin_delivery(job.type, lambda_context.aws_request_id)
    try:
        message, source = _receive(job, event, lambda_context)
    except InvalidSignature as error:
        refused = _refuse("Rejected", 401, error)
        ending = refused._replace(seconds_behind=error.seconds_behind)
    except (InvalidEnvelope, EncryptionError) as error:
        ending = _refuse("Unreadable", 489, error)
    except SettingError as error:
        ending = _refuse("Unavailable", 500, error)
    else:
        log.append_keys(job_id=message.job_id, message_id=source.message_id, retried=source.retried)
        ending = _traced(job, message, source, lambda_context, began)
    _emit(job, ending)

    if not lambda_event.is_http(event):
        document = json.loads(ending.response["body"])
        if document["status"] == "refused":
            raise DeliveryRefused(document["error"])
    return ending.response


def _traced(
    job: JobType[Any, Any], message: Message, source: Source, lambda_context: Any, began: float
) -> Ending:
    if not tracing.is_on():
        return _process(job, message, source, lambda_context, began)
    with tracing.processing(
        job.type,
        headers=source.headers,
        message_id=source.message_id,
        request_id=lambda_context.aws_request_id,
        began=began,
    ) as span:
        log.append_keys(trace_id=span.trace_id)
        ending = _process(job, message, source, lambda_context, began)
        span.ended(ending.metric, ending.error_type, log.delivery_keys())
    tracing.flush(float(lambda_context.get_remaining_time_in_millis()) / 1000)
    return ending


def _process(
    job: JobType[Any, Any], message: Message, source: Source, lambda_context: Any, began: float
) -> Ending:
    """What there is to do once it is known who sends what: claim, run, record, answer."""
    deadline = _deadline(job, source, lambda_context, began)
    lease_seconds = deadline - time.time() + LEASE_GRACE_SECONDS
    try:
        claim = _claim(job, message, source, lease_seconds)
    except UNSTORABLE as error:
        return _refuse("Unreadable", 489, error)
    except (psycopg.Error, SettingError) as error:
        return _refuse("Unavailable", 503, error, retry_after=DATABASE_RETRY_SECONDS)
    _debug("asked for the job", began)
    if isinstance(claim, Duplicate):
        return _answer_duplicate(message, claim)
    if claim is None or not claim.held or claim.job_type != job.type:
        return _answer_unclaimed(job, message, claim)

    context = Context(
        job_id=message.job_id,
        job_type=job.type,
        attempt=claim.attempt,
        max_attempts=claim.max_attempts,
        run=claim.run,
        user_id=claim.user_id,
        organization_id=claim.organization_id,
        deadline=datetime.fromtimestamp(deadline, UTC),
        lease_seconds=lease_seconds,
        encrypted=encryption.is_encrypted(claim.payload),
    )
    log.append_keys(
        attempt=claim.attempt, user_id=claim.user_id, organization_id=claim.organization_id
    )
    log.logger().info("processing")
    outcome = attempt.run(job, claim.payload, context)
    _debug("ran", began)
    try:
        outcome, recorded = _record(job, source, context, outcome)
    except psycopg.Error as error:
        shown = attempt.shown(context, error)
        return _refuse("Unavailable", 503, shown, retry_after=DATABASE_RETRY_SECONDS)
    return _answer(context, outcome, recorded, began)


def _refuse(
    count: Count, status: int, error: BaseException, *, retry_after: float | None = None
) -> Ending:
    response = refuse(status, error, retry_after=retry_after)
    return Ending(response, count, redaction.type_name(error))


def _emit(job: JobType[Any, Any], ending: Ending) -> None:
    values: dict[str, tuple[metrics.Unit, float]] = {ending.metric: ("Count", 1)}
    if ending.seconds is not None:
        values["AttemptSeconds"] = ("Seconds", ending.seconds)
    if ending.seconds_behind is not None:
        values["ClockBehindSeconds"] = ("Seconds", ending.seconds_behind)
    metrics.emit(values, job_type=job.type, about=log.delivery_keys())


def _debug(message: str, began: float) -> None:
    """A debug line, with the milliseconds so far; nothing is put together where there is none."""
    logger = log.logger()
    if logger.log_level <= logging.DEBUG:
        logger.debug(message, ms=round((time.time() - began) * 1000), stacklevel=3)


# --- verify and read


def _receive(job: JobType[Any, Any], event: Event, lambda_context: Any) -> tuple[Message, Source]:
    """The message, from an authorized caller. Nothing is read from a body before its signature
    has been verified."""
    if lambda_event.is_http(event):
        request = lambda_event.verified_request(event)
        read, source = envelope.read(request.body), _source(request)
    else:
        read, source = envelope.from_document(event), Source()
    if read.job_type != job.type:
        raise InvalidEnvelope(f"this function runs {job.type}, not {read.job_type[:64]!r}")
    if job.encrypted and read.has_payload and not encryption.is_encrypted(read.payload):
        # Before the claim would write it down.
        raise EncryptionError(
            f"{job.type} is declared encrypted, and the message's payload is plain"
        )
    # A schedule's fixed body brings no id. Each of its firings is a message of its own, and every
    # redelivery of one is the same message, so the message's id makes the job's.
    job_id = read.job_id or job_id_from(source.message_id or lambda_context.aws_request_id)
    return Message(job_id, read), source


def _source(request: Request) -> Source:
    headers = request.headers
    return Source(
        message_id=headers.get("upstash-message-id"),
        schedule_id=headers.get("upstash-schedule-id"),
        retried=headers.get("upstash-retried"),
        hangs_up_after=None if request.by_function_url else GATEWAY_SECONDS,
        headers=headers,
    )


# --- claim


def _deadline(job: JobType[Any, Any], source: Source, lambda_context: Any, began: float) -> float:
    """When the attempt must stop (Unix seconds): at the job's own timeout, or while there is still
    time to record it before Lambda kills the process or the caller hangs up."""
    bounds = [
        began + job.timeout,
        began + float(lambda_context.get_remaining_time_in_millis()) / 1000 - RECORD_SECONDS,
    ]
    if source.hangs_up_after is not None:
        bounds.append(began + source.hangs_up_after)
    return min(bounds)


def _claim(
    job: JobType[Any, Any], message: Message, source: Source, lease_seconds: float
) -> Claim | Duplicate | None:
    """Claim the job. Where the connection ends before the answer, the claim may be there all the
    same; so it is asked for again, with the same nonce."""
    key = (message.job_id, source.message_id)
    nonce = _unanswered.pop(key, None) or os.urandom(8).hex()
    lease = Lease(
        lease_seconds, source.message_id, source.schedule_id, nonce, *(job.follower or ())
    )
    try:
        connection = database.connection()
        for pause in PAUSES:
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
        claim = executions.claim(connection, job_id=message.job_id, job_type=job.type, lease=lease)
        first = executions.find_by_idempotency_key(connection, job.type, str(read.idempotency_key))
        # Neither of them is there any more: the next delivery finds the key free.
        return claim or (Duplicate(first) if first is not None else None)


def _in(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)


# --- record


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


def _record(
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
    for pause in PAUSES:
        try:
            recorded = _write(job, source, context, outcome)
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
        recorded = _write(job, source, context, outcome)
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


def _write(
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


# --- answer


def _answer(context: Context, outcome: Outcome, recorded: Recorded | None, began: float) -> Ending:
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


def _answer_unclaimed(job: JobType[Any, Any], message: Message, claim: Claim | None) -> Ending:
    document: dict[str, Any] = {"jobId": message.job_id}
    if claim is not None and claim.job_type != job.type:
        error = InvalidEnvelope(f"this job is a {claim.job_type}, not a {job.type}")
        return _refuse("Unreadable", 489, error)
    if claim is None and not message.envelope.has_payload:
        return _refuse("Unreadable", 489, InvalidEnvelope("there is no job with this id"))
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


def _answer_duplicate(message: Message, duplicate: Duplicate) -> Ending:
    """The message's idempotency key belongs to another job: that job stands for both."""
    log.logger().info("duplicate idempotency key", first_job_id=duplicate.first_job_id)
    document = {"jobId": duplicate.first_job_id, "status": "duplicate", "ran": False}
    return Ending(answer(200, document), "Duplicate")
