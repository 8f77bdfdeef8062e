"""The log of what happened to each message (docs: "Debug Logs"; OpenAPI, `/v2/logs`)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from . import filters, views
from .filters import MessageFilter, Query
from .model import Message

if TYPE_CHECKING:
    from .clock import Clock

_IN_PROGRESS = frozenset({"ACTIVE", "RETRY", "ERROR"})


@dataclass
class Event:
    """One line of the log. The message is shared, not copied: its shown fields never change."""

    time: int
    sequence: int
    state: str
    message: Message
    extra: dict[str, Any]

    @property
    def cursor(self) -> str:
        return f"{self.time}-{self.sequence}"

    def view(self) -> dict[str, Any]:
        shown = {"time": self.time, "state": self.state, **self.extra}
        return views.log_view(self.message, shown)


class EventLog:
    """The newest events; older ones are forgotten, as after QStash's retention."""

    def __init__(self, clock: Clock, limit: int) -> None:
        self._clock = clock
        self._events: deque[Event] = deque(maxlen=limit)
        self._sequence = 0

    def add(self, state: str, message: Message, **extra: Any) -> None:
        """Append an event; `extra` holds the fields of the API that only some states have."""
        self._sequence += 1
        event = Event(self._clock.now_ms(), self._sequence, state, message, extra)
        self._events.append(event)

    def list(self, query: Query, key: str, maximum: int) -> dict[str, Any]:
        """A page under `key`: `logs`, or `events` as the older path calls them."""
        matches = MessageFilter(query)
        states = _states(query)
        found = (
            event
            for event in filters.beyond_cursor(self._events, query, lambda e: (e.time, e.sequence))
            if (not states or event.state in states) and matches(event.message, event.time)
        )
        size = filters.count(query, maximum, maximum)
        chosen, cursor = filters.page(found, size, lambda event: event.cursor)
        listed = {key: [event.view() for event in chosen]}
        return {"cursor": cursor, **listed} if cursor else listed


def _states(query: Query) -> set[str]:
    states = filters.values(query, "state")
    if "IN_PROGRESS" in states:
        states |= _IN_PROGRESS
    if "CANCELLED" in states:  # the OpenAPI document's spelling; events say CANCELED
        states.add("CANCELED")
    return states
