"""One HTTP request to a destination, and the seam where tests make the network misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from .model import Headers
from .options import canonical


@dataclass(frozen=True)
class DeliveryRequest:
    """What is about to be sent."""

    method: str
    url: str
    headers: Headers
    body: bytes
    timeout: float
    message_id: str
    retried: int


@dataclass(frozen=True)
class DeliveryResponse:
    """What came back."""

    status: int
    headers: Headers
    body: bytes


class DeliveryError(Exception):
    """No response: the connection failed, broke or took too long."""


Send = Callable[[DeliveryRequest], Awaitable[DeliveryResponse]]


class Faults(Protocol):
    """Wraps every delivery. Call `send` never, once or twice; change what it returns; sleep before
    or after it; raise DeliveryError to lose the response.
    """

    async def deliver(self, send: Send, request: DeliveryRequest) -> DeliveryResponse: ...


class NoFaults:
    """The network as it is."""

    async def deliver(self, send: Send, request: DeliveryRequest) -> DeliveryResponse:
        return await send(request)


class Transport:
    """An aiohttp client that adds no header of its own."""

    def __init__(self, faults: Faults, max_body: int) -> None:
        self._faults = faults
        self._max_body = max_body
        self._session: aiohttp.ClientSession | None = None

    async def open(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=2),
            cookie_jar=aiohttp.DummyCookieJar(),
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def deliver(self, request: DeliveryRequest) -> DeliveryResponse:
        """Send through the faults hook; raises DeliveryError where no response came."""
        return await self._faults.deliver(self._send, request)

    async def _send(self, request: DeliveryRequest) -> DeliveryResponse:
        """Redirects are followed as Go's client does it; what QStash does is undocumented."""
        if self._session is None:
            raise DeliveryError("the server is stopping")
        headers = CIMultiDict(
            (k, value) for k, values in request.headers.items() for value in values
        )
        try:
            async with self._session.request(
                request.method,
                URL(request.url, encoded=True),
                data=request.body or None,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=request.timeout),
            ) as response:
                return await self._read(response)
        except TimeoutError as error:
            # Go's words for an expired deadline; what QStash logs is undocumented.
            raise DeliveryError("context deadline exceeded") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise DeliveryError(str(error) or type(error).__name__) from error

    async def _read(self, response: aiohttp.ClientResponse) -> DeliveryResponse:
        # Docs, "Callbacks": a body over the plan's message size may be truncated.
        body = bytearray()
        async for chunk in response.content.iter_chunked(65536):
            body += chunk
            if len(body) >= self._max_body:
                break
            await asyncio.sleep(0)
        headers: Headers = {}
        for name, value in response.headers.items():
            headers.setdefault(canonical(name), []).append(value)
        return DeliveryResponse(response.status, headers, bytes(body[: self._max_body]))
