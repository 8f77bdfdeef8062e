"""Servers of asyncio for tests whose own calls wait: they run in a thread of their own."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

PATIENCE_SECONDS = 120.0

Result = TypeVar("Result")


class Startable(Protocol):
    """A server, as those of infra/local are."""

    def start(self) -> Coroutine[Any, Any, Any]: ...
    def stop(self) -> Coroutine[Any, Any, None]: ...


@contextmanager
def running_in_a_thread(server: Startable) -> Iterator[None]:
    """The server answers while the block lasts. Its loop is closed in any case."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(step: Coroutine[Any, Any, Result]) -> Result:
        return asyncio.run_coroutine_threadsafe(step, loop).result(PATIENCE_SECONDS)

    try:
        run(server.start())
        try:
            yield
        finally:
            run(server.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
