"""The whole local system, for tests."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from infra.local.stack import Stack, in_thread
from stashjobs import database, dispatcher, lookup

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import pytest

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 30.0

Result = TypeVar("Result")


@asynccontextmanager
async def local_stack(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    """A stack of this checkout, and its settings in the environment, as a producer has them."""
    async with Stack(ROOT, home, durable=False) as stack:
        for name, value in stack.environment.items():
            monkeypatch.setenv(name, value)
        yield stack


async def as_an_app(work: Callable[[], Result]) -> Result:
    """Do blocking work, such as an enqueue, in a thread that leaves nothing open."""

    def do() -> Result:
        try:
            return work()
        finally:
            database.close()
            dispatcher.close()

    return await in_thread(do)


async def ended(job_id: str) -> lookup.JobExecution:
    """The job once it has ended."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        found = await as_an_app(lambda: lookup.find(database.connection(), job_id))
        if found is not None and found.completed_at:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{job_id} has not ended after {PATIENCE_SECONDS:.0f} s")
