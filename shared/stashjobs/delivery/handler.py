"""One delivery, from event to answer.

    verify -> read -> claim -> run -> record -> answer

Read `deliver` from top to bottom. Each step has the module of its name; the answer's status is what
makes QStash do the right thing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg

from stashjobs import encryption, hooks
from stashjobs.delivery import answers, attempt, claim, receive, record
from stashjobs.delivery import request as lambda_event
from stashjobs.delivery.claim import Duplicate
from stashjobs.delivery.context import Context
from stashjobs.errors import (
    DeliveryRefused,
    EncryptionError,
    InvalidEnvelope,
    InvalidSignature,
    SettingError,
)
from stashjobs.observability import log, metrics, tracing
from stashjobs.store import database
from stashjobs.store.executions import UNSTORABLE

if TYPE_CHECKING:
    from stashjobs.delivery.answers import Ending
    from stashjobs.delivery.receive import Message, Source
    from stashjobs.delivery.request import Event, Response
    from stashjobs.job_type import JobType

DATABASE_RETRY_SECONDS = 20
# What is left of Lambda's time for recording how the attempt ended.
RECORD_SECONDS = 2.0
# A lease outlives its attempt by this much, so that clocks and a slow record do not matter.
LEASE_GRACE_SECONDS = 10.0


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
        message, source = receive.message(job, event, lambda_context)
    except InvalidSignature as error:
        refused = answers.refused("Rejected", 401, error)
        ending = refused._replace(seconds_behind=error.seconds_behind)
    except (InvalidEnvelope, EncryptionError) as error:
        ending = answers.refused("Unreadable", 489, error)
    except SettingError as error:
        ending = answers.refused("Unavailable", 500, error)
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
        found = claim.take(job, message, source, lease_seconds)
    except UNSTORABLE as error:
        return answers.refused("Unreadable", 489, error)
    except (psycopg.Error, SettingError) as error:
        return answers.refused("Unavailable", 503, error, retry_after=DATABASE_RETRY_SECONDS)
    _debug("asked for the job", began)
    if isinstance(found, Duplicate):
        return answers.duplicate(found)
    if found is None or not found.held or found.job_type != job.type:
        return answers.unclaimed(job, message, found)

    context = Context(
        job_id=message.job_id,
        job_type=job.type,
        attempt=found.attempt,
        max_attempts=found.max_attempts,
        run=found.run,
        user_id=found.user_id,
        organization_id=found.organization_id,
        deadline=datetime.fromtimestamp(deadline, UTC),
        lease_seconds=lease_seconds,
        encrypted=encryption.is_encrypted(found.payload),
    )
    log.append_keys(
        attempt=found.attempt, user_id=found.user_id, organization_id=found.organization_id
    )
    log.logger().info("processing")
    outcome = attempt.run(job, found.payload, context)
    _debug("ran", began)
    try:
        outcome, recorded = record.write(job, source, context, outcome)
    except psycopg.Error as error:
        shown = attempt.shown(context, error)
        return answers.refused("Unavailable", 503, shown, retry_after=DATABASE_RETRY_SECONDS)
    return answers.ended(context, outcome, recorded, began)


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
