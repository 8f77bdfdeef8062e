"""The server's own time, which a test may run faster or move forward."""

from __future__ import annotations

import time


class Clock:
    """Wall time, multiplied by `scale` and shifted by `advance`.

    Delays, backoff, schedules, rate periods and the deduplication window follow this clock.
    Signatures and HTTP timeouts do not: a receiver checks `nbf` and `exp` against real time, and
    answers in real time.
    """

    def __init__(self, scale: float = 1.0) -> None:
        if scale <= 0:
            raise ValueError(f"time_scale must be positive, not {scale}")
        self.scale = scale
        self._epoch = time.time()
        self._start = time.monotonic()
        self._offset = 0.0

    def now(self) -> float:
        """Unix seconds."""
        return self._epoch + (time.monotonic() - self._start) * self.scale + self._offset

    def now_ms(self) -> int:
        """Unix milliseconds, the unit of every timestamp in QStash's API."""
        return int(self.now() * 1000)

    def real_seconds_until(self, at_ms: int) -> float:
        """How long to really sleep until `at_ms` on this clock."""
        return max(0.0, (at_ms / 1000 - self.now()) / self.scale)

    def advance(self, seconds: float) -> None:
        """Move forward. `QStashServer.advance` also wakes whatever became due."""
        if seconds < 0:
            raise ValueError("a clock only moves forward")
        self._offset += seconds
