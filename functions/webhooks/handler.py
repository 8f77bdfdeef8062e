"""Lambda entry: `functions.webhooks.handler.handler`, the webhooks of all sources.

    verify -> read -> record -> publish -> answer

The answer is 200 only when the event is recorded: the row is what counts. Then it is published, in
the same request, because a customer who has paid should not wait for the relay's next minute. Where
QStash cannot be reached, the relay publishes it, and for a while no request waits for QStash.
"""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg

from functions.webhooks import custom_sources
from functions.webhooks.schemes import NotSigned
from functions.webhooks.sources import BUILT_IN, STRIPE, Source, Unreadable
from stashjobs import envelope
from stashjobs.config import settings
from stashjobs.delivery import request as lambda_event
from stashjobs.errors import InvalidPayload, PayloadTooLarge, SettingError, UnknownJobType
from stashjobs.observability import redaction
from stashjobs.observability.log import logger
from stashjobs.producer.enqueue import DEFAULT_MAX_PAYLOAD_BYTES
from stashjobs.store import database

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stashjobs.delivery.request import Event, Request, Response
    from stashjobs.producer.enqueue import Enqueued

RETRY_AFTER_SECONDS = 20
# Enqueue gives up on QStash after 5 seconds (stashjobs.producer.enqueue). One source in so long
# waits for them; more would use up the sources' patience and this function's concurrency.
QSTASH_REST_SECONDS = 30.0

_left_to_relay_until = 0.0


class Refused(Exception):
    """A request that gets another answer than 200. The message goes to the caller and the log."""

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}


@dataclass(frozen=True, slots=True)
class Webhook:
    """One event, proven to be its source's. `id` is the same whenever it is sent again."""

    source: Source
    event: str
    id: str
    body: dict[str, Any]


def handler(event: Event, _lambda_context: Any) -> Response:
    """Verify, record, answer. Nothing is read from a body, and nothing of it logged, before its
    signature has been verified."""
    try:
        source = _source(event)
        webhook = read_verified(source, lambda_event.read_request(event))
        enqueued = _record(webhook)
    except Refused as refused:
        return _refuse(refused.status, str(refused), headers=refused.headers)
    except SettingError as error:
        # The caller is a stranger or a source; neither can fix it.
        return _refuse(500, "this webhook is not set up", log_reason=redaction.one_line(error))
    except psycopg.Error as error:
        return _refuse(
            503,
            "the event could not be recorded; send it again",
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
            log_reason=redaction.one_line(error),
        )
    _publish(enqueued)
    logger().info(
        "webhook",
        source=source.name,
        webhook_event=webhook.event,
        job_id=enqueued.job_id,
        is_new=enqueued.created,
    )
    return lambda_event.respond(200, {"jobId": enqueued.job_id, "created": enqueued.created})


# --- verify and read


def _source(event: Event) -> Source:
    """The source that the route names.

    Raises:
        Refused: There is none, or the method is not POST.
        SettingError: `WEBHOOK_SOURCES` is malformed.
    """
    name = str((event.get("pathParameters") or {}).get("source", ""))
    source = BUILT_IN.get(name) or custom_sources.find(name)
    if source is None:
        raise Refused(404, "there is no such webhook")
    if event["requestContext"]["http"].get("method") != "POST":
        raise Refused(405, "webhooks are sent with POST", {"Allow": "POST"})
    return source


def read_verified(source: Source, request: Request) -> Webhook:
    """The event in a request that its source has signed.

    Raises:
        Refused: It is too large, not signed well, or not what the source sends.
        SettingError: The source's secret is missing or malformed.
    """
    limit = settings.whole_number("MAX_PAYLOAD_BYTES", DEFAULT_MAX_PAYLOAD_BYTES)
    if len(request.body) > limit:
        raise Refused(413, f"the body is {len(request.body)} bytes, the limit is {limit} bytes")
    try:
        source.scheme.verify(request.headers, request.body, keys=source.keys())
    except NotSigned as error:
        raise Refused(400, f"not signed by {source.name}: {error}") from None
    document = _json(request)
    try:
        name = source.event.read(request.headers, document)
        if source.id is None:
            event_id = f"sha256:{hashlib.sha256(request.body).hexdigest()}"
        else:
            event_id = source.id.read(request.headers, document)
    except Unreadable as error:
        raise Refused(400, str(error)) from None
    return Webhook(source, name, event_id, document)


def _json(request: Request) -> dict[str, Any]:
    media_type = request.headers.get("content-type", "application/json").partition(";")[0].strip()
    if not (media_type.lower() == "application/json" or media_type.lower().endswith("+json")):
        raise Refused(415, "the content type is not application/json; choose it at the source")
    try:
        document = json.loads(request.body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise Refused(400, "the body is not a JSON object")
    return document


def _refuse_constant(name: str) -> None:
    raise ValueError(name)  # NaN and Infinity are no JSON (RFC 8259, section 6)


# --- record and publish


def _record(webhook: Webhook) -> Enqueued:
    """The event's row, new or that of the first time it was sent; in one round trip.

    Raises:
        Refused: It is not what its job can take.
        SettingError: `POSTGRES_URL` is missing or malformed.
        psycopg.Error: It could not be written.
    """
    # Each job's handler is imported for its own events only; they are light, by a rule of theirs.
    payload: dict[str, Any]
    try:
        body, replaced = envelope.storable(webhook.body)
    except RecursionError:
        raise Refused(400, "the body is not a JSON object") from None
    if webhook.source is STRIPE and not _is_thin(webhook.body):
        from functions.process_stripe_webhook.handler import process_stripe_webhook as job

        payload = {"event": body}
    else:
        from functions.process_webhook.handler import process_webhook as job  # type: ignore[assignment]

        payload = {
            "source": webhook.source.name,
            "event": webhook.event,
            "id": webhook.id,
            "body": body,
        }
    if replaced:
        logger().warning("webhook's text was replaced", source=webhook.source.name, what=replaced)
    try:
        # On a connection of ours, enqueue only records; and in autocommit the row is there at once.
        return job.enqueue(
            payload,
            idempotency_key=f"{webhook.source.name}:{webhook.id}",
            metadata={"replaced": replaced} if replaced else {},
            connection=database.connection(),
        )
    except InvalidPayload as error:
        raise Refused(400, str(error)) from None
    except UnknownJobType:  # this stage is deployed without it
        raise Refused(404, "there is no such webhook") from None
    except PayloadTooLarge as error:
        raise Refused(413, f"the event is {error.size} bytes, the limit is {error.limit}") from None


def _is_thin(event: Mapping[str, Any]) -> bool:
    """Stripe's thin events name an object and do not have it (Stripe docs, "Event destinations"),
    so they are handled, or ignored, as those of other sources are."""
    return str(event.get("object", "")).startswith("v2.")


def _publish(enqueued: Enqueued) -> None:
    """Publish, unless QStash was unreachable a moment ago. Never raises; the row is safe."""
    global _left_to_relay_until  # noqa: PLW0603 - what this process knows of QStash
    if not enqueued.created or time.time() < _left_to_relay_until:
        return
    if not enqueued.publish():
        _left_to_relay_until = time.time() + QSTASH_REST_SECONDS


# --- answer


def _refuse(
    status: int,
    reason: str,
    *,
    headers: Mapping[str, str] | None = None,
    log_reason: str | None = None,
) -> Response:
    logger().warning("refused", status=status, error=log_reason or reason)
    return lambda_event.respond(status, {"status": "refused", "error": reason}, headers)
