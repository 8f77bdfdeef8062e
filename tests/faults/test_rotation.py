"""Keys and tokens change while jobs run: no delivery is lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from stashjobs.producer import qstash_client

if TYPE_CHECKING:
    from tests.faults.conftest import Faults

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_signing_keys_are_rotated_in_the_middle_of_a_run(faults: Faults) -> None:
    ids = await faults.enqueue(20, seconds=0.02)
    await faults.until(lambda: len(faults.network.answers) >= 5)
    rotated = await asyncio.to_thread(qstash_client.qstash().signing_key.rotate)
    # Warm functions still have the old pair, whose next key is now the current one.
    ids += await faults.enqueue(20, seconds=0.02)
    await faults.until(lambda: len(faults.network.answers) >= 25)
    faults.system.configure(
        QSTASH_CURRENT_SIGNING_KEY=rotated.current, QSTASH_NEXT_SIGNING_KEY=rotated.next
    )
    while faults.system.kill_process("FaultyFunction"):  # noqa: ASYNC110
        await asyncio.sleep(0.05)
    ids += await faults.enqueue(20)
    assert {row["status"] for row in await faults.ended()} == {"completed"}
    assert await faults.effects() == dict.fromkeys(ids, 1)
    assert 401 not in faults.network.answers


async def test_the_token_is_rotated_in_the_middle_of_a_run(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is enqueued with the old one is recorded, and published with the new one."""
    ids = await faults.enqueue(5)
    monkeypatch.setenv("QSTASH_TOKEN", "revoked")
    ids += await faults.enqueue(5)
    assert (await faults.relay()).published == 0
    monkeypatch.setenv("QSTASH_TOKEN", faults.system.qstash.token)
    assert (await faults.relay()).published == 5
    assert {row["status"] for row in await faults.ended()} == {"completed"}
    assert await faults.effects() == dict.fromkeys(ids, 1)
