"""The messages that report on a delivery (docs: "Callbacks")."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from .options import Options

if TYPE_CHECKING:
    from .model import Answer, Delivery, Headers, Limits, Message


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def body(message: Message, answer: Answer, dlq_id: str | None) -> bytes:
    """The callback body, its fields in the order and with the omissions of the real one.

    The documentation's example quotes the two timestamps and shows every field. A captured callback
    has numbers, and leaves out `retried` on the first attempt as well as whatever is empty.
    """
    fields: dict[str, Any] = {
        "status": answer.status,
        "header": answer.headers,
        "body": _base64(answer.body),
        "retried": message.retried or None,
        "dlqId": dlq_id,
        "sourceMessageId": message.id,
        "topicName": message.topic_name,
        "endpointName": message.endpoint_name,
        "url": message.url,
        "method": message.delivery.method,
        "sourceHeader": message.delivery.headers,
        "sourceBody": _base64(message.delivery.body),
        "maxRetries": message.delivery.max_retries,
        "notBefore": message.not_before,
        "createdAt": message.created_at,
        "scheduleId": message.schedule_id,
        "callerIP": message.delivery.caller_ip or None,
    }
    kept = {name: value for name, value in fields.items() if value is not None}
    return json.dumps(kept, separators=(",", ":")).encode()


def delivery(message: Message, options: Headers, content: bytes, limits: Limits) -> Delivery:
    """How the callback itself is sent: its own options, else "the retry setting from the original
    request" (OpenAPI, `Upstash-Callback`).
    """
    source = message.delivery
    chosen = {"content-type": ["application/json"], **options}
    configured = Options(chosen, limits).delivery(b"", source.caller_ip, message.created_at)
    configured.body = content  # Base64 may take it over the limit, which is one for publishers
    if "upstash-retries" not in options:
        configured.max_retries = source.max_retries
    if "upstash-retry-delay" not in options:
        configured.retry_delay = source.retry_delay
    configured.callback = configured.failure_callback = None
    configured.deduplication_id = None
    return configured
