from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from fastapi.testclient import TestClient

from functions.api.app import app
from functions.api.dashboard import alerts
from infra.local.qstash import QStashOptions, QStashServer
from stashjobs.operators import access
from stashjobs.producer import qstash_client
from tests.integration.api.dashboards import HOST, Browser

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from tests.deliveries import Table

Caller = TestClient


@pytest.fixture
def anonymous(table: Table, settings: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The API, called without a token; QStash is away, so what is enqueued is only recorded."""
    settings.setenv("QSTASH_TOKEN", "token-of-a-test")
    settings.setenv("QSTASH_URL", "http://127.0.0.1:9")
    del table
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def caller(anonymous: TestClient, table: Table) -> Callable[..., TestClient]:
    """Makes a caller whose token has the scopes given."""

    def make(*scopes: str, name: str = "", per_minute: int = 600) -> TestClient:
        name = name or "-".join(scopes)
        token = access.create_token(table.other, name, scopes, per_minute=per_minute)
        return TestClient(
            app, headers={"Authorization": f"Bearer {token}"}, raise_server_exceptions=False
        )

    return make


@pytest.fixture
def browser(anonymous: TestClient, table: Table) -> Iterator[Browser]:
    """Someone who opens the dashboard, and is not signed in."""
    del anonymous, table
    alerts.forget()
    with TestClient(app, base_url=HOST, raise_server_exceptions=False) as client:
        yield Browser(client)


@pytest.fixture
def token(table: Table) -> Callable[..., str]:
    """Makes a token with the scopes given."""

    def make(*scopes: str, name: str = "", per_minute: int = 600) -> str:
        name = name or "-".join(scopes)
        made = access.create_token(table.other, name, scopes, per_minute=per_minute)
        assert made is not None
        return made

    return make


@pytest.fixture
async def qstash(settings: pytest.MonkeyPatch) -> AsyncIterator[QStashServer]:
    """A QStash, which the settings lead to; work that asks it goes `aside`."""
    async with QStashServer(QStashOptions()) as server:
        for name, value in server.environment.items():
            settings.setenv(name, value)
        yield server


@pytest.fixture
def aside() -> Callable[..., Any]:
    """Does blocking work in a thread that leaves nothing open: servers of this loop can answer."""

    async def do(work: Callable[..., Any], *arguments: Any) -> Any:
        def all_of_it() -> Any:
            try:
                return work(*arguments)
            finally:
                qstash_client.close()

        return await asyncio.to_thread(all_of_it)

    return do
