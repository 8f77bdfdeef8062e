from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from qstash.errors import QStashError

from tests.integration.qstash.support import Receiver, call, eventually, id_of

if TYPE_CHECKING:
    from qstash import AsyncQStash
    from qstash.dlq import DlqMessage

    from infra.local.qstash import QStashServer


async def _fail(
    client: AsyncQStash, receiver: Receiver, count: int, **options: Any
) -> list[DlqMessage]:
    """That many dead letters, the newest first."""
    before = len((await client.dlq.list()).messages)
    for number in range(count):
        await client.message.publish(url=receiver.url, body=str(number), retries=0, **options)

        async def filed(wanted: int = before + number + 1) -> bool:
            return len((await client.dlq.list()).messages) == wanted

        await eventually(filed)
    return (await client.dlq.list()).messages[:count]


@pytest.fixture(autouse=True)
def failing(receiver: Receiver) -> None:
    receiver.answer(418)


async def test_a_dead_letter_keeps_message_and_response(
    client: AsyncQStash, receiver: Receiver
) -> None:
    [letter] = await _fail(client, receiver, 1, label="mine", retry_delay="7000 * retried")
    assert letter.body == "0"
    assert letter.response_status == 418
    assert letter.response_body == "418"
    assert letter.response_headers is not None
    assert letter.response_headers["Content-Type"] == ["text/plain; charset=utf-8"]
    assert letter.retry_delay_expression == "7000 * retried"
    assert letter.label == "mine"
    assert await client.dlq.get(letter.dlq_id) == letter


async def test_dead_letters_are_listed_by_page(client: AsyncQStash, receiver: Receiver) -> None:
    letters = await _fail(client, receiver, 5)
    found: list[DlqMessage] = []
    cursor = None
    while True:
        page = await client.dlq.list(count=2, cursor=cursor)
        assert len(page.messages) <= 2
        found += page.messages
        cursor = page.cursor
        if cursor is None:
            break
    assert found == letters


async def test_dead_letters_are_filtered(client: AsyncQStash, receiver: Receiver) -> None:
    [one] = await _fail(client, receiver, 1, label="a")
    [other] = await _fail(client, receiver, 1, label="b")

    async def matching(**wanted: Any) -> list[str]:
        messages = (await client.dlq.list(filter=wanted)).messages  # type: ignore[arg-type]
        return [message.message_id for message in messages]

    assert await matching(message_id=one.message_id) == [one.message_id]
    assert await matching(label="b") == [other.message_id]
    assert await matching(label="a,b") == [other.message_id, one.message_id]
    assert await matching(response_status=418, label="a") == [one.message_id]
    assert await matching(response_status=500) == []
    assert await matching(url=receiver.url, caller_ip="127.0.0.1") == [
        other.message_id,
        one.message_id,
    ]
    assert await matching(to_time=1) == []


async def test_dead_letters_can_be_deleted(client: AsyncQStash, receiver: Receiver) -> None:
    letters = await _fail(client, receiver, 3)
    await client.dlq.delete(letters[0].dlq_id)
    assert await client.dlq.delete_many([one.dlq_id for one in letters]) == 2
    assert (await client.dlq.list()).messages == []


async def test_dead_letters_expire(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    await _fail(client, receiver, 1)
    server.advance(7 * 86400 + 1)
    assert (await client.dlq.list()).messages == []


async def _post(server: QStashServer, path: str, **headers: str) -> tuple[int, Any]:
    return await call(server, "POST", path, headers=headers)


async def test_a_dead_letter_is_retried_as_a_new_message(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    [letter] = await _fail(client, receiver, 1, headers={"mine": "1"})
    receiver.answer(200)
    status, body = await _post(
        server, f"/v2/dlq/retry/{letter.dlq_id}", **{"Upstash-Retries": "2", "Upstash-Delay": "9s"}
    )
    assert status == 201
    assert (await client.message.get(body["messageId"])).max_retries == 2
    assert await receiver.quiet(0.05) == 1
    server.advance(9.1)
    request = (await receiver.wait(2))[1]
    assert request.headers["Upstash-Message-Id"] == body["messageId"] != letter.message_id
    assert request.headers["Mine"] == "1"
    assert request.text == "0"
    with pytest.raises(QStashError, match="404"):
        await client.dlq.get(letter.dlq_id)


async def test_dead_letters_are_retried_in_bulk(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    first, second, _third = await _fail(client, receiver, 3)
    receiver.answer(200)
    query = f"dlqIds={first.dlq_id}&dlqIds={second.dlq_id}"
    status, body = await _post(server, f"/v2/dlq/retry?{query}")
    assert status == 201
    assert len(body["responses"]) == 2
    assert body["cursor"] == ""
    await receiver.wait(5)
    status, body = await _post(server, f"/v2/dlq/retry?dlqIds={first.dlq_id}")
    assert status == 404
    status, body = await _post(server, "/v2/dlq/retry")
    assert len(body["responses"]) == 1


async def test_a_queue_is_kept_for_the_retry(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    published = await client.message.enqueue(queue="q", url=receiver.url, retries=0)
    assert not isinstance(published, list)

    async def filed() -> list[DlqMessage]:
        return (await client.dlq.list(filter={"queue": "q"})).messages

    [letter] = await eventually(filed)
    _, body = await _post(server, f"/v2/dlq/retry/{letter.dlq_id}")
    assert (await client.message.get(body["messageId"])).queue == "q"
    assert id_of(await client.message.publish(url=receiver.url)) != body["messageId"]


async def test_the_oldest_dead_letters_may_come_first(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    ids = [letter.dlq_id for letter in await _fail(client, receiver, 3)]
    found: list[str] = []
    query = "order=earliestFirst&count=2"
    while True:
        _, page = await call(server, "GET", f"/v2/dlq?{query}")
        found += [message["dlqId"] for message in page["messages"]]
        if "cursor" not in page:
            break
        query = f"order=earliestFirst&count=2&cursor={page['cursor']}"
    assert found == ids[::-1]
    assert (await call(server, "GET", "/v2/dlq?order=sideways"))[0] == 400


@pytest.mark.parametrize("name", ["host", "path"])
async def test_dead_letters_have_no_filter_by_host_or_path(server: QStashServer, name: str) -> None:
    """qstash-js, `filter-types.ts`: "the DLQ endpoint rejects these"."""
    assert (await call(server, "GET", f"/v2/dlq?{name}=x"))[0] == 400
    assert (await call(server, "DELETE", f"/v2/dlq?{name}=x"))[0] == 400


async def test_a_retry_may_name_another_callback(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    [letter] = await _fail(client, receiver, 1)
    receiver.answer(200)
    options = {
        "Upstash-Callback": f"{receiver.url}/callback",
        "Upstash-Callback-Forward-Mine": "1",
    }
    await _post(server, f"/v2/dlq/retry/{letter.dlq_id}", **options)
    callback = (await receiver.wait(3))[2]
    assert callback.path == "/callback"
    assert callback.headers["Mine"] == "1"
