"""Rate and parallelism per flow-control key (docs: "Flow Control"; OpenAPI, `/v2/flowControl`)."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .errors import bad_request, not_found
from .model import FlowControl, Message
from .options import MAX_PERIOD_SECONDS

if TYPE_CHECKING:
    from .store import Store

KIND = "flow_control"


@dataclass
class Key:
    """The limits of one key, what is running under them, and who waits."""

    name: str
    parallelism: int | None = None
    rate: int | None = None
    period: int = 1
    paused: bool = False
    pinned_parallelism: bool = False
    pinned_rate: bool = False
    active: int = 0
    dispatched: int = 0
    period_start: int = 0
    waiting: deque[Message] = field(default_factory=deque)
    wakes_at: int = 0  # the timer already set for the end of the period, not to set it twice

    def configure(self, control: FlowControl) -> None:
        """Take over what an incoming message asks for, except what is pinned."""
        if not self.pinned_parallelism:
            self.parallelism = control.parallelism
        if not self.pinned_rate:
            self.rate, self.period = control.rate, control.period

    def wait_ms(self, now_ms: int) -> int | None:
        """0 to go ahead, milliseconds until the next period, None until something else changes."""
        if self.paused:
            return None
        if self.parallelism is not None and self.active >= self.parallelism:
            return None
        if self.rate is None:
            return 0
        end = self.period_start + self.period * 1000
        if now_ms >= end:
            self.period_start, self.dispatched = now_ms, 0
            return 0
        return 0 if self.dispatched < self.rate else end - now_ms

    def take(self) -> None:
        self.active += 1
        self.dispatched += 1

    def reset_rate(self, now_ms: int) -> None:
        """ "The current timestamp becomes the start of the new rate period." """
        self.dispatched, self.period_start = 0, now_ms

    def view(self) -> dict[str, Any]:
        """OpenAPI, `FlowControlKey`."""
        return {
            "flowControlKey": self.name,
            "waitListSize": len(self.waiting),
            "parallelismMax": self.parallelism or 0,
            "parallelismCount": self.active,
            "rateMax": self.rate or 0,
            "rateCount": self.dispatched,
            "ratePeriod": self.period,
            "ratePeriodStart": self.period_start // 1000,
            "isPaused": self.paused,
            "isPinnedParallelism": self.pinned_parallelism,
            "isPinnedRate": self.pinned_rate,
        }


_SAVED = (
    "name",
    "parallelism",
    "rate",
    "period",
    "paused",
    "pinned_parallelism",
    "pinned_rate",
)


class FlowControlKeys:
    """All keys ever used. Limits survive a restart; counts start anew."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._keys = {document["name"]: Key(**document) for document in store.load(KIND)}

    def get(self, name: str) -> Key:
        key = self._keys.get(name)
        if key is None:
            raise not_found("flow control key", name)
        return key

    def search(self, part: str) -> list[Key]:
        return [key for name, key in self._keys.items() if part in name]

    def configure(self, control: FlowControl) -> Key:
        """The key of a message, with the message's settings."""
        key = self.ensure(control.key)
        before = (key.parallelism, key.rate, key.period)
        key.configure(control)
        if before != (key.parallelism, key.rate, key.period):
            self.save(key)
        return key

    def ensure(self, name: str) -> Key:
        """The key, created if need be: pausing or pinning may come before the first message."""
        return self._keys.setdefault(name, Key(name))

    def save(self, key: Key) -> None:
        self._store.put(KIND, key.name, {name: getattr(key, name) for name in _SAVED})

    def pin(
        self, name: str, parallelism: int | None, rate: int | None, period: int | None, now_ms: int
    ) -> Key:
        """OpenAPI, `pin`: fix the limits until unpinned, and start counting anew."""
        if parallelism is None and rate is None:
            raise bad_request("parallelism or rate must be provided")  # undocumented wording
        numbers = {"parallelism": parallelism, "rate": rate, "period": period}
        for option, value in numbers.items():
            if value is not None and value < 1:
                raise bad_request(f"invalid {option}: {value}")
        if period is not None and period > MAX_PERIOD_SECONDS:
            raise bad_request(f"invalid period: {period}")
        key = self.ensure(name)
        if parallelism is not None:
            key.parallelism, key.pinned_parallelism = parallelism, True
        if rate is not None:
            key.rate, key.period, key.pinned_rate = rate, period or key.period, True
        key.reset_rate(now_ms)
        self.save(key)
        return key

    def unpin(self, name: str, *, parallelism: bool, rate: bool) -> None:
        """OpenAPI, `unpin`: the next message's settings count again."""
        key = self.ensure(name)
        if parallelism:
            key.pinned_parallelism = False
        if rate:
            key.pinned_rate = False
        self.save(key)
