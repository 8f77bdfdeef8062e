from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from qstash.errors import QStashError
from qstash.log import LogState

from tests.integration.qstash.support import Received, Receiver, call, eventually

if TYPE_CHECKING:
    from qstash import AsyncQStash

    from infra.local.qstash import QStashServer


async def _enqueue(
    client: AsyncQStash, receiver: Receiver, count: int, callback: str | None = None
) -> None:
    for number in range(count):
        await client.message.enqueue(
            queue="q", url=receiver.url, body=str(number), retry_delay="60000", callback=callback
        )


async def test_a_queue_can_be_created_changed_listed_and_deleted(client: AsyncQStash) -> None:
    await client.queue.upsert("q", parallelism=3)
    queue = await client.queue.get("q")
    assert (queue.name, queue.parallelism, queue.paused, queue.lag) == ("q", 3, False, 0)
    assert queue.updated_at >= queue.created_at > 1_600_000_000_000
    await client.queue.upsert("q", parallelism=5, paused=True)
    [queue] = await client.queue.list()
    assert (queue.parallelism, queue.paused) == (5, True)
    await client.queue.delete("q")
    assert await client.queue.list() == []


async def test_enqueueing_creates_the_queue(client: AsyncQStash, receiver: Receiver) -> None:
    await _enqueue(client, receiver, 1)
    assert (await client.queue.get("q")).parallelism == 1


async def test_messages_are_delivered_one_by_one_in_order(
    client: AsyncQStash, receiver: Receiver
) -> None:
    active = most = 0

    async def respond(_received: Received) -> web.Response:
        nonlocal active, most
        active += 1
        most = max(most, active)
        await asyncio.sleep(0.002)
        active -= 1
        return web.Response()

    receiver.respond = respond
    await _enqueue(client, receiver, 10)
    assert [one.text for one in await receiver.wait(10)] == [str(n) for n in range(10)]
    assert most == 1


async def test_the_next_message_waits_for_the_retries_of_the_first(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    receiver.answer(500, 200)
    await _enqueue(client, receiver, 2)
    await receiver.wait(1)
    assert await receiver.quiet() == 1
    assert (await client.queue.get("q")).lag == 2
    server.advance(61)
    assert [one.text for one in await receiver.wait(3)] == ["0", "0", "1"]


async def test_the_next_message_waits_for_the_callback_of_the_first(
    client: AsyncQStash, receiver: Receiver
) -> None:
    release = asyncio.Event()

    async def respond(received: Received) -> web.Response:
        if received.path == "/callback":
            await release.wait()
        return web.Response()

    receiver.respond = respond
    await _enqueue(client, receiver, 2, callback=f"{receiver.url}/callback")
    await receiver.wait(2)
    assert await receiver.quiet() == 2
    release.set()
    assert [one.path for one in await receiver.wait(4)] == ["/", "/callback", "/", "/callback"]


async def test_a_failed_message_lets_the_next_one_go(
    client: AsyncQStash, receiver: Receiver
) -> None:
    receiver.answer(489, 200, headers={"Upstash-NonRetryable-Error": "true"})
    await _enqueue(client, receiver, 2)
    await receiver.wait(2)


async def test_parallelism_lets_that_many_run(client: AsyncQStash, receiver: Receiver) -> None:
    release = asyncio.Event()

    async def respond(_received: Received) -> web.Response:
        await release.wait()
        return web.Response()

    receiver.respond = respond
    await client.queue.upsert("q", parallelism=3)
    await _enqueue(client, receiver, 5)
    await receiver.wait(3)
    assert await receiver.quiet() == 3
    release.set()
    await receiver.wait(5)


async def test_a_paused_queue_accepts_and_holds(client: AsyncQStash, receiver: Receiver) -> None:
    await client.queue.upsert("q")
    await client.queue.pause("q")
    await _enqueue(client, receiver, 2)
    assert await receiver.quiet() == 0
    assert (await client.queue.get("q")).lag == 2
    await client.queue.resume("q")
    await receiver.wait(2)


async def test_a_canceled_message_leaves_the_line(client: AsyncQStash, receiver: Receiver) -> None:
    await client.queue.upsert("q", paused=True)
    await _enqueue(client, receiver, 3)
    ids = [log.message_id for log in (await client.log.list()).logs]  # the newest first
    assert await client.message.cancel_many([ids[1]]) == 1
    await client.queue.resume("q")
    assert [one.text for one in await receiver.wait(2)] == ["0", "2"]
    assert await receiver.quiet(0.05) == 2


async def test_deleting_a_queue_cancels_what_waits_in_it(
    client: AsyncQStash, receiver: Receiver
) -> None:
    await client.queue.upsert("q", paused=True)
    await _enqueue(client, receiver, 2)
    await client.queue.delete("q")

    async def canceled() -> bool:
        return len((await client.log.list(filter={"state": LogState.CANCELED})).logs) == 2

    await eventually(canceled)
    assert await receiver.quiet(0.05) == 0


async def test_parallelism_must_be_positive(client: AsyncQStash) -> None:
    with pytest.raises(QStashError, match="invalid parallelism: 0"):
        await client.queue.upsert("q", parallelism=0)


async def test_the_documented_path_with_a_slash_works(server: QStashServer) -> None:
    """Docs, "Controlled Parallelism"."""
    body = {"queueName": "my-queue", "parallelism": 5}
    assert await call(server, "POST", "/v2/queues/", json=body) == (200, None)
    assert (await call(server, "GET", "/v2/queues/my-queue"))[1]["parallelism"] == 5
