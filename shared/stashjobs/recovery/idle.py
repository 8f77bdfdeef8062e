"""While nothing is open, a database that could sleep is left alone (`IDLE_MINUTES`).

The relay and the monitor are called every minute. What they found last is remembered by the warm
process: where nothing was open then, and QStash has heard of nothing since, there is nothing to
look for. Any message that is published or delivered arms them, since QStash's log has it.
"""

from __future__ import annotations

import time

from stashjobs.config import settings
from stashjobs.producer import qstash_client

# QStash's clock is not ours.
CLOCK_GRACE_SECONDS = 10.0
# The schedule is no clockwork: a look that is due within so long is taken now.
SCHEDULE_GRACE_SECONDS = 30.0


class Idle:
    """What one process remembers of its last look."""

    def __init__(self) -> None:
        self._empty_at: float | None = None

    def is_wanted(self) -> bool:
        """Whether `IDLE_MINUTES` asks for less than a look every minute.

        Raises:
            SettingError: It is no number.
        """
        return self._minutes() > 1

    def is_certain(self) -> bool:
        """Whether Postgres need not be asked now.

        False without `IDLE_MINUTES`, where the last look found something or is so many minutes
        old, where QStash has logged anything since, and where it cannot be asked.

        Raises:
            SettingError: `IDLE_MINUTES` is no number.
        """
        if self._empty_at is None or not self.is_wanted():
            return False
        if time.time() >= self._empty_at + self._minutes() * 60 - SCHEDULE_GRACE_SECONDS:
            return False
        since = int((self._empty_at - CLOCK_GRACE_SECONDS) * 1000)
        try:
            return not qstash_client.qstash().log.list(count=1, filter={"from_time": since}).logs
        except Exception:  # noqa: BLE001 - then it is not certain
            return False

    def remember(self, began: float, *, empty: bool) -> None:
        """What a look found that began then (Unix seconds)."""
        self._empty_at = began if empty else None

    @staticmethod
    def _minutes() -> int:
        return settings.whole_number("IDLE_MINUTES", 1)
