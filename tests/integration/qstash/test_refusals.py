from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from qstash.errors import QStashError

from infra.local.qstash import Limits, QStashOptions, QStashServer
from infra.local.qstash.queues import Queues
from tests.integration.qstash.support import call, id_of, sdk

if TYPE_CHECKING:
    from qstash import AsyncQStash

    from tests.integration.qstash.support import Receiver


async def test_a_wrong_token_is_unauthorized(server: QStashServer) -> None:
    async with sdk(server, "wrong") as stranger:
        with pytest.raises(
            QStashError, match=r'401, body: {"error":"unable to authenticate: invalid token"}'
        ):
            await stranger.queue.list()


async def test_the_token_may_be_a_query_parameter(server: QStashServer, receiver: Receiver) -> None:
    import aiohttp

    url = f"{server.url}/v2/publish/{receiver.url}/hook?a=1&qstash_token={server.token}"
    query = "&upstash-retries=0&upstash-header-forward=true"
    async with (
        aiohttp.ClientSession() as session,
        session.post(url + query, data=b"x", headers={"X-Github-Event": "push"}) as response,
    ):
        assert response.status == 200
    [request] = await receiver.wait()
    assert request.path == "/hook?a=1"
    assert request.headers["X-Github-Event"] == "push"
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    ("options", "status", "error"),
    [
        (
            {"url": "example.com"},
            400,
            "invalid destination url: endpoint has invalid scheme, add http:// or https://",
        ),
        ({"url_group": "nobody"}, 404, "topic nobody not found"),
        ({"retries": 6}, 400, "quota maxRetries exceeded, current limit: 5"),
        ({"delay": "400d"}, 400, "quota maxDelay exceeded, current limit: 31536000"),
        ({"deduplication_id": "a:b"}, 400, "DeduplicationId cannot contain ':'"),
        ({"delay": "soon"}, 400, "invalid Upstash-Delay header: soon"),
        ({"retry_delay": "__import__('os')"}, 400, "invalid Upstash-Retry-Delay header"),
        ({"callback": "nowhere"}, 400, "invalid callback url: endpoint has invalid scheme"),
        ({"callback_headers": {"Retries": "9"}}, 400, "quota maxRetries exceeded"),
        ({"callback_headers": {"Callback-" * 400: "x", "Retries": "x"}}, 400, "Upstash-Retries"),
        ({"method": "TRACE"}, 400, "invalid Upstash-Method header: TRACE"),
        ({"flow_control": {"key": "k"}}, 400, "Upstash-Flow-Control-Value must be given"),
    ],
)
async def test_what_cannot_be_published_is_refused(
    client: AsyncQStash, options: dict[str, Any], status: int, error: str
) -> None:
    if "url_group" not in options:
        options = {"url": "http://127.0.0.1:9", **options}
    with pytest.raises(QStashError) as refusal:
        await client.message.publish(**options)
    assert f"status: {status}, body: " in str(refusal.value)
    assert error in str(refusal.value)


async def test_a_message_over_the_size_limit_is_refused() -> None:
    limits = Limits(max_message_bytes=100)
    async with QStashServer(QStashOptions(limits=limits)) as server, sdk(server) as client:
        with pytest.raises(QStashError, match="quota maxMessageSize exceeded, current limit: 100"):
            await client.message.publish(url="http://127.0.0.1:9", body="x" * 101)


@pytest.mark.parametrize(
    ("api", "call", "error"),
    [
        ("message", "get", "message nothing not found"),
        ("message", "cancel", "message nothing not found"),
        ("queue", "get", "queue nothing not found"),
        ("schedule", "get", "schedule nothing not found"),
        ("url_group", "get", "topic nothing not found"),
        ("dlq", "get", "dlq message nothing not found"),
        ("dlq", "delete", "dlq message nothing not found"),
        ("flow_control", "get", "flow control key nothing not found"),
    ],
)
async def test_what_does_not_exist_is_not_found(
    client: AsyncQStash, api: str, call: str, error: str
) -> None:
    with pytest.raises(QStashError, match=rf'404, body: {{"error":"{error}"}}'):
        await getattr(getattr(client, api), call)("nothing")


@pytest.mark.parametrize("name", ["a b", "a/b", "ä"])
async def test_a_queue_name_is_checked(client: AsyncQStash, name: str) -> None:
    with pytest.raises(QStashError, match="queue name is invalid"):
        await client.queue.upsert(name)


async def test_too_many_queues_are_refused() -> None:
    options = QStashOptions(limits=Limits(max_queues=1))
    async with QStashServer(options) as server, sdk(server) as client:
        await client.queue.upsert("one")
        await client.queue.upsert("one", parallelism=2)
        with pytest.raises(QStashError, match=r"412, body: .*quota maxQueues exceeded"):
            await client.queue.upsert("two")


async def test_a_taken_port_is_named(server: QStashServer) -> None:
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(OSError, match=rf"cannot listen on 127.0.0.1:{port}"):
        await QStashServer(QStashOptions(port=port)).start()


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v2/batch", [{"destination": 1}]),
        ("POST", "/v2/batch", [{"destination": "http://127.0.0.1:9", "headers": [1]}]),
        ("POST", "/v2/batch", [{"destination": "http://127.0.0.1:9", "queue": {"a": 1}}]),
        (
            "POST",
            "/v2/batch",
            [{"destination": "http://127.0.0.1:9", "headers": {"Upstash-Retries": "²"}}],
        ),
        ("POST", "/v2/topics/g/endpoints", {"endpoints": [{"url": [1]}]}),
        ("DELETE", "/v2/topics/g/endpoints", {"endpoints": "g"}),
        ("PATCH", "/v2/topics/g", {"headers": [1]}),
        ("DELETE", "/v2/messages", {"messageIds": 1}),
        ("DELETE", "/v2/dlq", {"dlqIds": "1-0"}),
        ("GET", "/v2/logs?fromDate=--5", None),
        ("GET", "/v2/logs?cursor=%C2%B2", None),
    ],
)
async def test_nonsense_is_refused_in_the_documented_form(
    server: QStashServer, method: str, path: str, body: object
) -> None:
    status, refusal = await call(server, method, path, json=body)
    assert status == 400
    assert list(refusal) == ["error"]
    assert await call(server, "GET", "/v2/queues") == (200, [])


async def test_what_goes_wrong_inside_is_an_error_in_the_same_form(
    server: QStashServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Queues, "all", lambda _self: 1 / 0)
    assert await call(server, "GET", "/v2/queues") == (500, {"error": "internal server error"})


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/v2/dlq?labeel=x", None),
        ("DELETE", "/v2/dlq?labeel=x", None),
        ("DELETE", "/v2/dlq", {"labeel": "x"}),
        ("DELETE", "/v2/messages?labeel=x", None),
        ("DELETE", "/v2/messages", {"labeel": "x"}),
        ("POST", "/v2/dlq/retry?labeel=x", None),
        ("POST", "/v2/dlq/retry", {"labeel": "x"}),
        ("GET", "/v2/logs?labeel=x", None),
        ("GET", "/v2/events?labeel=x", None),
    ],
)
async def test_a_filter_that_there_is_not_is_refused_and_changes_nothing(
    server: QStashServer, client: AsyncQStash, method: str, path: str, body: Any
) -> None:
    kept = id_of(await client.message.publish(url="http://127.0.0.1:9", delay="1h"))
    status, answer = await call(server, method, path, json=body)
    assert (status, answer) == (400, {"error": "unknown filter: labeel"})
    assert (await client.message.get(kept)).message_id == kept


async def test_the_filter_that_the_javascript_sdk_calls_ignored_is(server: QStashServer) -> None:
    assert (await call(server, "DELETE", "/v2/dlq?api=1"))[0] == 200


async def test_without_a_destination_nothing_is_published(server: QStashServer) -> None:
    status, answer = await call(server, "POST", "/v2/publish/")
    assert (status, answer) == (400, {"error": "a non-empty destination must be provided"})


async def test_paths_are_matched_whatever_their_case(
    server: QStashServer, receiver: Receiver
) -> None:
    url = f"{receiver.url}/Hook"
    headers = {"Upstash-Cron": "0 0 1 1 *"}
    status, made = await call(server, "POST", f"/V2/Schedules/{url}", headers=headers)
    assert status == 200
    status, found = await call(server, "GET", f"/v2/SCHEDULES/{made['scheduleId']}")
    assert (status, found["destination"]) == (200, url)


async def test_upstash_workflow_is_refused_in_words(server: QStashServer) -> None:
    headers = {"Upstash-Workflow-Init": "true"}
    path = "/v2/publish/http://127.0.0.1:9"
    status, answer = await call(server, "POST", path, headers=headers)
    assert status == 400
    assert "Upstash Workflow is not part of this local QStash" in answer["error"]
