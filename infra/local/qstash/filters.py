"""Filters, counts and cursors shared by logs, the DLQ and bulk cancellation.

OpenAPI: several values of one filter are alternatives, several filters must all match; a value is
repeated in the query string or separated by commas.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Reversible
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from .errors import bad_request

if TYPE_CHECKING:
    from .model import Message

Query = Mapping[str, list[str]]
T = TypeVar("T")

_MESSAGE_FIELDS: dict[str, Callable[[Message], Iterable[str | None]]] = {
    "messageId": lambda m: (m.id,),
    "messageIds": lambda m: (m.id,),
    "url": lambda m: (m.url,),
    "host": lambda m: (urlsplit(m.url).netloc, urlsplit(m.url).hostname),
    "path": lambda m: (urlsplit(m.url).path,),
    "topicName": lambda m: (m.topic_name,),
    "queueName": lambda m: (m.queue_name,),
    "scheduleId": lambda m: (m.schedule_id,),
    "callerIp": lambda m: (m.delivery.caller_ip,),
    "callerIP": lambda m: (m.delivery.caller_ip,),
    "label": lambda m: m.delivery.labels,
    "flowControlKey": lambda m: (m.delivery.flow_control.key if m.delivery.flow_control else None,),
}


_OTHERS = {
    "api",  # what the JavaScript SDK's types say is ignored
    "count",
    "cursor",
    "dlqIds",
    "fromDate",
    "order",
    "qstash_token",
    "responseStatus",
    "state",
    "toDate",
    "trimBody",
}


def check(query: Query) -> None:
    """Refuse a filter that there is not: left out, it would match everything. The words are
    undocumented."""
    if unknown := sorted(query.keys() - _MESSAGE_FIELDS.keys() - _OTHERS):
        raise bad_request(f"unknown filter: {unknown[0]}")


def values(query: Query, name: str) -> set[str]:
    """Every value given for a filter; a whole value counts too, since a URL may hold a comma."""
    given = [value for value in query.get(name, ()) if value]
    return {part for value in given for part in (value, *value.split(","))}


def integer(query: Query, name: str) -> int | None:
    """A number from the query string."""
    text = (query.get(name) or [""])[0]
    if not text:
        return None
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise bad_request(f"invalid {name}: {text}")  # undocumented wording
    return int(text)


def count(query: Query, default: int, maximum: int) -> int:
    """The page size, kept between 1 and the documented maximum."""
    number = integer(query, "count")
    return default if number is None else max(1, min(number, maximum))


class MessageFilter:
    """A predicate over messages and one point in time of each."""

    def __init__(self, query: Query) -> None:
        check(query)
        self._wanted = [
            (field, wanted)
            for name, field in _MESSAGE_FIELDS.items()
            if (wanted := values(query, name))
        ]
        self._since = integer(query, "fromDate")
        self._until = integer(query, "toDate")

    def __call__(self, message: Message, time_ms: int) -> bool:
        if self._since is not None and time_ms < self._since:
            return False
        if self._until is not None and time_ms > self._until:
            return False
        return all(any(v in wanted for v in field(message)) for field, wanted in self._wanted)


def page(items: Iterator[T], size: int, cursor_of: Callable[[T], str]) -> tuple[list[T], str]:
    """The first `size` items, and the cursor of the last of them if there are more, else ''."""
    chosen: list[T] = []
    for item in items:
        if len(chosen) == size:
            return chosen, cursor_of(chosen[-1])
        chosen.append(item)
    return chosen, ""


def beyond_cursor(
    oldest_first: Reversible[T], query: Query, position: Callable[[T], tuple[int, int]]
) -> Iterator[T]:
    """What follows the cursor, in the asked `order` (Changelog, July 2024; the TypeScript SDK's
    "List messages with filters" has `latestFirst`, the name of its opposite is undocumented).
    """
    order = (query.get("order") or [""])[0] or "latestFirst"
    if order not in {"latestFirst", "earliestFirst"}:
        raise bad_request(f"invalid order: {order}")  # undocumented wording
    cursor = (query.get("cursor") or [""])[0]
    last = stream_id(cursor) if cursor else None
    backwards = order == "latestFirst"
    for item in reversed(oldest_first) if backwards else oldest_first:
        if last is None or (position(item) < last if backwards else position(item) > last):
            yield item


def stream_id(cursor: str) -> tuple[int, int]:
    """A cursor or DLQ id such as `1725323658779-0` as an ordered pair."""
    found = re.fullmatch(r"([0-9]{1,18})(?:-([0-9]{1,18}))?", cursor)
    if found is None:
        raise bad_request(f"invalid cursor: {cursor}")  # undocumented wording
    return int(found[1]), int(found[2] or 0)
