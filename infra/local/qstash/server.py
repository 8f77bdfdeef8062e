"""The server as an object: start it, ask it for its URL and credentials, stop it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from aiohttp import web

from infra.local.own_site import website_guard

from . import message_routes, resource_routes
from .account import Account
from .clock import Clock
from .http_api import ACCOUNT, authentication, refusals, whatever_the_case
from .model import Limits
from .store import Store
from .transport import Faults, NoFaults

if TYPE_CHECKING:
    from types import TracebackType


@dataclass
class QStashOptions:
    """How to run. What is None is remembered from `state`, else generated."""

    host: str = "127.0.0.1"
    port: int = 0
    token: str | None = None
    current_signing_key: str | None = None
    next_signing_key: str | None = None
    state: Path | None = None
    time_scale: float = 1.0
    limits: Limits = field(default_factory=Limits)
    faults: Faults = field(default_factory=NoFaults)
    shutdown_grace: float = 2.0


class QStashServer:
    """A local QStash: `async with QStashServer() as qstash: ... qstash.url, qstash.token ...`.

    Unlike QStash, and like the official `qstash dev`, it delivers to loopback addresses.
    """

    def __init__(self, options: QStashOptions | None = None) -> None:
        self._options = options or QStashOptions()
        self._clock = Clock(self._options.time_scale)
        self._account: Account | None = None
        self._runner: web.AppRunner | None = None
        self._timers: asyncio.Task[None] | None = None
        self._url = ""

    @property
    def url(self) -> str:
        """What `QSTASH_URL` should be."""
        return self._url

    @property
    def token(self) -> str:
        return self._running.token

    @property
    def current_signing_key(self) -> str:
        return self._running.keys.current

    @property
    def next_signing_key(self) -> str:
        return self._running.keys.next

    @property
    def environment(self) -> dict[str, str]:
        """The variables that QStash's SDKs read."""
        return {
            "QSTASH_URL": self.url,
            "QSTASH_TOKEN": self.token,
            "QSTASH_CURRENT_SIGNING_KEY": self.current_signing_key,
            "QSTASH_NEXT_SIGNING_KEY": self.next_signing_key,
        }

    @property
    def pending(self) -> int:
        """How many messages have been accepted and have not ended."""
        return self._running.deliveries.pending

    def advance(self, seconds: float) -> None:
        """Move the server's clock forward; what becomes due happens now."""
        self._clock.advance(seconds)
        self._running.timers.wake()

    async def start(self) -> Self:
        """Listen and begin to deliver. Raises OSError, naming the port, if it is taken."""
        options = self._options
        store = Store(options.state)
        self._account = Account(
            clock=self._clock,
            limits=options.limits,
            store=store,
            faults=options.faults,
            token=options.token,
            current_signing_key=options.current_signing_key,
            next_signing_key=options.next_signing_key,
        )
        try:
            await self._listen()
        except OSError as error:
            await self.stop()
            where = f"{options.host}:{options.port}"
            raise OSError(error.errno, f"cannot listen on {where}: {error.strerror}") from error
        await self._account.transport.open()
        self._account.restore()
        self._timers = asyncio.create_task(self._account.timers.run(), name="qstash timers")
        return self

    async def _listen(self) -> None:
        application = web.Application(
            middlewares=[website_guard(self._options.host), refusals, authentication],
            client_max_size=self._options.limits.max_batch_bytes + 1,
        )
        application[ACCOUNT] = self._running
        application.add_routes(whatever_the_case(message_routes.routes))
        application.add_routes(whatever_the_case(resource_routes.routes))
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._options.host, self._options.port).start()
        host, port = self._runner.addresses[0][:2]
        self._url = f"http://{host}:{port}"

    async def stop(self) -> None:
        """Refuse new requests, let deliveries end, leave nothing running."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
        if self._timers is not None:
            self._timers.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._timers
            self._timers = None
        if self._account is not None:
            await self._account.deliveries.stop(self._options.shutdown_grace)
            await self._account.transport.close()
            self._account.store.close()

    @property
    def _running(self) -> Account:
        if self._account is None:
            raise RuntimeError("the server has not been started")
        return self._account

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
