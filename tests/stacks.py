"""The whole local system, for tests."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import Future
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from infra.local.stack import Stack, in_thread
from stashjobs.operators import search
from stashjobs.producer import qstash_client
from stashjobs.store import database
from tests.clusters import make_ready

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    import pytest

ROOT = Path(__file__).parents[1]
PATIENCE_SECONDS = 120.0
START_SECONDS = 120.0

Result = TypeVar("Result")


@asynccontextmanager
async def local_stack(home: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Stack]:
    """A stack of this checkout, and its settings in the environment, as a producer has them."""
    make_ready(home / "postgres")
    async with Stack(ROOT, home, durable=False) as stack:
        # The settings that a `make dev` left in this checkout are not those of this stack, and a
        # test may take one of the stack's own away.
        (home / "no-settings").mkdir()
        (home / "no-settings" / "dev.env").touch()
        monkeypatch.setenv("STASHJOBS_HOME", str(home / "no-settings"))
        for name, value in stack.environment.items():
            monkeypatch.setenv(name, value)
        yield stack


@contextmanager
def stack_in_a_thread(home: Path, **options: Any) -> Iterator[Stack]:
    """The same for tests whose calls wait, as Playwright's and a subprocess's do."""
    make_ready(home / "postgres")
    started: Future[Stack] = Future()
    stopper: Future[Callable[[], object]] = Future()

    async def run() -> None:
        loop, end = asyncio.get_running_loop(), asyncio.Event()
        try:
            async with Stack(ROOT, home, durable=False, **options) as running:
                stopper.set_result(lambda: loop.call_soon_threadsafe(end.set))
                started.set_result(running)
                await end.wait()
        except BaseException as error:
            if not started.done():
                started.set_exception(error)
            raise

    thread = threading.Thread(target=lambda: asyncio.run(run()))
    thread.start()
    try:
        yield started.result(START_SECONDS)
    finally:
        if stopper.done():
            stopper.result()()
        thread.join()


async def as_an_app(work: Callable[[], Result]) -> Result:
    """Do blocking work, such as an enqueue, in a thread that leaves nothing open."""

    def do() -> Result:
        try:
            return work()
        finally:
            database.close()
            qstash_client.close()

    return await in_thread(do)


async def ended(job_id: str) -> search.JobExecution:
    """The job once it has ended."""
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        found = await as_an_app(lambda: search.find(database.connection(), job_id))
        if found is not None and found.completed_at:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{job_id} has not ended after {PATIENCE_SECONDS:.0f} s")
