"""One heap of everything that happens later, and the task that lets it happen."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from .clock import Clock

_LONGEST_SLEEP = 3600.0
_BURST = 100


class Timers:
    """Calls `action` once its time on the clock has come. Timers are never removed: the callback
    checks whether it still matters.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._heap: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._changed = asyncio.Event()

    def at(self, time_ms: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._heap, (time_ms, next(self._order), action))
        if self._heap[0][0] >= time_ms:
            self._changed.set()

    def wake(self) -> None:
        """The clock moved: look again."""
        self._changed.set()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self._changed.clear()
            await self._run_due()
            delay = _LONGEST_SLEEP
            if self._heap:
                delay = min(delay, self._clock.real_seconds_until(self._heap[0][0]))
            try:
                async with asyncio.timeout(delay):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _run_due(self) -> None:
        ran = 0
        while self._heap and self._heap[0][0] <= self._clock.now_ms():
            heapq.heappop(self._heap)[2]()
            ran += 1
            if ran % _BURST == 0:
                await asyncio.sleep(0)  # a crowd of due timers must not silence the API
