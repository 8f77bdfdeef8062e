from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from tests.integration.qstash.support import Received, Receiver, eventually

if TYPE_CHECKING:
    from qstash import AsyncQStash
    from qstash.message import FlowControl

    from infra.local.qstash import QStashServer


async def _publish(
    client: AsyncQStash, receiver: Receiver, count: int, control: FlowControl
) -> None:
    for number in range(count):
        await client.message.publish(url=receiver.url, body=str(number), flow_control=control)


async def test_parallelism_limits_what_is_active(client: AsyncQStash, receiver: Receiver) -> None:
    release = asyncio.Event()

    async def respond(_received: Received) -> web.Response:
        await release.wait()
        return web.Response()

    receiver.respond = respond
    await _publish(client, receiver, 5, {"key": "k", "parallelism": 2})
    await receiver.wait(2)
    assert await receiver.quiet() == 2
    info = await client.flow_control.get("k")
    assert (info.parallelism_max, info.parallelism_count, info.wait_list_size) == (2, 2, 3)
    assert (await client.flow_control.get_global_parallelism()).parallelism_count == 2
    release.set()
    await receiver.wait(5)


async def test_what_a_schedule_fires_waits_for_its_key_too(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    control: FlowControl = {"key": "k", "parallelism": 1}
    await client.schedule.create(
        destination=receiver.url, cron="* * * * *", body="fired", flow_control=control
    )
    await client.flow_control.pause("k")
    server.advance(60)

    async def waits() -> bool:
        return (await client.flow_control.get("k")).wait_list_size == 1

    await eventually(waits)
    assert await receiver.quiet() == 0
    await client.flow_control.resume("k")
    assert (await receiver.wait(1))[0].text == "fired"


async def test_failure_callbacks_wait_for_their_own_key(
    client: AsyncQStash, receiver: Receiver
) -> None:
    """Docs, "Configuring Callbacks": the headers of a message, under the callback's prefix."""
    release = asyncio.Event()

    async def respond(received: Received) -> web.Response:
        if received.path != "/failed":
            return web.Response(status=500)
        await release.wait()
        return web.Response()

    receiver.respond = respond
    for _ in range(3):
        await client.message.publish(
            url=f"{receiver.url}/job",
            retries=0,
            failure_callback=f"{receiver.url}/failed",
            failure_callback_headers={
                "Flow-Control-Key": "failures",
                "Flow-Control-Value": "parallelism=1",
            },
        )
    await receiver.wait(4)
    assert await receiver.quiet() == 4
    assert (await client.flow_control.get("failures")).wait_list_size == 2
    release.set()
    await receiver.wait(6)


async def test_rate_limits_each_period(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    await _publish(client, receiver, 5, {"key": "k", "rate": 2, "period": "1m"})
    await receiver.wait(2)
    assert await receiver.quiet() == 2
    info = await client.flow_control.get("k")
    assert (info.rate_max, info.rate_count, info.rate_period) == (2, 2, 60)
    server.advance(60)
    await receiver.wait(4)
    assert await receiver.quiet() == 4
    server.advance(60)
    assert [one.text for one in await receiver.wait(5)] == ["0", "1", "2", "3", "4"]


async def test_a_retry_uses_up_the_rate_too(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    receiver.answer(500, 200, headers={"Retry-After": "0"})
    await _publish(client, receiver, 1, {"key": "k", "rate": 1, "period": "1h"})
    await receiver.wait(1)
    assert await receiver.quiet() == 1
    server.advance(3600)
    await receiver.wait(2)


async def test_keys_do_not_hinder_each_other(client: AsyncQStash, receiver: Receiver) -> None:
    await _publish(client, receiver, 2, {"key": "a", "rate": 1, "period": "1h"})
    await _publish(client, receiver, 1, {"key": "b", "rate": 1, "period": "1h"})
    await receiver.wait(2)
    assert await receiver.quiet() == 2


async def test_a_paused_key_holds_its_messages(client: AsyncQStash, receiver: Receiver) -> None:
    await client.flow_control.pause("k")
    assert (await client.flow_control.get("k")).is_paused
    await _publish(client, receiver, 2, {"key": "k", "parallelism": 5})
    assert await receiver.quiet() == 0
    await client.flow_control.resume("k")
    await receiver.wait(2)


async def test_a_pinned_configuration_outweighs_messages(
    client: AsyncQStash, receiver: Receiver
) -> None:
    await client.flow_control.pin("k", {"parallelism": 3, "rate": 20, "period": 120})
    await _publish(client, receiver, 1, {"key": "k", "parallelism": 9, "rate": 9})
    info = await client.flow_control.get("k")
    assert (info.parallelism_max, info.rate_max, info.rate_period) == (3, 20, 120)
    assert info.is_pinned_parallelism
    assert info.is_pinned_rate
    await client.flow_control.unpin("k", {"parallelism": True})
    await _publish(client, receiver, 1, {"key": "k", "parallelism": 9, "rate": 9})
    info = await client.flow_control.get("k")
    assert (info.parallelism_max, info.rate_max) == (9, 20)
    assert not info.is_pinned_parallelism


async def test_resetting_the_rate_lets_messages_go(client: AsyncQStash, receiver: Receiver) -> None:
    await _publish(client, receiver, 2, {"key": "k", "rate": 1, "period": "1h"})
    await receiver.wait(1)
    assert await receiver.quiet(0.05) == 1
    await client.flow_control.reset_rate("k")
    await receiver.wait(2)


async def test_a_canceled_message_frees_nothing_it_did_not_hold(
    client: AsyncQStash, receiver: Receiver
) -> None:
    await client.flow_control.pause("k")
    await _publish(client, receiver, 3, {"key": "k", "parallelism": 1})
    assert await client.message.cancel_all() == 3
    await _publish(client, receiver, 1, {"key": "k", "parallelism": 1})
    await client.flow_control.resume("k")
    await receiver.wait(1)

    async def idle() -> bool:
        info = await client.flow_control.get("k")
        return (info.parallelism_count, info.wait_list_size) == (0, 0)

    await eventually(idle)
    assert await receiver.quiet(0.05) == 1


async def test_pinning_a_shorter_period_takes_effect_at_once(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    await _publish(client, receiver, 3, {"key": "k", "rate": 1, "period": "1d"})
    await receiver.wait(1)
    await client.flow_control.pin("k", {"rate": 1, "period": 10})
    await receiver.wait(2)
    server.advance(10)
    await receiver.wait(3)
