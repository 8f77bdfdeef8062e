"""The shapes in which a request reaches a Lambda."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from stashjobs.delivery.request import is_http, read_request, respond


def event(**changed: Any) -> dict[str, Any]:
    context = {
        "domainName": "abc123.execute-api.eu-west-1.amazonaws.com",
        "http": {"method": "POST", "path": changed.pop("path", "/api/jobs/email")},
        "stage": "$default",
    } | changed.pop("context", {})
    return {
        "version": "2.0",
        "rawPath": "/api/jobs/email",
        "rawQueryString": "",
        "headers": {"x-forwarded-proto": "https", "x-forwarded-port": "443"},
        "requestContext": context,
        "body": "{}",
        "isBase64Encoded": False,
    } | changed


def test_an_api_gateway_event() -> None:
    request = read_request(event())
    assert request.urls == ("https://abc123.execute-api.eu-west-1.amazonaws.com/api/jobs/email",)
    assert request.by_function_url is False
    assert request.body == b"{}"


def test_a_function_url_event() -> None:
    domain = "abc123.lambda-url.eu-west-1.on.aws"
    called = event(rawPath="/", path="/", context={"domainName": domain})
    request = read_request({**called, "routeKey": "$default"})
    assert request.urls == (f"https://{domain}/",)
    assert request.by_function_url is True


def test_a_custom_domain_is_the_url_that_was_called() -> None:
    request = read_request(event(context={"domainName": "jobs.example.com"}))
    assert request.urls == ("https://jobs.example.com/api/jobs/email",)


def test_a_stage_prefix_may_be_seen_or_hidden() -> None:
    request = read_request(event(rawPath="/staging/api/jobs/email", path="/staging/api/jobs/email"))
    assert request.urls[0].endswith(".amazonaws.com/staging/api/jobs/email")
    request = read_request(event(rawPath="/api/jobs/email", path="/staging/api/jobs/email"))
    assert {url.partition(".com")[2] for url in request.urls} == {
        "/api/jobs/email",
        "/staging/api/jobs/email",
    }


def test_a_query_string_is_part_of_the_url() -> None:
    [url] = read_request(event(rawQueryString="a=b%20c&d=")).urls
    assert url.endswith("/api/jobs/email?a=b%20c&d=")


@pytest.mark.parametrize(
    ("proto", "port", "origin"),
    [
        ("https", "443", "https://localhost"),
        ("http", "80", "http://localhost"),
        ("http", "3000", "http://localhost:3000"),
        ("https", "8443", "https://localhost:8443"),
        ("http", "443", "http://localhost:443"),
    ],
)
def test_a_local_gateway_has_its_port_in_the_url(proto: str, port: str, origin: str) -> None:
    headers = {"X-Forwarded-Proto": proto, "X-Forwarded-Port": port}
    [url] = read_request(event(headers=headers, context={"domainName": "localhost"})).urls
    assert url == f"{origin}/api/jobs/email"


def test_without_forwarded_headers_it_is_https() -> None:
    [url] = read_request(event(headers=None)).urls
    assert url.startswith("https://abc123.")


def test_header_names_have_no_case() -> None:
    request = read_request(event(headers={"Upstash-SIGNATURE": "s", "UPSTASH-Message-Id": "m"}))
    assert request.headers == {"upstash-signature": "s", "upstash-message-id": "m"}


@pytest.mark.parametrize("body", [b"", b"{}", "grüße".encode(), b"\xff\xfe\x00", bytes(range(256))])
def test_a_base64_body_is_the_bytes_that_were_sent(body: bytes) -> None:
    encoded = base64.b64encode(body).decode()
    assert read_request(event(body=encoded, isBase64Encoded=True)).body == body


@pytest.mark.parametrize("changed", [{"body": None}, {"body": ""}])
def test_no_body_is_an_empty_one(changed: dict[str, Any]) -> None:
    assert read_request(event(**changed)).body == b""
    without = event()
    del without["body"]
    assert read_request(without).body == b""


def test_a_text_body_is_utf_8() -> None:
    assert read_request(event(body="grüße")).body == "grüße".encode()


@pytest.mark.parametrize(
    ("invocation", "expected"),
    [
        (event(), True),
        ({}, False),
        ({"type": "cleanup"}, False),
        ({"requestContext": None}, False),
        ({"requestContext": "http"}, False),
        ({"requestContext": {"httpMethod": "POST"}}, False),
    ],
)
def test_only_http_events_are_http(invocation: dict[str, Any], expected: bool) -> None:
    assert is_http(invocation) is expected


def test_an_answer_is_json_in_format_2() -> None:
    answer = respond(409, {"error": "grüße"}, {"Retry-After": "7"})
    assert answer["statusCode"] == 409
    assert answer["headers"] == {"content-type": "application/json", "Retry-After": "7"}
    assert json.loads(answer["body"]) == {"error": "grüße"}
