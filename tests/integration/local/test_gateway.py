"""HTTP requests become the events that AWS makes, and answers the responses that AWS sends."""

import asyncio
import base64
import io
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infra.local.http_event import (
    HttpRequest,
    MalformedResponseError,
    Source,
    request_event,
    response_from,
)
from tests.integration.local.conftest import Project

ECHO = "def handler(event, context): return event"
ANSWER = """
    import json, time
    def handler(event, context):
        order = json.loads(event["body"])
        time.sleep(order.get("sleep", 0))
        return order["answer"]
"""


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def test_the_event_has_the_shape_of_payload_format_2(tmp_path: Path) -> None:
    request = HttpRequest(
        method="POST",
        target="/jobs/caf%C3%A9?a=1&a=2&b=x%20y&c=",
        headers=[
            ("Host", "localhost:8700"),
            ("Content-Type", "application/json; charset=utf-8"),
            ("X-Twice", "1"),
            ("x-twice", "2"),
            ("Cookie", "one=1; two=2"),
            ("User-Agent", "Upstash-QStash"),
            ("Connection", "keep-alive"),
            ("X-Amzn-Trace-Id", "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e"),
        ],
        body='{"name": "ü"}'.encode(),
        source_ip="127.0.0.1",
        port=8700,
    )
    now = datetime(2026, 11, 24, 7, 5, 26, 250_000, tzinfo=UTC)

    event = request_event(
        request,
        source=Source.HTTP_API,
        route_key="POST /jobs/{name}",
        path_parameters={"name": "café"},
        now=now,
    )

    request_id = event["requestContext"].pop("requestId")
    assert len(request_id) == 16
    assert event == {
        "version": "2.0",
        "routeKey": "POST /jobs/{name}",
        "rawPath": "/jobs/café",
        "rawQueryString": "a=1&a=2&b=x%20y&c=",
        "cookies": ["one=1", "two=2"],
        "headers": {
            "content-length": "14",
            "content-type": "application/json; charset=utf-8",
            "host": "localhost:8700",
            "user-agent": "Upstash-QStash",
            "x-amzn-trace-id": "Root=1-5e6722a7-cc56xmpl46db7ae02d4da47e",
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-port": "8700",
            "x-forwarded-proto": "http",
            "x-twice": "1,2",
        },
        "queryStringParameters": {"a": "1,2", "b": "x y", "c": ""},
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "local",
            "domainName": "localhost",
            "domainPrefix": "localhost",
            "http": {
                "method": "POST",
                "path": "/jobs/café",
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": "Upstash-QStash",
            },
            "routeKey": "POST /jobs/{name}",
            "stage": "$default",
            "time": "24/Nov/2026:07:05:26 +0000",
            "timeEpoch": 1795503926250,
        },
        "pathParameters": {"name": "café"},
        "body": '{"name": "ü"}',
        "isBase64Encoded": False,
    }


async def test_the_event_comes_over_the_wire_as_it_should(
    project: Project, http: aiohttp.ClientSession
) -> None:
    project.write(ECHO)
    await project.start()

    answer = await http.post(f"{project.gateway.url}/jobs/email?a=1&a=2", json={"x": 1})
    event = await answer.json()

    port = project.gateway.url.rpartition(":")[2]
    assert answer.status == 200
    assert event["routeKey"] == "POST /jobs/{name}"
    assert event["pathParameters"] == {"name": "email"}
    assert event["rawQueryString"] == "a=1&a=2"
    assert event["headers"]["host"] == f"127.0.0.1:{port}"
    assert event["headers"]["x-forwarded-port"] == port
    assert event["requestContext"]["domainName"] == "127.0.0.1"
    assert json.loads(event["body"]) == {"x": 1}
    assert "stageVariables" not in event


@pytest.mark.parametrize(
    ("content_type", "body", "is_base64"),
    [
        ("application/json", b"{}", False),
        ("application/xml", b"<a/>", False),
        ("application/javascript", b"1", False),
        ("text/csv; charset=utf-8", "ü".encode(), False),
        ("application/json", b"\xff\x00", True),
        ("application/x-www-form-urlencoded", b"a=b", True),
        ("application/octet-stream", b"text", True),
        ("", b"text", True),
    ],
)
async def test_a_body_that_is_not_text_comes_in_base64_and_survives(
    project: Project,
    http: aiohttp.ClientSession,
    content_type: str,
    body: bytes,
    is_base64: bool,
) -> None:
    project.write(ECHO)
    await project.start()

    answer = await http.post(
        f"{project.gateway.url}/jobs/x",
        data=body,
        headers={"Content-Type": content_type} if content_type else {},
        skip_auto_headers=["Content-Type"],
    )
    event = await answer.json()

    assert event["isBase64Encoded"] is is_base64
    text = event["body"]
    assert (base64.b64decode(text) if is_base64 else text.encode()) == body


@pytest.mark.parametrize(
    ("method", "path", "route_key"),
    [
        ("GET", "/all/one", "GET /all/one"),
        ("POST", "/all/one", "ANY /all/{proxy+}"),
        ("GET", "/all/one/two", "ANY /all/{proxy+}"),
        ("POST", "/jobs/x", "POST /jobs/{name}"),
    ],
)
async def test_the_most_specific_route_wins(
    project: Project, http: aiohttp.ClientSession, method: str, path: str, route_key: str
) -> None:
    project.write(ECHO)
    await project.start()

    answer = await http.request(method, project.gateway.url + path)

    assert (await answer.json())["routeKey"] == route_key


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Host": "evil.example"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
async def test_a_website_reaches_no_function(
    project: Project, http: aiohttp.ClientSession, headers: dict[str, str], status: int
) -> None:
    project.write(ECHO)
    await project.start()

    answer = await http.post(f"{project.gateway.url}/jobs/x", json={}, headers=headers)

    assert answer.status == status
    assert len(project.deliveries) == (status == 200)


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/jobs/x"), ("POST", "/jobs/x/y"), ("POST", "/jobs/"), ("GET", "/all/")],
)
async def test_what_has_no_route_is_not_found(
    project: Project, http: aiohttp.ClientSession, method: str, path: str
) -> None:
    await project.start()

    answer = await http.request(method, project.gateway.url + path)

    assert (answer.status, await answer.json()) == (404, {"message": "Not Found"})


async def answer_to(project: Project, http: aiohttp.ClientSession, order: Any) -> Any:
    return await http.post(f"{project.gateway.url}/jobs/x", json=order)


async def test_the_function_chooses_status_headers_cookies_and_body(
    project: Project, http: aiohttp.ClientSession
) -> None:
    project.write(ANSWER)
    await project.start()
    wanted = {
        "statusCode": 489,
        "headers": {"Upstash-NonRetryable-Error": "true", "Retry-After": 5},
        "cookies": ["a=1", "b=2; HttpOnly"],
        "body": base64.b64encode(b"\xff\x00").decode(),
        "isBase64Encoded": True,
    }

    answer = await answer_to(project, http, {"answer": wanted})

    assert answer.status == 489
    assert answer.headers["Upstash-NonRetryable-Error"] == "true"
    assert answer.headers["Retry-After"] == "5"
    assert answer.headers.getall("Set-Cookie") == ["a=1", "b=2; HttpOnly"]
    assert await answer.read() == b"\xff\x00"


@pytest.mark.parametrize("answer", [{"message": "hi"}, "text", [1], None, 7])
async def test_an_answer_without_a_status_is_the_body_of_a_200(
    project: Project, http: aiohttp.ClientSession, answer: Any
) -> None:
    project.write(ANSWER)
    await project.start()

    got = await answer_to(project, http, {"answer": answer})

    assert (got.status, got.content_type) == (200, "application/json")
    text = await got.text()
    assert (text if isinstance(answer, str) else json.loads(text)) == answer


@pytest.mark.parametrize(
    "answer",
    [
        {"statusCode": "soon"},
        {"statusCode": 42},
        {"statusCode": 200, "body": {"a": 1}},
        {"statusCode": 200, "headers": ["a"]},
        {"statusCode": 200, "headers": {"a": "b\r\nc: d"}},
        {"statusCode": 200, "body": "%%%", "isBase64Encoded": True},
    ],
)
def test_a_malformed_answer_is_refused(answer: Any) -> None:
    with pytest.raises(MalformedResponseError):
        response_from(answer, Source.HTTP_API)


@pytest.mark.parametrize(
    "code",
    [
        "def handler(event, context): raise ValueError('secret')",
        "import os\ndef handler(event, context): os._exit(1)",
        "import time\ndef handler(event, context): time.sleep(30)",
        "def handler(event, context): return {'statusCode': 'soon'}",
        "import nowhere",
    ],
    ids=["raises", "exits", "times out", "malformed", "cannot start"],
)
async def test_a_function_that_fails_is_a_bad_gateway(
    project: Project, http: aiohttp.ClientSession, code: str
) -> None:
    project.template(timeout=0.5)
    project.write(code)
    await project.start()

    answer = await http.post(f"{project.gateway.url}/jobs/x")

    assert (answer.status, await answer.json()) == (502, {"message": "Internal Server Error"})


async def test_a_throttled_event_is_an_internal_server_error(
    project: Project, http: aiohttp.ClientSession
) -> None:
    project.write(ANSWER)
    await project.start(concurrency=0)

    answer = await answer_to(project, http, {"answer": 1})

    assert (answer.status, await answer.json()) == (500, {"message": "Internal Server Error"})


async def test_the_gateway_waits_no_longer_than_its_own_timeout(
    project: Project, http: aiohttp.ClientSession
) -> None:
    project.write(ANSWER)
    await project.start(integration_timeout=0.3)

    answer = await answer_to(project, http, {"sleep": 2, "answer": 1})

    assert (answer.status, await answer.json()) == (503, {"message": "Service Unavailable"})


@pytest.mark.parametrize("size", [7, 11])
async def test_a_body_that_is_too_large_for_lambda_or_for_the_gateway_is_refused(
    project: Project, http: aiohttp.ClientSession, size: int
) -> None:
    project.write(ECHO)
    await project.start()

    answer = await http.post(
        f"{project.gateway.url}/jobs/x", data=io.BytesIO(b"x" * size * 1024 * 1024)
    )

    assert (answer.status, await answer.json()) == (413, {"message": "Request Entity Too Large"})


async def test_a_function_url_has_a_host_of_its_own_and_waits_longer(
    project: Project, http: aiohttp.ClientSession
) -> None:
    project.template(more="FunctionUrlConfig: {AuthType: NONE}")
    project.write("import time\ndef handler(event, context):\n  time.sleep(0.5)\n  return event")
    await project.start(integration_timeout=0.1)
    (url,) = project.gateway.function_urls.values()

    event = await (await http.post(f"{url}any/p%61th%2F?q=%20", json={})).json()

    assert event["routeKey"] == event["requestContext"]["routeKey"] == "$default"
    assert event["requestContext"]["accountId"] == "anonymous"
    assert event["rawQueryString"] == "q=%20"
    assert event["rawPath"].startswith("/any/p")
    assert event["rawPath"].endswith("%2F")
    assert "pathParameters" not in event


async def test_a_function_that_fails_behind_its_url_is_a_bad_gateway(
    project: Project, http: aiohttp.ClientSession
) -> None:
    project.template(more="FunctionUrlConfig: {AuthType: NONE}")
    project.write("def handler(event, context): raise ValueError")
    await project.start()
    (url,) = project.gateway.function_urls.values()

    assert (await http.get(url)).status == 502


async def test_every_delivery_is_told_with_method_path_status_and_time(
    project: Project, http: aiohttp.ClientSession
) -> None:
    project.write(ANSWER)
    await project.start()

    await answer_to(project, http, {"answer": {"statusCode": 202}})
    await asyncio.sleep(0)

    (delivery,) = project.deliveries
    assert (delivery.method, delivery.path, delivery.status) == ("POST", "/jobs/x", 202)
    assert delivery.milliseconds > 0


async def test_it_listens_on_this_machine_only(project: Project) -> None:
    await project.start()

    assert project.gateway.url.startswith("http://127.0.0.1:")
