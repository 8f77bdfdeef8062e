"""What the server keeps: messages, queues, URL groups, schedules and dead letters.

Times are Unix milliseconds on the server's clock, as in QStash's API.
"""

from __future__ import annotations

import base64
import dataclasses
from dataclasses import dataclass, field
from typing import Any, TypeVar

Headers = dict[str, list[str]]


@dataclass
class Limits:
    """Plan limits (upstash.com/pricing/qstash, "Pay as You Go", what `qstash dev` simulates)."""

    max_message_bytes: int = 10 * 1024 * 1024
    max_batch_bytes: int = 100 * 1024 * 1024  # Changelog, December 2024
    max_retries: int = 5
    max_delay_seconds: int = 365 * 86400
    max_timeout_seconds: int = 2 * 3600
    max_url_groups: int = 100
    max_endpoints: int = 100
    max_queues: int = 100
    max_queue_parallelism: int = 100
    max_parallelism: int = 100
    max_schedules: int = 1000
    dlq_retention_seconds: int = 7 * 86400
    max_events: int = 10_000


@dataclass
class FlowControl:
    """`Upstash-Flow-Control-Key` and `-Value` (docs: "Flow Control")."""

    key: str
    parallelism: int | None = None
    rate: int | None = None
    period: int = 1


@dataclass
class Redact:
    """`Upstash-Redact-Fields` (docs: "Redact Private Data")."""

    body: bool = False
    all_headers: bool = False
    headers: list[str] = field(default_factory=list)


@dataclass
class Delivery:
    """Everything a publisher may choose about a message, whatever its destination."""

    body: bytes = b""
    method: str = "POST"
    headers: Headers = field(default_factory=dict)
    max_retries: int = 3
    retry_delay: str | None = None
    timeout: int | None = None
    delay: int = 0
    not_before: int | None = None
    callback: str | None = None
    failure_callback: str | None = None
    # Headers of the callback's own publish request, with `Upstash-Callback-` cut to `Upstash-`.
    callback_options: Headers = field(default_factory=dict)
    failure_callback_options: Headers = field(default_factory=dict)
    labels: list[str] = field(default_factory=list)
    flow_control: FlowControl | None = None
    redact: Redact | None = None
    deduplication_id: str | None = None
    caller_ip: str = ""


@dataclass
class Message:
    """One message on its way to one URL."""

    id: str
    url: str
    delivery: Delivery
    created_at: int
    not_before: int
    topic_name: str | None = None
    endpoint_name: str | None = None
    queue_name: str | None = None
    schedule_id: str | None = None
    source_message_id: str | None = None  # set on callbacks: the message they report on
    retried: int = 0
    next_delivery: int = 0
    sequence: int = 0

    @property
    def deduplication_scope(self) -> str:
        """What content-based deduplication compares: the URL group or the endpoint."""
        return self.topic_name or self.url


@dataclass
class Queue:
    """An ordered queue (docs: "Queues")."""

    name: str
    created_at: int
    updated_at: int
    parallelism: int = 1
    paused: bool = False


@dataclass
class Endpoint:
    """One URL of a URL group."""

    url: str
    name: str | None = None


@dataclass
class UrlGroup:
    """A URL group, which the API calls a topic (docs: "URL Groups")."""

    name: str
    created_at: int
    updated_at: int
    endpoints: list[Endpoint] = field(default_factory=list)
    headers: Headers = field(default_factory=dict)


@dataclass
class Schedule:
    """A schedule and the publish request that it repeats (docs: "Schedules")."""

    id: str
    cron: str
    destination: str
    created_at: int
    options: Headers
    body: bytes
    caller_ip: str
    queue_name: str | None = None
    paused: bool = False
    last_time: int | None = None
    next_time: int | None = None
    last_states: dict[str, str] = field(default_factory=dict)
    error: str | None = None


@dataclass
class Answer:
    """The last response to a message, as the DLQ and callbacks report it."""

    status: int = 0  # undocumented: 0 where no response came
    headers: Headers = field(default_factory=dict)
    body: bytes = b""
    error: str | None = None


@dataclass
class DeadLetter:
    """A message that failed for good (docs: "Dead Letter Queues")."""

    id: str
    message: Message
    answer: Answer
    failed_at: int


T = TypeVar("T")


def to_document(value: Any) -> Any:
    """A dataclass as JSON: bytes become base64."""
    if dataclasses.is_dataclass(value):
        return {f.name: to_document(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, list):
        return [to_document(item) for item in value]
    return value


_NESTED: dict[tuple[str, str], type] = {
    ("Message", "delivery"): Delivery,
    ("Delivery", "flow_control"): FlowControl,
    ("Delivery", "redact"): Redact,
    ("DeadLetter", "message"): Message,
    ("DeadLetter", "answer"): Answer,
}


def from_document(kind: type[T], document: dict[str, Any]) -> T:
    """The inverse of `to_document`."""
    values: dict[str, Any] = {}
    for name, value in document.items():
        nested = _NESTED.get((kind.__name__, name))
        if nested is not None and value is not None:
            values[name] = from_document(nested, value)
        elif name == "body":
            values[name] = base64.b64decode(value)
        elif name == "endpoints":
            values[name] = [Endpoint(**endpoint) for endpoint in value]
        else:
            values[name] = value
    return kind(**values)
