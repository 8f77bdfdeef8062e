from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from qstash import AsyncQStash

from infra.local.qstash import QStashOptions, QStashServer

if TYPE_CHECKING:
    from multidict import CIMultiDict

Respond = Callable[["Received"], Awaitable[web.Response]]


@dataclass
class Received:
    """A request that QStash made to us."""

    method: str
    path: str
    headers: CIMultiDict[str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


async def _ok(_received: Received) -> web.Response:
    return web.Response(text="done")


@dataclass
class Receiver:
    """A real HTTP server as the destination; `respond` decides its answers."""

    url: str = ""
    respond: Respond = _ok
    requests: list[Received] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def handle(self, request: web.Request) -> web.Response:
        received = Received(
            request.method, request.raw_path, request.headers.copy(), await request.read()
        )
        async with self.arrived:
            self.requests.append(received)
            self.arrived.notify_all()
        return await self.respond(received)

    async def wait(self, count: int = 1) -> list[Received]:
        """The first `count` requests, once they are here."""
        async with asyncio.timeout(5), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests[:count]

    async def quiet(self, seconds: float = 0.15) -> int:
        """How many requests there are after a while without waiting for more."""
        await asyncio.sleep(seconds)
        return len(self.requests)

    def answer(self, *statuses: int, headers: dict[str, str] | None = None) -> None:
        """Answer with these statuses in turn, and then with the last of them."""
        left = list(statuses)

        async def respond(_received: Received) -> web.Response:
            status = left.pop(0) if len(left) > 1 else left[0]
            return web.Response(status=status, text=f"{status}", headers=headers)

        self.respond = respond


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A destination."""
    destination = Receiver()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", destination.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    destination.url = f"http://{host}:{port}"
    yield destination
    await runner.cleanup()


@pytest.fixture
async def server() -> AsyncIterator[QStashServer]:
    """A QStash that forgets everything afterwards."""
    async with QStashServer(QStashOptions(shutdown_grace=0)) as running:
        yield running


@pytest.fixture
def client(server: QStashServer) -> AsyncQStash:
    """The official SDK."""
    return AsyncQStash(server.token, base_url=server.url, retry=False)


Eventually = Callable[[Callable[[], Awaitable[Any]]], Awaitable[Any]]


async def eventually(look: Callable[[], Awaitable[Any]]) -> Any:
    """The first truthy thing that `look` returns."""
    async with asyncio.timeout(5):
        while True:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.01)
