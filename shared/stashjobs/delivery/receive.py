"""What a delivery brings: a message from an authorized caller, and what QStash says of it."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from stashjobs import encryption, envelope
from stashjobs.delivery import request as lambda_event
from stashjobs.errors import EncryptionError, InvalidEnvelope
from stashjobs.ids import job_id_from

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stashjobs.delivery.request import Event, Request
    from stashjobs.envelope import Envelope
    from stashjobs.job_type import JobType

# API Gateway's HTTP APIs hang up after 30 seconds, whatever the function's own timeout.
GATEWAY_SECONDS = 29.0


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


def message(job: JobType[Any, Any], event: Event, lambda_context: Any) -> tuple[Message, Source]:
    """The message, from an authorized caller. Nothing is read from a body before its signature
    has been verified.

    Raises:
        InvalidSignature | InvalidEnvelope | EncryptionError | SettingError: It is refused.
    """
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
