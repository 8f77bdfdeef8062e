"""An `async def` job runs in an event loop of its own, which ends with the attempt."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from stashjobs.errors import DeadlineNear

if TYPE_CHECKING:
    from collections.abc import Awaitable

# What is cancelled at the deadline has so long to tidy up, in seconds.
TIDY_UP_SECONDS = 0.5


def run(awaitable: Awaitable[Any], deadline: float) -> Any:
    """The result of what an async job's function returned.

    Args:
        awaitable: It is cancelled at the deadline.
        deadline: Unix time, in seconds.

    Raises:
        DeadlineNear: It was cancelled at its deadline.
        BaseException: Whatever it raises.
    """
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(_until(awaitable, deadline))
    finally:
        # Not `asyncio.run`, which would wait for ever for a task that ignores its cancellation.
        _end(loop)


async def _until(awaitable: Awaitable[Any], deadline: float) -> Any:
    began = time.time()
    limit = asyncio.timeout(max(0.0, deadline - began))
    try:
        async with limit:
            return await awaitable
    except TimeoutError as error:
        if not limit.expired():
            raise
        seconds = time.time() - began
        raise DeadlineNear(
            f"the attempt was stopped at its deadline, after {seconds:.1f} s"
        ) from error


def _end(loop: asyncio.AbstractEventLoop) -> None:
    try:
        if left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.wait(left, timeout=TIDY_UP_SECONDS))
        loop.run_until_complete(
            asyncio.wait_for(loop.shutdown_asyncgens(), timeout=TIDY_UP_SECONDS)
        )
    finally:
        loop.close()
