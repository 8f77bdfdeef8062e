"""The JSON that the API shows (OpenAPI, `components/schemas`), with redaction applied."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

from .options import canonical

if TYPE_CHECKING:
    from .model import DeadLetter, Delivery, FlowControl, Headers, Message, Queue, Redact, UrlGroup

Json = dict[str, Any]


def compact(view: Json) -> Json:
    """Go's `omitempty`: nothing, empty strings and empty collections are left out."""
    return {key: value for key, value in view.items() if value not in (None, "", [], {})}


def _redacted(data: bytes) -> str:
    return f"REDACTED:{hashlib.sha256(data).hexdigest()}"


def _shown_headers(headers: Headers, redact: Redact | None) -> Headers:
    if redact is None:
        return headers
    return {
        name: [_redacted(value.encode()) for value in values]
        if redact.all_headers or name in redact.headers
        else values
        for name, values in headers.items()
    }


def body_view(body: bytes, redact: Redact | None, name: str = "body") -> Json:
    """`body` for UTF-8 and `bodyBase64` for the rest."""
    if redact is not None and redact.body:
        return {name: _redacted(body)}
    try:
        return {name: body.decode()}
    except UnicodeDecodeError:
        return {f"{name}Base64": base64.b64encode(body).decode()}


def forwarded_by_callback(options: Headers) -> Headers:
    """The headers that a callback carries, from its stored options."""
    prefix = "upstash-forward-"
    return {
        canonical(name.removeprefix(prefix)): values
        for name, values in options.items()
        if name.startswith(prefix)
    }


def flow_control_view(control: FlowControl | None) -> Json:
    """The four flow control fields of a message, a schedule or a log entry."""
    if control is None:
        return {}
    return {
        "flowControlKey": control.key,
        "parallelism": control.parallelism,
        "rate": control.rate,
        "period": control.period,
    }


def delivery_view(delivery: Delivery) -> Json:
    """What a message and a schedule have in common."""
    return {
        "method": delivery.method,
        "header": _shown_headers(delivery.headers, delivery.redact),
        **body_view(delivery.body, delivery.redact),
        "callback": delivery.callback,
        "failureCallback": delivery.failure_callback,
        "callbackHeader": forwarded_by_callback(delivery.callback_options),
        "failureCallbackHeader": forwarded_by_callback(delivery.failure_callback_options),
        "callerIP": delivery.caller_ip,
        "label": delivery.labels[0] if delivery.labels else None,
        "labels": delivery.labels,
        "retryDelayExpression": delivery.retry_delay,
        "timeout": delivery.timeout,
        **flow_control_view(delivery.flow_control),
    }


def message_view(message: Message) -> Json:
    """OpenAPI, `Message`."""
    return compact(
        {
            "messageId": message.id,
            "topicName": message.topic_name,
            "endpointName": message.endpoint_name,
            "url": message.url,
            "maxRetries": message.delivery.max_retries,
            "notBefore": message.not_before,
            "createdAt": message.created_at,
            "queueName": message.queue_name,
            "scheduleId": message.schedule_id,
            **delivery_view(message.delivery),
        }
    )


def dead_letter_view(letter: DeadLetter) -> Json:
    """OpenAPI, `DLQMessage`, and the `dlqId` that the SDKs read."""
    answer = letter.answer
    return {
        **message_view(letter.message),
        "dlqId": letter.id,
        "responseStatus": answer.status,
        **compact(
            {"responseHeader": answer.headers, **body_view(answer.body, None, "responseBody")}
        ),
    }


def log_view(message: Message, shown: Json) -> Json:
    """OpenAPI, `LogEntry`. Some names differ from a message's; the SDKs read `retryDelayExpr`."""
    delivery = message.delivery
    redact = delivery.redact
    body = (
        _redacted(delivery.body)
        if redact is not None and redact.body
        else base64.b64encode(delivery.body).decode()
    )
    return compact(
        {
            **shown,
            "url": message.url,
            "messageId": message.id,
            "topicName": message.topic_name,
            "endpointName": message.endpoint_name,
            "queueName": message.queue_name,
            "scheduleId": message.schedule_id,
            "header": _shown_headers(delivery.headers, redact),
            "body": body,
            "timeout": None if delivery.timeout is None else delivery.timeout * 1000,
            "method": delivery.method,
            "callback": delivery.callback,
            "callbackHeaders": forwarded_by_callback(delivery.callback_options),
            "failureCallback": delivery.failure_callback,
            "failureCallbackHeaders": forwarded_by_callback(delivery.failure_callback_options),
            "maxRetries": delivery.max_retries,
            "retryDelayExpr": delivery.retry_delay,
            "retryDelayExpression": delivery.retry_delay,
            "callerIP": delivery.caller_ip,
            "label": delivery.labels[0] if delivery.labels else None,
            "labels": delivery.labels,
            **flow_control_view(delivery.flow_control),
        }
    )


def queue_view(queue: Queue, lag: int) -> Json:
    """OpenAPI, `Queue`."""
    return {
        "name": queue.name,
        "createdAt": queue.created_at,
        "updatedAt": queue.updated_at,
        "parallelism": queue.parallelism,
        "paused": queue.paused,
        "lag": lag,
    }


def url_group_view(group: UrlGroup) -> Json:
    """OpenAPI, `URLGroup`."""
    return {
        "name": group.name,
        "createdAt": group.created_at,
        "updatedAt": group.updated_at,
        "endpoints": [compact({"name": e.name, "url": e.url}) for e in group.endpoints],
    }
