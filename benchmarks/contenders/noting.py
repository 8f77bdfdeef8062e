"""The work that every queue does in the stack's benchmark: note when a job was sent and run."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FILE = "MEASURED_FILE"


async def paced(send: Callable[[], Awaitable[object]], count: int, rate: float) -> None:
    """Send so many, so many a second; where one takes longer than its turn, the next ones follow at
    once until they have caught up."""
    began = time.monotonic()
    for number in range(count):
        await asyncio.sleep(began + number / rate - time.monotonic())
        await send()


def note(sent: float) -> None:
    """One line, in one write, so that workers at the same time do not mix theirs."""
    with open(os.environ[FILE], "a") as file:  # noqa: PTH123 - a worker appends thousands of times
        file.write(f"{sent} {time.time()}\n")
