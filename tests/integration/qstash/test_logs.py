from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from aiohttp import web
from qstash.log import LogState

from tests.integration.qstash.support import Received, Receiver, call, eventually, id_of

if TYPE_CHECKING:
    from qstash import AsyncQStash

    from infra.local.qstash import QStashServer


async def _states(client: AsyncQStash, message_id: str, last: LogState) -> list[str]:
    async def ended() -> list[str]:
        logs = (await client.log.list(filter={"message_id": message_id})).logs
        states = [log.state for log in reversed(logs)]
        return [state.value for state in states] if states[-1] == last else []

    states: list[str] = await eventually(ended)
    return states


async def test_a_delivery_is_logged_from_created_to_delivered(
    client: AsyncQStash, receiver: Receiver
) -> None:
    published = await client.message.publish(url=receiver.url)
    states = await _states(client, id_of(published), LogState.DELIVERED)
    assert states == ["CREATED", "ACTIVE", "DELIVERED"]


async def test_a_failure_is_logged_with_its_retries(
    client: AsyncQStash, receiver: Receiver
) -> None:
    receiver.answer(500)
    published = await client.message.publish(url=receiver.url, retries=1, retry_delay="0")
    assert await _states(client, id_of(published), LogState.FAILED) == [
        "CREATED",
        "ACTIVE",
        "ERROR",
        "RETRY",
        "ACTIVE",
        "ERROR",
        "FAILED",
    ]
    logs = (await client.log.list(filter={"state": LogState.ERROR})).logs
    assert [log.response_status for log in logs] == [500, 500]
    assert logs[0].response_body == base64.b64encode(b"500").decode()
    assert logs[0].retry_delay_expression == "0"
    assert logs[0].max_retries == 1


async def test_in_progress_stands_for_three_states(client: AsyncQStash, receiver: Receiver) -> None:
    receiver.answer(500)
    published = await client.message.publish(url=receiver.url, retries=0)
    await _states(client, id_of(published), LogState.FAILED)
    logs = (await client.log.list(filter={"state": LogState.IN_PROGRESS})).logs
    assert [log.state.value for log in logs] == ["ERROR", "ACTIVE"]


async def test_logs_are_read_by_page(client: AsyncQStash, receiver: Receiver) -> None:
    await client.message.batch([{"url": receiver.url, "delay": 60} for _ in range(5)])
    everything = (await client.log.list()).logs
    assert len(everything) == 5
    pages: list[Any] = []
    cursor = None
    while True:
        page = await client.log.list(count=2, cursor=cursor)
        pages += page.logs
        cursor = page.cursor
        if cursor is None:
            break
    assert pages == everything


async def test_logs_are_filtered(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    one = await client.message.publish(url=f"{receiver.url}/1", delay=60, label="a,b")
    server.advance(10)
    other = await client.message.publish(url=f"{receiver.url}/2", delay=60, label="c")
    [first] = (await client.log.list(filter={"message_id": id_of(one)})).logs

    async def matching(**wanted: Any) -> list[str]:
        logs = (await client.log.list(filter=wanted)).logs  # type: ignore[arg-type]
        return [log.message_id for log in logs]

    assert await matching(url=f"{receiver.url}/1") == [id_of(one)]
    assert await matching(label="b") == [id_of(one)]
    assert await matching(label="b,c") == [id_of(other), id_of(one)]
    assert await matching(from_time=first.time + 1) == [id_of(other)]
    assert await matching(to_time=first.time) == [id_of(one)]
    assert await matching(message_ids=[id_of(one), id_of(other)]) == [id_of(other), id_of(one)]
    assert await matching(url_group="g") == []
    assert await matching(queue="q") == []
    assert await matching(schedule_id="s") == []
    assert first.label == "a"


async def test_a_canceled_message_is_not_delivered(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    published = await client.message.publish(url=receiver.url, delay=60)
    await client.message.cancel(id_of(published))
    states = await _states(client, id_of(published), LogState.CANCEL_REQUESTED)
    assert states == ["CREATED", "CANCEL_REQUESTED"]
    server.advance(61)
    states = await _states(client, id_of(published), LogState.CANCELED)
    assert states == ["CREATED", "CANCEL_REQUESTED", "CANCELED"]
    assert await receiver.quiet(0.05) == 0


async def test_messages_are_canceled_by_id_or_all_at_once(
    client: AsyncQStash, receiver: Receiver
) -> None:
    ids = [
        id_of(await client.message.publish(url=receiver.url, delay=60, label=str(number)))
        for number in range(4)
    ]
    assert await client.message.cancel_many([ids[0], ids[1], "unknown"]) == 2
    assert await client.message.cancel_many([]) == 0
    assert await client.message.cancel_all() == 2
    assert await client.message.cancel_all() == 0


async def test_messages_are_canceled_by_filter(client: AsyncQStash, receiver: Receiver) -> None:
    for path, label in (("/a", "x"), ("/b", "x"), ("/c", "y")):
        await client.message.publish(url=receiver.url + path, delay=60, label=label)

    async def cancel(**query: str) -> int:
        answer = await client.http.request(path="/v2/messages", method="DELETE", params=query)
        return int(answer["cancelled"])

    assert await cancel(label="x", path="/a") == 1
    assert await cancel(host="example.com") == 0
    assert await cancel(label="x,y", count="1") == 1
    assert await cancel(url=f"{receiver.url}/c") == 1


async def test_the_answer_to_a_cancellation_is_json(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    """The TypeScript SDK's `messages.cancel(id)` parses it."""
    published = await client.message.publish(url=receiver.url, delay=60)
    path = f"/v2/messages/{id_of(published)}"
    assert await call(server, "DELETE", path) == (200, {"cancelled": 1})


async def test_a_message_that_fails_for_good_is_not_canceled_any_more(
    client: AsyncQStash, receiver: Receiver
) -> None:
    """Docs, "Debug Logs": canceled "if retries are not exhausted yet"."""

    async def respond(received: Received) -> web.Response:
        await client.message.cancel(received.headers["Upstash-Message-Id"])
        return web.Response(status=500)

    receiver.respond = respond
    once = id_of(await client.message.publish(url=receiver.url, retries=0))
    assert (await _states(client, once, LogState.FAILED))[-2:] == ["ERROR", "FAILED"]
    [letter] = (await client.dlq.list()).messages
    assert letter.message_id == once
    twice = id_of(await client.message.publish(url=receiver.url, retries=1))
    assert (await _states(client, twice, LogState.CANCELED))[-2:] == ["ERROR", "CANCELED"]


async def test_the_oldest_logs_may_come_first(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    await client.message.batch([{"url": receiver.url, "delay": 60} for _ in range(3)])
    ids = [log.message_id for log in (await client.log.list()).logs]
    _, first = await call(server, "GET", "/v2/logs?order=earliestFirst&count=2")
    _, rest = await call(
        server, "GET", f"/v2/logs?order=earliestFirst&count=2&cursor={first['cursor']}"
    )
    assert [log["messageId"] for log in first["logs"] + rest["logs"]] == ids[::-1]
