"""A destination for deliveries, and patience."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from qstash import AsyncQStash
from qstash.message import PublishResponse

if TYPE_CHECKING:
    from infra.local.qstash import QStashServer

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
        async with asyncio.timeout(60), self.arrived:
            await self.arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests[:count]

    async def quiet(self, seconds: float = 0.1) -> int:
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


async def eventually(look: Callable[[], Awaitable[Any]]) -> Any:
    """The first truthy thing that `look` returns."""
    async with asyncio.timeout(60):
        while True:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.01)


@asynccontextmanager
async def sdk(server: QStashServer, token: str | None = None) -> AsyncIterator[AsyncQStash]:
    """The official client. It has no way to close its connections, so we do."""
    client = AsyncQStash(token or server.token, base_url=server.url, retry=False)
    yield client
    await client.http._client.aclose()


async def call(server: QStashServer, method: str, path: str, **request: Any) -> tuple[int, Any]:
    """What the SDK does not offer: the status of an answer and its JSON, None where it has none."""
    headers = {"Authorization": f"Bearer {server.token}", **request.pop("headers", {})}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, server.url + path, headers=headers, **request) as response,
    ):
        text = await response.text()
        return response.status, json.loads(text) if text else None


def id_of(published: object) -> str:
    """The message id of a publication to one URL."""
    assert isinstance(published, PublishResponse)
    return published.message_id
