from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fastapi.testclient import TestClient

from functions.api.app import app
from stashjobs import access

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.deliveries import Table

Caller = TestClient


@pytest.fixture
def anonymous(table: Table, settings: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The API, called without a token; QStash is away, so what is enqueued is only recorded."""
    settings.setenv("QSTASH_TOKEN", "token-of-a-test")
    settings.setenv("QSTASH_URL", "http://127.0.0.1:9")
    table.run("TRUNCATE access_tokens, access_rates, access_log, notifications")
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
