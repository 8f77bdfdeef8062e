from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import pytest
from qstash import AsyncQStash

ROOT = Path(__file__).parents[3]


async def _start(*arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "infra.local.qstash",
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
async def test_the_command_serves_until_it_is_told_to_stop(how: signal.Signals) -> None:
    process = await _start("--port", "0", "--token", "secret")
    assert process.stdout is not None
    lines = [(await process.stdout.readline()).decode().strip() for _ in range(4)]
    environment = dict(line.split("=", 1) for line in lines)
    assert list(environment) == [
        "QSTASH_URL",
        "QSTASH_TOKEN",
        "QSTASH_CURRENT_SIGNING_KEY",
        "QSTASH_NEXT_SIGNING_KEY",
    ]
    assert environment["QSTASH_TOKEN"] == "secret"
    client = AsyncQStash("secret", base_url=environment["QSTASH_URL"])
    keys = await client.signing_key.get()
    await client.http._client.aclose()
    assert keys.current == environment["QSTASH_CURRENT_SIGNING_KEY"]
    process.send_signal(how)
    _, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")


async def test_a_taken_port_is_a_clear_error() -> None:
    blocker = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    async with blocker:
        port = blocker.sockets[0].getsockname()[1]
        process = await _start("--port", str(port))
        output, errors = await process.communicate()
    assert process.returncode == 2
    assert output == b""
    assert f"127.0.0.1:{port}" in errors.decode()
    assert "--port" in errors.decode()
