"""A website that is open in the browser of this machine, and the servers that listen on it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import aiohttp
import pytest

from infra.local.mailbox import Mailbox
from infra.local.own_site import objection
from infra.local.qstash import QStashServer
from infra.local.s3 import BUCKET, S3
from infra.local.stripe import Stripe

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ROOT = Path(__file__).parents[3]
TOKEN = {"bearer": "sk_test_x"}
PATHS = {"mailbox": "/", "qstash": "/v2/dlq", "s3": f"/{BUCKET}", "stripe": "/v1/customers"}


@pytest.fixture(params=sorted(PATHS))
async def server(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[str, str]]:
    """Each of them by its URL, with a path that it answers."""
    path, log = PATHS[request.param], tmp_path / "log"
    if request.param == "mailbox":
        async with Mailbox() as mailbox:
            yield mailbox.url, path
    elif request.param == "qstash":
        async with QStashServer() as qstash:
            monkeypatch.setitem(TOKEN, "bearer", qstash.token)
            yield qstash.url, path
    else:
        program = (
            S3(ROOT, 0, log)
            if request.param == "s3"
            else Stripe(
                ROOT,
                0,
                log,
                state=tmp_path / "stripe",
                webhook_url="http://127.0.0.1:9/",
                webhook_secret="whsec_x",
            )
        )
        program.start()
        try:
            yield program.url, path
        finally:
            await asyncio.to_thread(program.stop)


async def ask(url: str, method: str = "GET", **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    bearer = {"Authorization": f"Bearer {TOKEN['bearer']}"}
    async with (
        aiohttp.ClientSession() as session,
        session.request(method, url, headers={**bearer, **named}) as got,
    ):
        return got.status


async def test_a_website_gets_nothing_from_the_servers_of_this_machine(
    server: tuple[str, str],
) -> None:
    url, path = server
    port = urlsplit(url).port
    assert await ask(url + path) == 200

    # By a script of its own, which reads the answer where it is let.
    assert await ask(url + path, Origin="https://evil.example") == 403
    assert await ask(url + path, Origin="null") == 403
    assert await ask(url + path, Origin="http://localhost:3000") == 403
    # By a form, and by a browser that says no Origin.
    assert await ask(url + path, "POST", Origin="https://evil.example") == 403
    assert await ask(url + path, "POST", Sec_Fetch_Site="cross-site") == 403
    assert await ask(url + path, "DELETE", Sec_Fetch_Site="same-site") == 403
    # By DNS rebinding: its own name leads to 127.0.0.1 by now, and its pages are of one origin.
    assert await ask(url + path, Host=f"evil.example:{port}") == 403
    rebound = f"http://evil.example:{port}"
    assert await ask(url + path, Host=f"evil.example:{port}", Origin=rebound) == 403

    # A page of its own, and a link to it from elsewhere.
    assert await ask(url + path, Origin=url) == 200
    assert await ask(url + path, Host=f"localhost:{port}") == 200
    assert await ask(url + path, Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate") == 200


@pytest.mark.parametrize(
    ("host", "listening_on", "refused"),
    [
        ("127.0.0.1:8700", "127.0.0.1", False),
        ("[::1]:8700", "127.0.0.1", False),
        ("LOCALHOST", "127.0.0.1", False),
        ("127.0.0.1.evil.example", "127.0.0.1", True),
        ("localhost.evil.example", "127.0.0.1", True),
        ("[evil", "127.0.0.1", True),
        ("", "127.0.0.1", True),
        ("192.168.1.5:80", "127.0.0.1", True),
        ("192.168.1.5:80", "192.168.1.5", False),
        ("qstash:8080", "::", False),
    ],
)
def test_which_hosts_are_this_machine(host: str, listening_on: str, *, refused: bool) -> None:
    assert bool(objection("GET", {"Host": host}, listening_on)) == refused
