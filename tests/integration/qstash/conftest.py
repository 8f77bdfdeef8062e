from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from infra.local.qstash import QStashOptions, QStashServer
from tests.integration.qstash.support import Receiver, sdk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from qstash import AsyncQStash


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
    """A QStash that forgets everything afterwards. Its minute has just begun, so a schedule of each
    minute fires as often as a test moves the clock, whenever the test is run."""
    async with QStashServer(QStashOptions(shutdown_grace=0)) as running:
        running.advance(60 - time.time() % 60)
        yield running


@pytest.fixture
async def client(server: QStashServer) -> AsyncIterator[AsyncQStash]:
    """The official SDK."""
    async with sdk(server) as client:
        yield client
