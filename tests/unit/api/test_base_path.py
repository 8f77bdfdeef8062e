"""The API behind a custom domain's mapping, or a stage's name."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.requests import Request

from functions.api import base_path
from functions.api.handler import handler
from tests.deliveries import lambda_context


@pytest.mark.parametrize(
    ("route", "path", "base"),
    [
        ("GET /livez", "/livez", ""),
        ("ANY /livez", "/v1/livez", "/v1"),
        ("ANY /livez", "/jobs/v1/livez", "/jobs/v1"),
        ("ANY /api/jobs/{job_id+}", "/v1/api/jobs/0190", "/v1"),
        ("ANY /api/jobs/{job_id+}", "/api/jobs/orders/7/retry", ""),
        ("ANY /admin/{proxy+}", "/v1/admin/jobs/a/payload", "/v1"),
        ("ANY /admin/{proxy+}", "/admin/admin/jobs", ""),
        ("$default", "/v1/livez", ""),
        ("GET /livez", "/elsewhere", ""),
    ],
)
def test_the_route_that_was_found_tells_what_is_before_it(route: str, path: str, base: str) -> None:
    assert base_path.of_event({"routeKey": route, "rawPath": path}) == base


def event(route: str, path: str) -> dict[str, Any]:
    return {
        "version": "2.0",
        "routeKey": route,
        "rawPath": path,
        "rawQueryString": "",
        "headers": {"host": "jobs.example.test", "x-forwarded-proto": "https"},
        "requestContext": {
            "domainName": "jobs.example.test",
            "stage": "$default",
            "http": {
                "method": "GET",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "192.0.2.1",
            },
        },
        "isBase64Encoded": False,
    }


@pytest.mark.parametrize("base", ["", "/v1"])
def test_livez_and_the_document_answer_behind_a_base_path(base: str) -> None:
    for path in ("/livez", "/openapi.json"):
        answer = handler(event(f"GET {path}", base + path), lambda_context())
        assert answer["statusCode"] == 200, answer


def test_a_base_path_may_have_the_name_of_a_route() -> None:
    answer = handler(event("ANY /livez", "/livez/livez"), lambda_context())
    assert answer["statusCode"] == 200


def test_the_document_says_where_the_api_is() -> None:
    answer = handler(event("GET /openapi.json", "/v1/openapi.json"), lambda_context())
    assert json.loads(answer["body"])["servers"] == [{"url": "/v1"}]


@pytest.mark.parametrize("path", ["/", "/v1/"])
def test_the_root_leads_to_the_dashboard(path: str) -> None:
    answer = handler(event("ANY /", path), lambda_context())
    assert (answer["statusCode"], answer["headers"]["location"]) == (303, f"{path}admin")


def test_a_base_path_alone_leads_to_the_root() -> None:
    answer = handler(event("ANY /", "/v1"), lambda_context())
    assert answer["headers"]["location"] == "https://jobs.example.test/v1/"


def test_every_link_of_the_dashboard_has_the_base_path() -> None:
    answer = handler(event("ANY /admin/{proxy+}", "/v1/admin/sign-in"), lambda_context())
    assert answer["statusCode"] == 200
    assert 'action="/v1/admin/sign-in"' in answer["body"]
    assert 'href="/v1/admin/static/' in answer["body"]
    assert '="/admin/' not in answer["body"].replace('value="/admin', "")


def test_what_comes_from_data_is_no_link() -> None:
    behind = Request({"type": "http", "root_path": "/v1"})
    page = '<a href="/admin">=&#34;/admin&#34;</a><a href="//x">'
    assert base_path.linked(behind, page) == (
        '<a href="/v1/admin">=&#34;/admin&#34;</a><a href="//x">'
    )
    assert base_path.link(behind, "https://a.example") == "https://a.example"
