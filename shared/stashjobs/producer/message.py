"""A job as QStash hears of it: where it is delivered, how often it is tried, what limits its type.

Nothing here calls QStash; `publish` and `schedules` send what is made here.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from stashjobs import envelope
from stashjobs.config import settings

if TYPE_CHECKING:
    from qstash.message import BatchRequest, FlowControl, Message

    from stashjobs.job_type import JobType
    from stashjobs.store.outbox import Unpublished

# What every plan of QStash's allows but the free one, whose maximum is 3 (Upstash pricing).
DEFAULT_MAX_RETRIES = 5
# For how long QStash holds a message on its free plan, the shortest of all (Upstash pricing).
DEFAULT_MAX_DELAY_SECONDS = 7 * 86_400
# Its clock is not ours, and it refuses what is a second too far away.
CLOCK_GRACE_SECONDS = 60.0
# QStash waits for an answer a little longer than the job may take, so that it hears the answer.
ANSWER_GRACE_SECONDS = 10
# More deliveries at once than Lambda runs by default in a whole account (1,000).
NO_LIMIT = 10_000
FUNCTION_URL_PREFIX = "FUNCTION_URL_"
# Where QStash reports a dead letter (functions/delivery_failed).
DELIVERY_FAILED_ENDPOINT = "/api/jobs/delivery-failed"
# How many of these calls QStash makes at once: the smallest share of DeliveryFailedFunction in
# template.yaml. What it turns away uses up QStash's retries, and then waits for the relay.
DELIVERY_FAILED_PARALLELISM = 1


def url_of(job: JobType[Any, Any]) -> str:
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


def message_for(job: JobType[Any, Any], unpublished: Unpublished) -> BatchRequest:
    """The message of a recorded job: thin, with all that its type and its enqueue ask."""
    delivery = unpublished.delivery
    retries = unpublished.max_attempts - unpublished.attempt - 1
    message: BatchRequest = {
        "url": url_of(job),
        "body": json.dumps(envelope.thin(unpublished.job_id, unpublished.job_type)),
        "content_type": "application/json",
        "deduplication_id": deduplication_id(unpublished),
    }
    message.update(asked_of(job, retries=retries))
    if unpublished.available_at is not None and unpublished.available_at > datetime.now(UTC):
        message["not_before"] = math.ceil(unpublished.available_at.timestamp())
    if "headers" in delivery:
        message["headers"] = delivery["headers"]
    if "callback" in delivery:
        message["callback"] = delivery["callback"]
    return message


def asked_of(job: JobType[Any, Any], *, retries: int) -> BatchRequest:
    """What a job's type asks of QStash, the same for a message and for a schedule."""
    asked: BatchRequest = {
        "retries": retries_at_qstash(retries),
        "timeout": math.ceil(job.timeout) + ANSWER_GRACE_SECONDS,
        "failure_callback": settings.base_url() + DELIVERY_FAILED_ENDPOINT,
        "failure_callback_headers": failure_callback_headers(),
        "label": job.type,
    }
    if job.retry_delay is not None:
        asked["retry_delay"] = job.retry_delay
    asked["flow_control"] = flow_control_of(job)
    return asked


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
    allows (`QSTASH_MAX_RETRIES`). A dead-lettered job that has attempts left is given
    another message (`RECORD_DEAD_LETTERS`)."""
    return max(0, min(wanted, settings.whole_number("QSTASH_MAX_RETRIES", DEFAULT_MAX_RETRIES)))


def horizon_seconds() -> float:
    """How far ahead a job can be published: QStash refuses a message that asks for a longer delay
    than its plan allows (`QSTASH_MAX_DELAY_SECONDS`)."""
    longest = settings.whole_number("QSTASH_MAX_DELAY_SECONDS", DEFAULT_MAX_DELAY_SECONDS)
    return longest - CLOCK_GRACE_SECONDS


def flow_control_of(job: JobType[Any, Any]) -> FlowControl:
    """The limits of a type on its deliveries, under a key that all of them share. Every type has
    one, so that it can be paused; QStash takes no key without a number."""
    limits: FlowControl = {"key": flow_control_key(job.type)}
    if job.rate is None and job.parallelism is None:
        limits["parallelism"] = NO_LIMIT
    if job.rate is not None:
        limits["rate"] = job.rate
        if job.period_seconds != 1:
            limits["period"] = job.period_seconds
    if job.parallelism is not None:
        limits["parallelism"] = job.parallelism
    return limits


def flow_control_key(name: str) -> str:
    """What QStash counts by (Upstash docs, "Flow Control"): the same for all producers of these
    functions, and another for each stage, since stages may share an account.

    Raises:
        SettingError: `BASE_URL` is missing or malformed.
    """
    place = settings.base_url().partition("://")[2]
    return re.sub(r"[^A-Za-z0-9.]+", "-", f"{place}/{name}")


def is_of_this_stage(message: Message) -> bool:
    """Whether a message at QStash is this stage's, since stages may share an account: it leads to
    `BASE_URL`, or its failure callback does, or its flow-control key is ours.

    Raises:
        SettingError: `BASE_URL` is missing or malformed.
    """
    base = settings.base_url() + "/"
    return (
        message.url.startswith(base)
        or (message.failure_callback or "").startswith(base)
        or (message.flow_control is not None and is_own_key(message.flow_control.key))
    )


def is_own_key(key: str) -> bool:
    """Whether a flow-control key at QStash is of this stage.

    Raises:
        SettingError: `BASE_URL` is missing or malformed.
    """
    return key.startswith(flow_control_key(""))


def deduplication_id(unpublished: Unpublished) -> str:
    """The job's id for its first message. QStash remembers an id for ten minutes (Upstash docs,
    "Deduplication") and would swallow a later message of the same job, so that one's has the run
    and the attempt that it follows, the dead letter, and how often it was moved."""
    job_id = id_at_qstash(unpublished.job_id)
    moved = f"-moved-{unpublished.moved}" if unpublished.moved else ""
    if (unpublished.run, unpublished.attempt, unpublished.dlq_id) == (1, 0, None):
        return job_id + moved
    dead_letter = "" if unpublished.dlq_id is None else f"-{unpublished.dlq_id}"
    return f"{job_id}-{unpublished.run}-{unpublished.attempt}{dead_letter}{moved}"


def id_at_qstash(text: str) -> str:
    """An id as QStash takes it in a deduplication id: it takes no colon, for one, and a producer of
    another make may have chosen it."""
    return (
        text
        if re.fullmatch(r"[\w-]+", text, re.ASCII)
        else hashlib.sha256(text.encode()).hexdigest()
    )
