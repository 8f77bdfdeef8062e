"""Lambda entry: `functions.delivery_failed.handler.handler`, QStash's failure callback.

QStash calls it once for a message that it will not deliver any more (Upstash docs, "Callbacks",
"What is a Failure-Callback?"), so that the job's row learns of it.
"""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import psycopg

from stashjobs import encryption, envelope
from stashjobs.delivery import request as lambda_event
from stashjobs.delivery.response import answer, refuse
from stashjobs.errors import (
    InvalidEnvelope,
    InvalidSignature,
    QStashFailed,
    SettingError,
    UnknownJobType,
)
from stashjobs.job_type import broken, find, load
from stashjobs.observability import redaction
from stashjobs.observability.log import logger
from stashjobs.recovery import dead_letters
from stashjobs.store import database, outbox
from stashjobs.store.executions import NewJob

if TYPE_CHECKING:
    from stashjobs.delivery.request import Event, Response
    from stashjobs.envelope import Envelope
    from stashjobs.store.outbox import DeadLetter


def handler(event: Event, _lambda_context: Any) -> Response:
    """Record a dead letter, and tell the caller who asked for it. Answers 200 only once both are
    done."""
    try:
        request = lambda_event.verified_request(event)
    except InvalidSignature as error:
        return refuse(401, error)
    except SettingError as error:
        return refuse(500, error)
    try:
        message, dead = read_callback(request.body)
    except (InvalidEnvelope, ValueError, KeyError, TypeError, RecursionError) as error:
        return refuse(489, InvalidEnvelope(f"not a failure callback: {type(error).__name__}"))
    try:
        changed = dead_letters.record([dead]) or _record_unseen(message, dead)
    except (psycopg.Error, SettingError, UnknownJobType) as error:
        return refuse(503, error)
    if not dead_letters.tell_callers([dead.job_id], lambda _dlq_id: request.body):
        return refuse(503, QStashFailed("the job's own failure callback could not be published"))
    return answer(200, {"jobId": dead.job_id, "changed": bool(changed)})


def read_callback(body: bytes) -> tuple[Envelope, DeadLetter]:
    """The dead-lettered message in the callback's body.

    Raises:
        InvalidEnvelope | ValueError | KeyError | TypeError | RecursionError: It is not what QStash
            sends, or the message was no job's.
    """
    callback = json.loads(body)
    message = envelope.read(base64.b64decode(callback["sourceBody"]))
    dead = dead_letters.letter(
        message.job_id,
        callback["sourceMessageId"],
        callback.get("dlqId"),
        status=callback.get("status"),
        retries=callback.get("maxRetries"),
    )
    return message, dead


def _record_unseen(message: Envelope, dead: DeadLetter) -> bool:
    """A message that carried its payload and never reached its function left no row; now it does,
    so that an operator sees the job and can retry it. Not one that its function would refuse: of
    an unknown type, or plain where it must be encrypted. Such a one stays in QStash's queue.

    Raises:
        UnknownJobType: The type may be that of a handler that cannot be imported.
    """
    if not message.has_payload:
        return False
    load(skip_broken=True)
    try:
        job = find(message.job_type)
    except UnknownJobType as error:
        if broken():
            raise
        logger().error("not recorded", error=redaction.one_line(error))
        return False
    if job.encrypted and not encryption.is_encrypted(message.payload):
        logger().error("not recorded", error=f"{job.type} takes only encrypted payloads")
        return False
    new = NewJob(
        job_id=dead.job_id,
        job_type=message.job_type,
        payload=message.payload,
        max_attempts=job.retries + 1,
        user_id=message.user_id,
        organization_id=message.organization_id,
        metadata=message.metadata,
    )
    return outbox.record_never_delivered(database.connection(), new, dead)
