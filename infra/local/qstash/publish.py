"""A publish request becomes messages (docs: "Publish Messages", "URL Groups", "Deduplication")."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import ids
from .errors import bad_request, expect
from .model import Delivery, Headers, Limits, Message
from .options import Options, check_destination
from .queues import Queues, check_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .clock import Clock
    from .delivery import Deliveries
    from .store import Store
    from .url_groups import UrlGroups

DEDUPLICATION_WINDOW_MS = 10 * 60 * 1000
_KIND = "deduplication"


@dataclass
class Publication:
    """A validated request: the messages it stands for, not yet accepted."""

    messages: list[Message]
    to_group: bool
    content_based: bool


@dataclass
class Published:
    """One accepted message, or the earlier one that it repeats."""

    message: Message
    message_id: str
    deduplicated: bool

    def view(self, *, with_url: bool) -> dict[str, Any]:
        """OpenAPI, `PublishResponse` and `PublishToUrlGroupResponse`."""
        view: dict[str, Any] = {"messageId": self.message_id}
        if with_url:
            view["url"] = self.message.url
        if self.deduplicated:
            view["deduplicated"] = True
        return view


class Publisher:
    """Validates first, accepts afterwards, so that a batch is taken as a whole or not at all."""

    def __init__(
        self,
        *,
        clock: Clock,
        limits: Limits,
        store: Store,
        groups: UrlGroups,
        queues: Queues,
        deliveries: Deliveries,
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._groups = groups
        self._queues = queues
        self._deliveries = deliveries
        self._seen = _Seen(clock, store)

    def prepare(
        self,
        destination: str,
        headers: Headers,
        body: bytes,
        *,
        caller_ip: str,
        queue: str | None = None,
        schedule_id: str | None = None,
    ) -> Publication:
        """Validate; raises ApiError."""
        group = self._groups.find(destination)
        if group is None:
            check_destination(destination)
        else:
            headers = {**group.headers, **headers}
        if queue is not None:
            check_name("queue name", queue)
        now = self._clock.now_ms()
        options = Options(headers, self._limits)
        delivery = options.delivery(body, caller_ip, now)
        targets: Sequence[tuple[str, str | None]] = (
            [(destination, None)] if group is None else [(e.url, e.name) for e in group.endpoints]
        )
        messages = [
            Message(
                id=ids.message_id(),
                url=url,
                delivery=delivery,
                created_at=now,
                not_before=_not_before(delivery, now),
                topic_name=None if group is None else group.name,
                endpoint_name=name,
                queue_name=queue,
                schedule_id=schedule_id,
            )
            for url, name in targets
        ]
        content_based = options.flag("upstash-content-based-deduplication")
        return Publication(messages, group is not None, content_based)

    def accept(self, publication: Publication) -> list[Published]:
        """Take the messages, except those published before within the deduplication window."""
        published = []
        for message in publication.messages:
            if message.queue_name is not None:
                self._queues.ensure(message.queue_name)
            key = _deduplication_key(message, publication)
            earlier = None if key is None else self._seen.get(key)
            if earlier is not None:
                published.append(Published(message, earlier, deduplicated=True))
                continue
            if key is not None:
                self._seen.add(key, message.id)
            self._deliveries.submit(message)
            published.append(Published(message, message.id, deduplicated=False))
        return published

    def again(self, message: Message, overrides: Headers) -> Message:
        """A dead letter as a new message; headers of the request override its configuration."""
        changed = Options(overrides, self._limits).delivery(b"", "", self._clock.now_ms())
        delivery = Delivery(**vars(message.delivery))
        delivery.delay, delivery.not_before = changed.delay, changed.not_before
        for header, field in _OVERRIDABLE.items():
            if any(_overrides(name, header) for name in overrides):
                setattr(delivery, field, getattr(changed, field))
        now = self._clock.now_ms()
        renewed = Message(
            id=ids.message_id(),
            url=message.url,
            delivery=delivery,
            created_at=now,
            not_before=_not_before(delivery, now),
            topic_name=message.topic_name,
            endpoint_name=message.endpoint_name,
            queue_name=message.queue_name,
            schedule_id=message.schedule_id,
        )
        if renewed.queue_name is not None:
            self._queues.ensure(renewed.queue_name)
        self._deliveries.submit(renewed)
        return renewed


_OVERRIDABLE = {
    "upstash-method": "method",
    "upstash-retries": "max_retries",
    "upstash-retry-delay": "retry_delay",
    "upstash-timeout": "timeout",
    "upstash-callback": "callback",
    "upstash-callback-": "callback_options",
    "upstash-failure-callback": "failure_callback",
    "upstash-failure-callback-": "failure_callback_options",
    "upstash-label": "labels",
    "upstash-flow-control-key": "flow_control",
    "upstash-redact-fields": "redact",
}


def _overrides(name: str, header: str) -> bool:
    return name.startswith(header) if header.endswith("-") else name == header


def _not_before(delivery: Delivery, now_ms: int) -> int:
    """ "`Upstash-Not-Before` will take precedence." (OpenAPI)"""
    if delivery.not_before is not None:
        return max(delivery.not_before, now_ms)
    return now_ms + delivery.delay * 1000


def _deduplication_key(message: Message, publication: Publication) -> str | None:
    delivery = message.delivery
    # Every endpoint of a URL group gets its own message, so the id alone would drop all but one.
    endpoint = message.url if publication.to_group else ""
    if delivery.deduplication_id is not None:
        return json.dumps(["id", delivery.deduplication_id, endpoint])
    if publication.content_based:
        digest = hashlib.sha256(message.deduplication_scope.encode() + b"\0" + delivery.body)
        digest.update(json.dumps(delivery.headers, sort_keys=True).encode())
        return json.dumps(["content", digest.hexdigest(), endpoint])
    return None


class _Seen:
    """Deduplication ids of the last ten minutes. All live equally long: insertion order is expiry
    order.
    """

    def __init__(self, clock: Clock, store: Store) -> None:
        self._clock = clock
        self._store = store
        entries = sorted(store.load(_KIND), key=lambda entry: int(entry["at"]))
        self._entries = {entry["key"]: (entry["id"], int(entry["at"])) for entry in entries}

    def get(self, key: str) -> str | None:
        oldest_kept = self._clock.now_ms() - DEDUPLICATION_WINDOW_MS
        while self._entries:
            first = next(iter(self._entries))
            if self._entries[first][1] > oldest_kept:
                break
            del self._entries[first]
            self._store.delete(_KIND, first)
        found = self._entries.get(key)
        return None if found is None else found[0]

    def add(self, key: str, message_id: str) -> None:
        now = self._clock.now_ms()
        self._entries[key] = (message_id, now)
        self._store.put(_KIND, key, {"key": key, "id": message_id, "at": now})


def batch_items(content: bytes) -> list[tuple[str, Headers, bytes, str | None]]:
    """OpenAPI, `/v2/batch`: destination, headers, body and queue of each message."""
    try:
        batch = json.loads(content)
    except ValueError as error:
        raise bad_request(f"invalid batch request: {error}") from error
    if not isinstance(batch, list) or not all(isinstance(item, dict) for item in batch):
        raise bad_request("invalid batch request: a list of messages is expected")
    return [_batch_item(item) for item in batch]


def _batch_item(item: dict[str, Any]) -> tuple[str, Headers, bytes, str | None]:
    destination = expect(item.get("destination") or "", str, "destination")
    queue = item.get("queue") or item.get("queueName")
    if queue is not None:
        expect(queue, str, "queue")
    body = item.get("body")
    text = "" if body is None else body if isinstance(body, str) else json.dumps(body)
    headers: Headers = {}
    for name, value in expect(item.get("headers") or {}, dict, "headers").items():
        headers[name.lower()] = [str(v) for v in (value if isinstance(value, list) else [value])]
    return destination, headers, text.encode(), queue
