from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web
from qstash import Receiver as Verifier

from infra.local.qstash import Limits, QStashOptions, QStashServer
from tests.integration.qstash.support import Received, Receiver, id_of, sdk

if TYPE_CHECKING:
    from qstash import AsyncQStash


async def _callback(receiver: Receiver, path: str = "/callback") -> tuple[Received, dict[str, Any]]:
    await receiver.wait(2)
    [request] = [one for one in receiver.requests if one.path == path]
    return request, json.loads(request.body)


async def test_a_callback_reports_the_response(client: AsyncQStash, receiver: Receiver) -> None:
    published = await client.message.publish_json(
        url=f"{receiver.url}/job",
        body={"a": 1},
        headers={"mine": "1"},
        callback=f"{receiver.url}/callback",
    )
    request, body = await _callback(receiver)
    assert request.method == "POST"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Upstash-Message-Id"] != id_of(published)
    assert base64.b64decode(body["body"]) == b"done"
    assert body["header"]["Content-Type"] == ["text/plain; charset=utf-8"]
    assert {name: body[name] for name in body if name not in {"header", "body"}} == {
        "status": 200,
        "sourceMessageId": id_of(published),
        "url": f"{receiver.url}/job",
        "method": "POST",
        "sourceHeader": {"Content-Type": ["application/json"], "Mine": ["1"]},
        "sourceBody": base64.b64encode(b'{"a": 1}').decode(),
        "maxRetries": 3,
        "notBefore": body["createdAt"],
        "createdAt": body["createdAt"],
        "callerIP": "127.0.0.1",
    }


async def test_a_callback_is_signed(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    await client.message.publish(url=receiver.url, callback=f"{receiver.url}/callback")
    request, _ = await _callback(receiver)
    Verifier(server.current_signing_key, server.next_signing_key).verify(
        signature=request.headers["Upstash-Signature"],
        body=request.text,
        url=f"{receiver.url}/callback",
    )


async def test_every_attempt_is_called_back(client: AsyncQStash, receiver: Receiver) -> None:
    receiver.answer(500, 200)
    await client.message.publish(
        url=receiver.url, callback=f"{receiver.url}/callback", retry_delay="0", retries=1
    )
    requests = await receiver.wait(4)
    bodies = [json.loads(one.body) for one in requests if one.path == "/callback"]
    assert sorted(body.get("retried", 0) for body in bodies) == [0, 1]


async def test_a_failure_callback_comes_once_and_names_the_dead_letter(
    client: AsyncQStash, receiver: Receiver
) -> None:
    receiver.answer(500, 500, 200)
    published = await client.message.publish(
        url=f"{receiver.url}/job",
        body="x",
        failure_callback=f"{receiver.url}/failed",
        retry_delay="0",
        retries=1,
    )
    await receiver.wait(3)
    _, body = await _callback(receiver, "/failed")
    assert body["status"] == 500
    assert body["retried"] == 1
    assert body["sourceMessageId"] == id_of(published)
    assert (await client.dlq.get(body["dlqId"])).message_id == id_of(published)


async def test_a_success_is_no_failure(client: AsyncQStash, receiver: Receiver) -> None:
    await client.message.publish(url=receiver.url, failure_callback=f"{receiver.url}/failed")
    await receiver.wait(1)
    assert await receiver.quiet(0.05) == 1


async def test_an_unreachable_destination_has_no_status(
    client: AsyncQStash, receiver: Receiver
) -> None:
    await client.message.publish(
        url="http://127.0.0.1:9", retries=0, failure_callback=f"{receiver.url}/failed"
    )
    [request] = await receiver.wait(1)
    assert json.loads(request.body)["status"] == 0


async def test_callbacks_have_their_own_method_and_headers(
    client: AsyncQStash, receiver: Receiver
) -> None:
    await client.message.publish(
        url=f"{receiver.url}/job",
        callback=f"{receiver.url}/callback",
        callback_headers={"Forward-Secret": "s", "Method": "PUT"},
    )
    request, _ = await _callback(receiver)
    assert request.headers["Secret"] == "s"
    assert request.method == "PUT"


async def test_a_callback_uses_the_retries_of_its_message(
    client: AsyncQStash, receiver: Receiver
) -> None:
    receiver.answer(200, 500)
    await client.message.publish(
        url=f"{receiver.url}/job", callback=f"{receiver.url}/callback", retries=1, retry_delay="0"
    )
    requests = await receiver.wait(3)
    assert [one.path for one in requests] == ["/job", "/callback", "/callback"]
    assert requests[2].headers["Upstash-Retried"] == "1"
    assert await receiver.quiet(0.05) == 3


async def test_a_callback_stays_whole_however_large_the_response_is(receiver: Receiver) -> None:
    limits = Limits(max_message_bytes=1000)

    async def respond(received: Received) -> web.Response:
        return web.Response(text="y" * 2000)

    receiver.respond = respond
    async with QStashServer(QStashOptions(limits=limits)) as server, sdk(server) as client:
        await client.message.publish(
            url=receiver.url, body="x" * 1000, callback=f"{receiver.url}/callback"
        )
        _, body = await _callback(receiver)
    assert base64.b64decode(body["sourceBody"]) == b"x" * 1000
    assert base64.b64decode(body["body"]) == b"y" * 1000
