from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

import pytest
from qstash import QStash
from qstash.errors import QStashError
from qstash.message import BatchResponse, PublishResponse

from tests.integration.qstash.support import Receiver, id_of

if TYPE_CHECKING:
    from qstash import AsyncQStash

    from infra.local.qstash import QStashServer


async def test_a_json_message_arrives_as_it_was_sent(
    client: AsyncQStash, receiver: Receiver
) -> None:
    await client.message.publish_json(url=f"{receiver.url}/job?a=1&b=%20c", body={"hello": "world"})
    [request] = await receiver.wait()
    assert request.method == "POST"
    assert request.path == "/job?a=1&b=%20c"
    assert request.text == '{"hello": "world"}'
    assert request.headers["Content-Type"] == "application/json"


async def test_the_synchronous_client_works_too(server: QStashServer, receiver: Receiver) -> None:
    client = QStash(server.token, base_url=server.url)
    await asyncio.to_thread(client.message.publish, url=receiver.url, body="x")
    client.http._client.close()
    assert (await receiver.wait())[0].text == "x"


async def test_a_binary_body_is_not_touched(client: AsyncQStash, receiver: Receiver) -> None:
    await client.message.publish(url=receiver.url, body=b"\xff\x00\xfe")
    assert (await receiver.wait())[0].body == b"\xff\x00\xfe"


async def test_the_documented_headers_are_sent(client: AsyncQStash, receiver: Receiver) -> None:
    published = await client.message.publish(url=receiver.url, body="x", method="PUT")
    [request] = await receiver.wait()
    assert request.method == "PUT"
    assert request.headers["User-Agent"] == "Upstash-QStash"
    assert request.headers["Upstash-Message-Id"] == id_of(published)
    assert request.headers["Upstash-Retried"] == "0"
    assert request.headers["Upstash-Caller-Ip"] == "127.0.0.1"
    assert "Upstash-Schedule-Id" not in request.headers
    assert "Upstash-Topic-Name" not in request.headers
    assert "Content-Type" not in request.headers


async def test_forwarded_headers_lose_their_prefix(client: AsyncQStash, receiver: Receiver) -> None:
    await client.message.publish(
        url=receiver.url, headers={"Authorization": "Bearer mine", "x-trace": "7"}
    )
    [request] = await receiver.wait()
    assert request.headers["Authorization"] == "Bearer mine"
    assert request.headers["X-Trace"] == "7"


async def test_a_message_id_looks_like_one(client: AsyncQStash, receiver: Receiver) -> None:
    assert id_of(await client.message.publish(url=receiver.url)).startswith("msg_")


async def test_a_delayed_message_waits(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    await client.message.publish(url=receiver.url, delay="1h30m")
    server.advance(5399)
    assert await receiver.quiet() == 0
    server.advance(1.1)
    await receiver.wait()


async def test_not_before_wins_over_delay(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    # The server's clock is up to a minute ahead.
    await client.message.publish(url=receiver.url, delay=10, not_before=int(time.time()) + 200)
    server.advance(50)
    assert await receiver.quiet() == 0
    server.advance(151)
    await receiver.wait()


async def test_a_deduplication_id_counts_for_ten_minutes(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    first = await client.message.publish(url=receiver.url, body="1", deduplication_id="a")
    again = await client.message.publish(url=receiver.url, body="2", deduplication_id="a")
    assert again == PublishResponse(message_id=id_of(first), deduplicated=True)
    server.advance(601)
    late = await client.message.publish(url=receiver.url, body="3", deduplication_id="a")
    assert isinstance(late, PublishResponse)
    assert not late.deduplicated
    assert [one.text for one in await receiver.wait(2)] == ["1", "3"]


async def test_equal_content_is_deduplicated_when_asked(
    client: AsyncQStash, receiver: Receiver
) -> None:
    async def publish(body: str, path: str = "", **headers: str) -> bool:
        published = await client.message.publish(
            url=receiver.url + path,
            body=body,
            headers=headers,
            content_based_deduplication=True,
        )
        assert isinstance(published, PublishResponse)
        return published.deduplicated

    assert not await publish("same")
    assert await publish("same")
    assert not await publish("other")
    assert not await publish("same", path="/elsewhere")
    assert not await publish("same", x="header")


async def test_a_batch_is_answered_in_order(client: AsyncQStash, receiver: Receiver) -> None:
    answers = await client.message.batch_json(
        [
            {"url": receiver.url, "body": 1, "deduplication_id": "d"},
            {"url": receiver.url, "body": 2, "queue": "q"},
            {"url": receiver.url, "body": 1, "deduplication_id": "d"},
        ]
    )
    first, second, third = answers
    assert isinstance(first, BatchResponse)
    assert isinstance(second, BatchResponse)
    assert third == BatchResponse(message_id=first.message_id, deduplicated=True)
    requests = await receiver.wait(2)
    assert {one.text for one in requests} == {"1", "2"}


async def test_one_invalid_message_refuses_the_whole_batch(
    client: AsyncQStash, receiver: Receiver
) -> None:
    with pytest.raises(QStashError, match="quota maxDelay exceeded, current limit: 31536000"):
        await client.message.batch(
            [{"url": receiver.url}, {"url": receiver.url, "delay": 366 * 86400}]
        )
    assert await receiver.quiet() == 0


async def test_a_message_can_be_looked_at_while_it_waits(
    client: AsyncQStash, receiver: Receiver
) -> None:
    published = await client.message.publish(
        url=receiver.url,
        body="text",
        method="PATCH",
        headers={"test-header": "v"},
        callback=f"{receiver.url}/callback",
        failure_callback=f"{receiver.url}/failure",
        callback_headers={"Forward-one": "1"},
        retries=2,
        retry_delay="1000 * (1 + retried)",
        delay=60,
        label="mine",
        flow_control={"key": "k", "parallelism": 3, "rate": 4, "period": "1m"},
    )
    message = await client.message.get(id_of(published))
    assert message.url == receiver.url
    assert message.body == "text"
    assert message.method == "PATCH"
    assert message.headers == {"Test-Header": ["v"]}
    assert message.callback == f"{receiver.url}/callback"
    assert message.failure_callback == f"{receiver.url}/failure"
    assert message.callback_headers == {"One": ["1"]}
    assert message.max_retries == 2
    assert message.retry_delay_expression == "1000 * (1 + retried)"
    assert message.not_before - message.created_at == 60_000
    assert message.label == "mine"
    assert message.caller_ip == "127.0.0.1"
    assert message.flow_control is not None
    assert message.flow_control.period == 60


async def test_redacted_fields_are_delivered_but_not_shown(
    client: AsyncQStash, receiver: Receiver
) -> None:
    published = await client.message.publish(
        url=receiver.url,
        body="secret",
        headers={"Authorization": "Bearer t", "plain": "p"},
        redact={"body": True, "header": ["Authorization"]},
    )
    message = await client.message.get(id_of(published))
    assert message.headers is not None
    assert message.body == (
        "REDACTED:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b"
    )
    assert message.headers["Authorization"][0].startswith("REDACTED:")
    assert message.headers["Plain"] == ["p"]
    [request] = await receiver.wait()
    assert request.text == "secret"
    assert request.headers["Authorization"] == "Bearer t"
