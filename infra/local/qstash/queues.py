"""Ordered queues (docs: "Queues"; OpenAPI, `/v2/queues`)."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .errors import bad_request, not_found, quota_exceeded
from .model import Limits, Message, Queue, from_document, to_document

if TYPE_CHECKING:
    from .clock import Clock
    from .store import Store

KIND = "queue"
_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass
class Lane:
    """A queue, its messages in order, and those that hold one of its `parallelism` places.

    A message holds its place over retries and until its callbacks have ended ("Ordered Delivery").
    """

    queue: Queue
    waiting: deque[Message] = field(default_factory=deque)
    holding: set[str] = field(default_factory=set)

    @property
    def lag(self) -> int:
        """Unprocessed messages: waiting or being worked on."""
        return len(self.waiting) + len(self.holding)

    @property
    def open(self) -> bool:
        return not self.queue.paused and len(self.holding) < self.queue.parallelism


class Queues:
    """The queues of the account by name."""

    def __init__(self, clock: Clock, store: Store, limits: Limits) -> None:
        self._clock = clock
        self._store = store
        self._limits = limits
        loaded = (from_document(Queue, document) for document in store.load(KIND))
        self._lanes = {queue.name: Lane(queue) for queue in loaded}

    def upsert(self, name: str, parallelism: int | None, paused: bool | None) -> Lane:
        """Create or change; what is None stays as it is."""
        check_name("queue name", name)
        lane = self._lanes.get(name)
        now = self._clock.now_ms()
        if parallelism is not None and parallelism < 1:
            raise bad_request(f"invalid parallelism: {parallelism}")  # undocumented wording
        if parallelism is not None and parallelism > self._limits.max_queue_parallelism:
            raise quota_exceeded("maxQueueParallelism", self._limits.max_queue_parallelism, 412)
        if lane is None:
            if len(self._lanes) >= self._limits.max_queues:
                raise quota_exceeded("maxQueues", self._limits.max_queues, 412)
            lane = self._lanes[name] = Lane(Queue(name, now, now))
        lane.queue.parallelism = parallelism or lane.queue.parallelism
        lane.queue.paused = lane.queue.paused if paused is None else paused
        lane.queue.updated_at = now
        self._store.put(KIND, name, to_document(lane.queue))
        return lane

    def ensure(self, name: str) -> Lane:
        """The lane to enqueue into; "if it doesn't exist, it will be created automatically"."""
        lane = self._lanes.get(name)
        return lane if lane is not None else self.upsert(name, None, None)

    def get(self, name: str) -> Lane:
        check_name("queue name", name)
        lane = self._lanes.get(name)
        if lane is None:
            raise not_found("queue", name)
        return lane

    def find(self, name: str) -> Lane | None:
        return self._lanes.get(name)

    def all(self) -> list[Lane]:
        return list(self._lanes.values())

    def remove(self, name: str) -> list[Message]:
        """Delete a queue; returns the messages that still waited in it."""
        lane = self._lanes.pop(name, None)
        self._store.delete(KIND, name)
        return [] if lane is None else list(lane.waiting)


def check_name(what: str, name: str) -> None:
    """Queue, URL group and schedule names; the rule is documented, the wording is not."""
    if not _NAME.fullmatch(name):
        raise bad_request(
            f"{what} is invalid: it can only contain alphanumeric characters,"
            " hyphens, periods, and underscores"
        )
