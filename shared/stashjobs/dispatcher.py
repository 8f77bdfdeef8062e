"""Enqueue: the row first, then QStash.

A job exists as soon as its row is committed. Publishing it is only telling QStash; where that
fails the row says so (`published_at` is NULL) and QStash is told later. The message's
deduplication id is the job id, so telling twice is harmless.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from stashjobs import (
    database,
    envelope,
    execution_log,
    publications,
    sealing,
    settings,
    telemetry,
    tracing,
)
from stashjobs.errors import InvalidPayload, PayloadTooLarge
from stashjobs.execution_log import NewJob
from stashjobs.ids import new_job_id
from stashjobs.job import Job, find, to_json
from stashjobs.publications import Unpublished
from stashjobs.sealing import Place

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection
    from qstash import QStash
    from qstash.http import RetryConfig
    from qstash.message import BatchRequest, FlowControl

DEFAULT_MAX_PAYLOAD_BYTES = 1_000_000
# A btree entry is at most 2,704 bytes, and an idempotency key shares its own with the type's name.
MAX_INDEXED_BYTES = 1_000
# Python's years end at 1 and 9999, and a row is read back in whatever time zone a session has.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
# What every plan of QStash's allows but the free one, whose maximum is 3 (Upstash pricing).
DEFAULT_MAX_RETRIES = 5
# For how long QStash holds a message on its free plan, the shortest of all (Upstash pricing).
DEFAULT_MAX_DELAY_SECONDS = 7 * 86_400
# Its clock is not ours, and it refuses what is a second too far away.
CLOCK_GRACE_SECONDS = 60.0
# QStash bounds a batch call by its size only (100 MB); this keeps one call to a second or so.
BATCH_MESSAGES = 1_000
# Enqueue waits for QStash no longer than this, over all tries and the pauses after them; the row
# is safe, and is published later.
QSTASH_TIMEOUT_SECONDS = 5.0
QSTASH_TRIES = 2
QSTASH_PAUSE_SECONDS = 0.2
# QStash waits for an answer a little longer than the job may take, so that it hears the answer.
ANSWER_GRACE_SECONDS = 10
FUNCTION_URL_PREFIX = "FUNCTION_URL_"
# Where QStash says that it gave up (functions/delivery_failed).
DELIVERY_FAILED_ENDPOINT = "/api/jobs/delivery-failed"
# How many of these calls QStash makes at once: the smallest share of DeliveryFailedFunction in
# template.yaml. What it turns away uses up QStash's retries, and then waits for the relay.
DELIVERY_FAILED_PARALLELISM = 1

# Powertools' logger of the same name, where there is one, formats these lines.
log = logging.getLogger("stashjobs")

_client_lock = threading.RLock()
_client: tuple[tuple[str, str | None, int], QStash] | None = None  # what it was made for, and it


@dataclass(frozen=True, slots=True)
class Options:
    """What one enqueue asks beyond its type's defaults (see `Job.enqueue`)."""

    user_id: str | None = None
    organization_id: str | None = None
    delay: float | None = None
    at: datetime | None = None
    idempotency_key: str | None = None
    retries: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    callback: str | None = None
    failure_callback: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    encrypted: bool | None = None


@dataclass(slots=True)
class Enqueued:
    """What became of an enqueue.

    Attributes:
        job_id: The job's id, or that of the job that already had the idempotency key.
        created: False where the idempotency key existed, and nothing was enqueued.
        published: Whether QStash has confirmed the message. False is no error: the relay sees
            to it.
    """

    job_id: str
    created: bool
    published: bool
    _unpublished: Unpublished = field(repr=False)

    def publish(self) -> bool:
        """Tell QStash now. For after the commit of the transaction that `connection=` joined;
        where it is left out, the relay does it within a minute. Returns `published`."""
        if self.created and not self.published:
            publish_enqueued([self])
        return self.published


def enqueue(
    job: Job[Any, Any], payload: Any, options: Options, connection: Connection[Any] | None
) -> Enqueued:
    """Record one job; publish it unless its transaction is the caller's."""
    return enqueue_many(job, [payload], options, connection)[0]


def enqueue_many(
    job: Job[Any, Any],
    payloads: Iterable[Any],
    options: Options,
    connection: Connection[Any] | None,
) -> list[Enqueued]:
    """Record jobs of one type in one INSERT; publish them unless their transaction is the
    caller's."""
    return enqueue_prepared([prepare(job, payload, options) for payload in payloads], connection)


def enqueue_prepared(
    jobs: Sequence[NewJob], connection: Connection[Any] | None = None
) -> list[Enqueued]:
    """Record prepared jobs, of whatever types, in one INSERT; publish them unless their
    transaction is the caller's.

    Raises:
        ValueError: Two of them have the same type and idempotency key.
    """
    if not jobs:
        return []
    keys = [(new.job_type, new.idempotency_key) for new in jobs if new.idempotency_key is not None]
    if len(set(keys)) < len(keys):
        raise ValueError("two of the jobs have the same type and idempotency key")
    if connection is None:
        # A missing setting is found before anything is written.
        settings.base_url()
        qstash()
    with tracing.sending([new.job_type for new in jobs]) as headers:
        jobs = [_forwarding(headers, new) for new in jobs]
        if connection is not None:
            return _enqueued(jobs, execution_log.record_new_jobs(connection, jobs))
        with database.borrowed() as own:
            enqueued = _enqueued(jobs, execution_log.record_new_jobs(own, jobs))
        publish_enqueued(enqueued)
        return enqueued


async def enqueue_async(
    job: Job[Any, Any], payload: Any, options: Options, connection: AsyncConnection[Any]
) -> Enqueued:
    """Record one job within the transaction of an async connection."""
    new = prepare(job, payload, options)
    with tracing.sending([new.job_type]) as headers:
        jobs = [_forwarding(headers, new)]
        return _enqueued(jobs, await execution_log.record_new_jobs_async(connection, jobs))[0]


def prepare(job: Job[Any, Any], payload: Any, options: Options) -> NewJob:
    """The row of a new job. Everything that can be wrong with an enqueue is found here.

    Raises:
        InvalidPayload | PayloadTooLarge | ValueError | SettingError: See `Job.enqueue`.
    """
    document = job.dump_payload(payload)
    sealing.refuse_mark(job.type, document)
    if (misfit := envelope.unstorable(document)) is not None:
        raise InvalidPayload(job.type, [f"it contains {misfit}"])
    refuse_too_large(document)
    retries = job.retries if options.retries is None else options.retries
    if retries < 0:
        raise ValueError(f"retries is {retries}, it must be 0 or more")
    if options.idempotency_key == "":
        raise ValueError("idempotency_key is empty; leave it out or give it a value")
    indexed = {
        "user_id": options.user_id,
        "organization_id": options.organization_id,
        "idempotency_key": options.idempotency_key,
    }
    metadata, delivery = to_json(dict(options.metadata)), _delivery(options)
    if (misfit := envelope.unstorable([*indexed.values(), metadata, delivery])) is not None:
        raise ValueError(f"an option contains {misfit}")
    for name, text in indexed.items():
        if text is not None and len(text.encode()) > MAX_INDEXED_BYTES:
            raise ValueError(f"{name} is longer than {MAX_INDEXED_BYTES} bytes")
    job_id = new_job_id()
    if _is_encrypted(job, options):
        document = sealing.seal(document, Place(job_id, job.type, "payload"))
    return NewJob(
        job_id=job_id,
        job_type=job.type,
        payload=document,
        max_attempts=retries + 1,
        available_at=_available_at(options),
        user_id=options.user_id,
        organization_id=options.organization_id,
        idempotency_key=options.idempotency_key,
        metadata=metadata,
        delivery=delivery,
    )


def refuse_too_large(document: Any) -> None:
    """Refuse a payload that is larger than `MAX_PAYLOAD_BYTES` allows.

    Raises:
        PayloadTooLarge: It is. Both sizes are named.
        SettingError: The setting is no number.
    """
    size = len(json.dumps(document, ensure_ascii=False).encode())
    limit = settings.whole_number("MAX_PAYLOAD_BYTES", DEFAULT_MAX_PAYLOAD_BYTES)
    if size > limit:
        raise PayloadTooLarge(size, limit)


def _is_encrypted(job: Job[Any, Any], options: Options) -> bool:
    if job.encrypted and options.encrypted is False:
        # Its worker refuses plain payloads: docs/sealed-payloads.md says why.
        raise ValueError(f"{job.type} is declared encrypted; encrypted=False cannot undo that")
    return job.encrypted or bool(options.encrypted)


def url_of(job: Job[Any, Any]) -> str:
    """Where QStash delivers jobs of this type: at its own Function URL where there is one (the
    setting `FUNCTION_URL_SEND_EMAIL`, say), which lets it run as long as Lambda does; else at
    its route of the API, which hangs up after 30 seconds.

    Raises:
        SettingError: Neither that setting nor `BASE_URL` is there, or one is malformed.
    """
    function_url = settings.optional(function_url_setting(job.type))
    base = settings.base_url() if function_url is None else function_url.rstrip("/")
    return base + job.endpoint


def function_url_setting(job_type: str) -> str:
    """The name of the setting with the Function URL of a job type."""
    return f"{FUNCTION_URL_PREFIX}{job_type.upper().replace('-', '_')}"


def qstash() -> QStash:
    """The official client, made at its first use, and anew when the token is rotated or the process
    is a fork: sockets are not to be shared.

    Raises:
        SettingError: `QSTASH_TOKEN` is missing.
    """
    global _client  # noqa: PLW0603 - this module is the client's one owner
    wanted = settings.require("QSTASH_TOKEN"), settings.optional("QSTASH_URL"), os.getpid()
    with _client_lock:
        if _client is not None and _client[0] == wanted:
            return _client[1]
        close()
        from qstash import QStash

        token, url, _ = wanted
        pause_ms = QSTASH_PAUSE_SECONDS * 1000
        retry: RetryConfig = {"retries": QSTASH_TRIES - 1, "backoff": lambda _: pause_ms}
        made = QStash(token, base_url=url, retry=retry)
        # The SDK waits ten minutes for an answer and offers no option for it.
        made.http._client.timeout = QSTASH_TIMEOUT_SECONDS / QSTASH_TRIES - QSTASH_PAUSE_SECONDS
        _client = (wanted, made)
        return made


def close() -> None:
    """Close the client's connections. The next use makes a new one."""
    global _client  # noqa: PLW0603
    with _client_lock:
        if _client is not None:
            _client[1].http._client.close()
            _client = None


def publish_enqueued(enqueued: Sequence[Enqueued]) -> None:
    """Tell QStash of those that are new and note on their rows that it knows. Never raises: the
    rows are committed, so whatever goes wrong here is for the relay to mend."""
    created = [one for one in enqueued if one.created]
    told = publish([one._unpublished for one in created])
    for one in created:
        one.published = one.job_id in told


def publish(jobs: Sequence[Unpublished]) -> dict[str, str | None]:
    """Publish recorded jobs and confirm it on their rows. Those that are due too late for QStash to
    hold them are left to the relay.

    Returns:
        QStash's message id by job id, for those that QStash has taken.
    """
    told: dict[str, str | None] = {}
    try:
        last = datetime.now(UTC) + timedelta(seconds=horizon_seconds())
        jobs = [job for job in jobs if job.available_at is None or job.available_at <= last]
        for start in range(0, len(jobs), BATCH_MESSAGES):
            told |= send(jobs[start : start + BATCH_MESSAGES])
    except Exception as error:  # noqa: BLE001 - see publish_enqueued
        log.warning(
            "QStash could not be told of %d jobs; they are recorded and will be published "
            "by the relay: %s",
            len(jobs) - len(told),
            telemetry.one_line(error),
        )
    if told:
        try:
            with database.borrowed() as own:
                publications.confirm_published(own, told)
        except Exception as error:  # noqa: BLE001
            log.warning(
                "%d published jobs could not be confirmed: %s", len(told), telemetry.one_line(error)
            )
    return told


def message_for(job: Job[Any, Any], unpublished: Unpublished) -> BatchRequest:
    """The QStash message of a recorded job: thin, with all that its type and its enqueue ask."""
    delivery = unpublished.delivery
    message: BatchRequest = {
        "url": url_of(job),
        "body": json.dumps(envelope.thin(unpublished.job_id, unpublished.job_type)),
        "content_type": "application/json",
        "deduplication_id": deduplication_id(unpublished),
        "retries": retries_at_qstash(unpublished.max_attempts - unpublished.attempt - 1),
        "timeout": math.ceil(job.timeout) + ANSWER_GRACE_SECONDS,
        "failure_callback": settings.base_url() + DELIVERY_FAILED_ENDPOINT,
        "failure_callback_headers": failure_callback_headers(),
        "label": job.type,
    }
    if unpublished.available_at is not None and unpublished.available_at > datetime.now(UTC):
        message["not_before"] = math.ceil(unpublished.available_at.timestamp())
    if job.retry_delay is not None:
        message["retry_delay"] = job.retry_delay
    if (flow_control := flow_control_of(job)) is not None:
        message["flow_control"] = flow_control
    if "headers" in delivery:
        message["headers"] = delivery["headers"]
    if "callback" in delivery:
        message["callback"] = delivery["callback"]
    if "failureCallback" in delivery:
        # Somebody else's function, whose share is theirs to know.
        message["failure_callback"] = delivery["failureCallback"]
        del message["failure_callback_headers"]
    return message


def failure_callback_headers() -> dict[str, str]:
    """How many calls of `DELIVERY_FAILED_ENDPOINT` QStash makes at once: callbacks "can also be
    configured with the same HTTP headers" as messages, under their own prefix (Upstash docs,
    "Configuring Callbacks"; Upstash's own workflow SDK sends these two)."""
    return {
        "Flow-Control-Key": flow_control_key("delivery-failed"),
        "Flow-Control-Value": f"parallelism={DELIVERY_FAILED_PARALLELISM}",
    }


def retries_at_qstash(wanted: int) -> int:
    """How many retries to ask of QStash, which refuses a message that asks for more than its plan
    allows (`QSTASH_MAX_RETRIES`). A job that has attempts left when QStash gives up is given
    another message (`publications.RECORD_GIVEN_UP`)."""
    return max(0, min(wanted, settings.whole_number("QSTASH_MAX_RETRIES", DEFAULT_MAX_RETRIES)))


def horizon_seconds() -> float:
    """How far ahead QStash can be told of a job: it refuses a message that asks for a longer delay
    than its plan allows (`QSTASH_MAX_DELAY_SECONDS`)."""
    longest = settings.whole_number("QSTASH_MAX_DELAY_SECONDS", DEFAULT_MAX_DELAY_SECONDS)
    return longest - CLOCK_GRACE_SECONDS


def flow_control_of(job: Job[Any, Any]) -> FlowControl | None:
    """The limits of a type on its deliveries, under a key that all of them share."""
    if job.rate is None and job.parallelism is None:
        return None
    limits: FlowControl = {"key": flow_control_key(job.type)}
    if job.rate is not None:
        limits["rate"] = job.rate
    if job.parallelism is not None:
        limits["parallelism"] = job.parallelism
    return limits


def flow_control_key(name: str) -> str:
    """What QStash counts by (Upstash docs, "Flow Control"): the same for whoever enqueues for these
    functions, and another for each stage, since stages may share an account.

    Raises:
        SettingError: `BASE_URL` is missing or malformed.
    """
    place = settings.base_url().partition("://")[2]
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"{place}/{name}")


def deduplication_id(unpublished: Unpublished) -> str:
    """The job's id for its first message. QStash remembers an id for ten minutes (Upstash docs,
    "Deduplication") and would swallow a later message of the same job, so that one's has the run
    and the attempt that it follows, and the message on which QStash gave up."""
    job_id = unpublished.job_id
    if not re.fullmatch(r"[\w-]+", job_id, re.ASCII):
        # A producer of another make chose it, and QStash takes no colon here, for one.
        job_id = hashlib.sha256(job_id.encode()).hexdigest()
    if (unpublished.run, unpublished.attempt, unpublished.dlq_id) == (1, 0, None):
        return job_id
    given_up = "" if unpublished.dlq_id is None else f"-{unpublished.dlq_id}"
    return f"{job_id}-{unpublished.run}-{unpublished.attempt}{given_up}"


def send(batch: Sequence[Unpublished]) -> dict[str, str | None]:
    """Hand messages to QStash in one call: it takes all of them, or none.

    Returns:
        QStash's message id by job id.

    Raises:
        qstash.errors.QStashError | httpx.HTTPError: QStash refused, or cannot be reached.
        UnknownJobType: A job's type is not declared in this process.
    """
    messages = [message_for(find(each.job_type), each) for each in batch]
    # Not `batch_json`: it loses `retry_delay` on the way (qstash 3.4.0).
    answers = qstash().message.batch(messages)
    return {
        each.job_id: None if isinstance(answer, list) else answer.message_id
        for each, answer in zip(batch, answers, strict=True)
    }


def _enqueued(jobs: Sequence[NewJob], ids: Sequence[str]) -> list[Enqueued]:
    return [
        Enqueued(
            job_id,
            created=job_id == new.job_id,
            published=False,
            _unpublished=Unpublished(
                new.job_id, new.job_type, 1, 0, new.max_attempts, new.available_at, new.delivery
            ),
        )
        for new, job_id in zip(jobs, ids, strict=True)
    ]


def _forwarding(context: Mapping[str, str], new: NewJob) -> NewJob:
    """The job with the context of a trace among the headers that QStash forwards, unless the caller
    gave one. On the row, since the relay or an operator may publish it again."""
    given = new.delivery.get("headers", {})
    if not context or any(name.lower() in tracing.CONTEXT_HEADERS for name in given):
        return new
    return replace(new, delivery={**new.delivery, "headers": {**given, **context}})


def _available_at(options: Options) -> datetime | None:
    if options.at is not None and options.delay is not None:
        raise ValueError("give delay or at, not both")
    if options.at is not None:
        if options.at.tzinfo is None:
            raise ValueError("at has no time zone; give an aware datetime")
        at = options.at
    elif options.delay is not None:
        if not (math.isfinite(options.delay) and options.delay >= 0):
            raise ValueError(f"delay is {options.delay}, it must be 0 or more seconds")
        try:
            at = datetime.now(UTC) + timedelta(seconds=options.delay)
        except OverflowError:
            raise ValueError(f"delay is {options.delay} seconds: no calendar goes so far") from None
    else:
        return None
    if not EARLIEST <= at <= LATEST:
        raise ValueError(f"at is {at.isoformat()}, it must be from {EARLIEST:%Y} to {LATEST:%Y}")
    return at


def _delivery(options: Options) -> dict[str, Any]:
    asked = {
        "headers": dict(options.headers),
        "callback": options.callback,
        "failureCallback": options.failure_callback,
    }
    return {name: value for name, value in asked.items() if value}
