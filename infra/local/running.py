"""What has to be started, and is stopped whatever happens."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from types import TracebackType


class Running(ABC):
    """`async with` starts it; leaving the block stops what was started, the last first.

    A subclass starts its parts in `_start`, and registers in `_exits` how each is stopped before it
    starts the next: so a failed start leaves nothing behind.
    """

    def __init__(self) -> None:
        self._exits = contextlib.AsyncExitStack()

    @abstractmethod
    async def _start(self) -> None: ...

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._exits.aclose()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._exits.aclose()
