from __future__ import annotations

import asyncio
import base64
import hashlib
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from aiohttp import web
from qstash import Receiver as Verifier
from qstash.errors import SignatureError
from qstash.log import LogState

from tests.integration.qstash.support import Received, Receiver, call, eventually, id_of

if TYPE_CHECKING:
    from qstash import AsyncQStash

    from infra.local.qstash import QStashServer


async def test_the_sdk_verifies_the_signature(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    url = f"{receiver.url}/a?b=c"
    await client.message.publish(url=url, body="grüße")
    [request] = await receiver.wait()
    verifier = Verifier(server.current_signing_key, server.next_signing_key)
    signature = request.headers["Upstash-Signature"]
    verifier.verify(signature=signature, body=request.text, url=url)
    with pytest.raises(SignatureError):
        verifier.verify(signature=signature, body="other", url=url)
    with pytest.raises(SignatureError):
        verifier.verify(signature=signature, body=request.text, url=receiver.url)


async def test_the_claims_are_the_documented_ones(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    await client.message.publish(url=receiver.url, body="x")
    [request] = await receiver.wait()
    token = request.headers["Upstash-Signature"]
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    claims = jwt.decode(token, server.current_signing_key, algorithms=["HS256"])
    assert list(claims) == ["iss", "sub", "exp", "nbf", "iat", "jti", "body"]
    assert claims["iss"] == "Upstash"
    assert claims["sub"] == f"{receiver.url}/"  # a host alone is called at its root
    assert claims["exp"] - claims["iat"] == 300
    assert claims["nbf"] == 0  # changelog, September 2024
    assert claims["jti"].startswith("jwt_")
    digest = hashlib.sha256(b"x").digest()
    assert claims["body"] == base64.urlsafe_b64encode(digest).decode()


async def test_after_a_rotation_the_new_current_key_signs(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    before = await client.signing_key.get()
    rotated = await client.signing_key.rotate()
    assert rotated.current == before.next
    assert rotated.next not in {before.current, before.next}
    assert server.current_signing_key == before.next
    await client.message.publish(url=receiver.url, body="x")
    [request] = await receiver.wait()
    old = Verifier(before.current, before.next)
    old.verify(signature=request.headers["Upstash-Signature"], body="x", url=f"{receiver.url}/")
    jwt.decode(request.headers["Upstash-Signature"], rotated.current, algorithms=["HS256"])


async def test_a_failed_delivery_is_retried_with_the_documented_backoff(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    receiver.answer(500)
    published = await client.message.publish(url=receiver.url, retries=2)
    await receiver.wait(1)
    for attempt, seconds in ((2, 12), (3, 148)):
        await _retry_planned(client, id_of(published), attempt - 1)
        server.advance(seconds - 1)
        assert await receiver.quiet(0.05) == attempt - 1
        server.advance(2)
        requests = await receiver.wait(attempt)
        assert requests[-1].headers["Upstash-Retried"] == str(attempt - 1)
    await eventually(lambda: _logs(client, id_of(published), LogState.FAILED))


async def test_a_retry_delay_expression_is_computed_anew_each_time(
    client: AsyncQStash, receiver: Receiver, server: QStashServer
) -> None:
    receiver.answer(500, 500, 200)
    published = await client.message.publish(
        url=receiver.url, retries=3, retry_delay="pow(2, retried) * 10000"
    )
    for attempt, milliseconds in ((1, 10_000), (2, 20_000)):
        await receiver.wait(attempt)
        planned = await _retry_planned(client, id_of(published), attempt)
        assert planned.next_delivery_time - planned.time == pytest.approx(milliseconds, abs=100)
        server.advance(milliseconds / 1000)
    await receiver.wait(3)
    await eventually(lambda: _logs(client, id_of(published), LogState.DELIVERED))


@pytest.mark.parametrize(
    ("header", "value", "seconds"),
    [
        ("Retry-After", "100", 100),
        ("Retry-After", "6m5s", 365),
        ("X-RateLimit-Reset", "30", 30),
        ("X-RateLimit-Reset-Requests", "1.5s", 1.5),
        ("X-RateLimit-Reset-Tokens", "500ms", 0.5),
        ("Retry-After", "90000", 12.18),  # more than a day: the backoff applies
        ("Retry-After", "nonsense", 12.18),
    ],
)
async def test_the_response_says_when_to_retry(
    client: AsyncQStash, receiver: Receiver, header: str, value: str, seconds: float
) -> None:
    receiver.answer(503, headers={header: value})
    published = await client.message.publish(url=receiver.url)
    planned = await _retry_planned(client, id_of(published), 1)
    assert (planned.next_delivery_time - planned.time) / 1000 == pytest.approx(seconds, abs=0.1)


async def test_retry_after_zero_retries_at_once(client: AsyncQStash, receiver: Receiver) -> None:
    receiver.answer(503, 200, headers={"Retry-After": "0"})
    await client.message.publish(url=receiver.url)
    await receiver.wait(2)


async def test_489_with_its_header_is_not_retried(client: AsyncQStash, receiver: Receiver) -> None:
    receiver.answer(489, headers={"Upstash-NonRetryable-Error": "true"})
    published = await client.message.publish(url=receiver.url, retries=3, retry_delay="0")
    await eventually(lambda: _logs(client, id_of(published), LogState.FAILED))
    assert await receiver.quiet(0.05) == 1


async def test_489_without_its_header_is_retried(client: AsyncQStash, receiver: Receiver) -> None:
    receiver.answer(489)
    await client.message.publish(url=receiver.url, retries=1, retry_delay="0")
    await receiver.wait(2)


async def test_a_destination_that_takes_too_long_is_retried(
    client: AsyncQStash, receiver: Receiver
) -> None:
    async def slow(_received: Received) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    receiver.respond = slow
    published = await client.message.publish(url=receiver.url, timeout=1, retries=0)
    [failed] = await eventually(lambda: _logs(client, id_of(published), LogState.ERROR))
    assert failed.error == "context deadline exceeded"
    assert failed.response_status is None


async def test_a_destination_that_is_not_there_is_retried(client: AsyncQStash) -> None:
    published = await client.message.publish(url="http://127.0.0.1:9/", retries=1, retry_delay="0")
    await eventually(lambda: _logs(client, id_of(published), LogState.FAILED))
    assert len(await _logs(client, id_of(published), LogState.ERROR)) == 2


async def test_messages_are_delivered_in_parallel(client: AsyncQStash, receiver: Receiver) -> None:
    together = asyncio.Barrier(5)

    async def respond(_received: Received) -> web.Response:
        await together.wait()
        return web.Response()

    receiver.respond = respond
    await client.message.batch([{"url": receiver.url} for _ in range(5)])
    await receiver.wait(5)
    await eventually(lambda: _all_delivered(client, 5))


async def _all_delivered(client: AsyncQStash, count: int) -> bool:
    logs = await client.log.list(filter={"state": LogState.DELIVERED})
    return len(logs.logs) == count


async def _logs(client: AsyncQStash, message_id: str, state: LogState) -> list[Any]:
    listed = await client.log.list(filter={"message_id": message_id, "state": state})
    return list(listed.logs)


async def _retry_planned(client: AsyncQStash, message_id: str, count: int) -> Any:
    async def look() -> Any:
        planned = await _logs(client, message_id, LogState.RETRY)
        return planned[0] if len(planned) == count else None

    return await eventually(look)


async def test_a_body_that_is_no_utf_8_arrives_as_it_was_sent(
    receiver: Receiver, server: QStashServer
) -> None:
    body = b"\xff\x00\xfe"
    status, _ = await call(server, "POST", f"/v2/publish/{receiver.url}/raw", data=body)
    assert status == 200
    [request] = await receiver.wait()
    assert request.body == body
    delayed = await call(
        server,
        "POST",
        f"/v2/publish/{receiver.url}/raw",
        data=body,
        headers={"Upstash-Delay": "1h"},
    )
    _, found = await call(server, "GET", f"/v2/messages/{delayed[1]['messageId']}")
    assert base64.b64decode(found["bodyBase64"]) == body
