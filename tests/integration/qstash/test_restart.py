from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from infra.local.qstash import QStashOptions, QStashServer
from tests.integration.qstash.support import Received, Receiver, eventually, id_of, sdk

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def options(tmp_path: Path) -> QStashOptions:
    return QStashOptions(state=tmp_path / "qstash.db", shutdown_grace=0)


async def test_everything_pending_survives(options: QStashOptions, receiver: Receiver) -> None:
    receiver.answer(418)
    async with QStashServer(options) as first, sdk(first) as client:
        credentials = (first.token, first.current_signing_key, first.next_signing_key)
        delayed = await client.message.publish(url=receiver.url, body=b"\xff", delay=60)
        await client.message.publish(url=receiver.url, retries=0, deduplication_id="d")
        await client.queue.upsert("q", parallelism=4, paused=True)
        await client.message.enqueue(queue="q", url=receiver.url, body="queued")
        await client.url_group.upsert_endpoints("g", [{"url": receiver.url, "name": "n"}])
        await client.schedule.create(destination="g", cron="* * * * *", schedule_id="s")
        await client.flow_control.pin("k", {"rate": 7})

        async def filed() -> bool:
            return len((await client.dlq.list()).messages) == 1

        await eventually(filed)
        letters = (await client.dlq.list()).messages
        message = await client.message.get(id_of(delayed))
    receiver.answer(200)
    async with QStashServer(options) as second, sdk(second) as client:
        assert (second.token, second.current_signing_key, second.next_signing_key) == credentials
        assert await client.message.get(id_of(delayed)) == message
        assert (await client.dlq.list()).messages == letters
        assert (await client.queue.get("q")).parallelism == 4
        assert (await client.queue.get("q")).lag == 1
        assert (await client.url_group.get("g")).endpoints[0].name == "n"
        assert (await client.schedule.get("s")).destination == "g"
        assert (await client.flow_control.get("k")).rate_max == 7
        again = await client.message.publish(url=receiver.url, deduplication_id="d")
        assert getattr(again, "deduplicated", False)
        before = len(receiver.requests)
        second.advance(61)
        await receiver.wait(before + 2)
        await client.queue.resume("q")

        async def all_arrived() -> bool:
            bodies = {one.body for one in receiver.requests[before:]}
            return bodies == {b"\xff", b"", b"queued"}

        await eventually(all_arrived)


async def test_a_delivery_cut_off_by_the_stop_is_made_again(
    options: QStashOptions, receiver: Receiver
) -> None:
    async def hang(_received: Received) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    receiver.respond = hang
    async with QStashServer(options) as first, sdk(first) as client:
        await client.message.publish(url=receiver.url)
        await receiver.wait(1)
    receiver.answer(200)
    async with QStashServer(options):
        requests = await receiver.wait(2)
    ids = {one.headers["Upstash-Message-Id"] for one in requests}
    assert len(ids) == 1


async def test_a_queue_keeps_its_order_over_a_restart(
    options: QStashOptions, receiver: Receiver
) -> None:
    receiver.answer(500)
    async with QStashServer(options) as first, sdk(first) as client:
        for number in range(3):
            await client.message.enqueue(
                queue="q", url=receiver.url, body=str(number), retry_delay="60000"
            )

        async def failed_once() -> bool:
            return len((await client.log.list()).logs) == 6

        await eventually(failed_once)
    receiver.answer(200)
    async with QStashServer(options) as second:
        assert await receiver.quiet(0.1) == 1
        second.advance(61)
        assert [one.text for one in await receiver.wait(4)] == ["0", "0", "1", "2"]


async def test_nothing_runs_after_the_stop(receiver: Receiver) -> None:
    before = asyncio.all_tasks()
    server = await QStashServer(QStashOptions(shutdown_grace=0)).start()
    async with sdk(server) as client:
        await client.message.publish(url=receiver.url, delay=60)
    await server.stop()
    await asyncio.sleep(0)
    assert {task.get_name() for task in asyncio.all_tasks() - before} == set()
