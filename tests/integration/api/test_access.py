"""Who may call the API, and that every call is on record."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from stashjobs import access

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient

    from tests.deliveries import Table

ROUTES = [
    ("POST", "/api/jobs", "enqueue"),
    ("GET", "/api/jobs", "read"),
    ("GET", "/api/jobs/some", "read"),
    ("POST", "/api/jobs/some/retry", "operate"),
    ("POST", "/api/jobs/some/cancel", "operate"),
    ("POST", "/api/admin/jobs/retry", "operate"),
    ("POST", "/api/admin/jobs/cancel", "operate"),
    ("GET", "/api/types", "read"),
    ("GET", "/api/admin/job-health", "read"),
    ("GET", "/api/admin/job-metrics", "read"),
    ("GET", "/api/users/u_1/notifications", "read"),
    ("POST", "/api/users/u_1/notifications/read", "enqueue"),
    ("POST", "/api/users/u_1/notifications/unread", "enqueue"),
]


def body(path: str) -> dict[str, object]:
    if path == "/api/jobs":
        return {"type": "send-email", "payload": {}}
    return {"type": "no-such-type"} if "admin" in path else {}


def test_the_list_above_has_every_route_that_there_is(anonymous: TestClient) -> None:
    paths = anonymous.get("/openapi.json").json()["paths"]
    there = {
        (method.upper(), path.replace("{job_id}", "some").replace("{user_id}", "u_1"))
        for path, methods in paths.items()
        for method in methods
    }
    open_to_all = {("GET", "/livez"), ("GET", "/readyz")}
    assert there - open_to_all == {(method, path) for method, path, _ in ROUTES}


@pytest.mark.parametrize(("method", "path", "_scope"), ROUTES)
@pytest.mark.parametrize("header", [None, "Bearer nonsense", "Bearer ", "Basic YTpi"])
def test_without_a_known_token_every_route_is_401(
    anonymous: TestClient, method: str, path: str, _scope: str, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = anonymous.request(method, path, json=body(path), headers=headers)
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_without_the_scope_every_route_is_403(
    caller: Callable[..., TestClient], method: str, path: str, scope: str
) -> None:
    others = [one for one in access.SCOPES if one != scope]
    answer = caller(*others).request(method, path, json=body(path))
    assert answer.status_code == 403
    assert answer.json() == {"error": f"this token does not have the scope {scope}"}


@pytest.mark.parametrize(("method", "path", "scope"), ROUTES)
def test_with_the_scope_every_route_lets_in(
    caller: Callable[..., TestClient], method: str, path: str, scope: str
) -> None:
    answer = caller(scope).request(method, path, json=body(path))
    assert answer.status_code not in {401, 403, 500}


def test_the_admin_token_has_every_scope(
    anonymous: TestClient, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("ADMIN_TOKEN", "an-admin-token-of-a-test")
    headers = {"Authorization": "Bearer an-admin-token-of-a-test"}
    assert anonymous.get("/api/jobs", headers=headers).status_code == 200
    wrong = {"Authorization": "Bearer an-admin-token-of-a-tesT"}
    assert anonymous.get("/api/jobs", headers=wrong).status_code == 401


def test_several_tokens_are_good_at_once_and_a_revoked_one_is_not(
    caller: Callable[..., TestClient], table: Table
) -> None:
    old, new = caller("read", name="old"), caller("read", name="new")
    assert [one.get("/api/jobs").status_code for one in (old, new)] == [200, 200]
    assert access.revoke_token(table.other, "old")
    assert [one.get("/api/jobs").status_code for one in (old, new)] == [401, 200]


def test_an_expired_token_is_not_good(anonymous: TestClient, table: Table) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    token = access.create_token(table.other, "past", ["read"], expires_at=past)
    answer = anonymous.get("/api/jobs", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 401


def test_only_the_hash_of_a_token_is_kept(anonymous: TestClient, table: Table) -> None:
    token = access.create_token(table.other, "hashed", ["read"])
    assert token is not None
    assert token not in str(table.run("SELECT * FROM access_tokens"))


def test_a_token_over_its_rate_is_429_until_the_next_minute(
    caller: Callable[..., TestClient], table: Table
) -> None:
    limited = caller("read", per_minute=3)
    answers = [limited.get("/api/jobs") for _ in range(8)]
    refused = [answer for answer in answers if answer.status_code == 429]
    assert len(refused) >= 2  # a minute may have begun in between, once
    assert 0 < int(refused[0].headers["retry-after"]) <= 60
    table.run("UPDATE access_rates SET minute = minute - interval '1 minute'")
    assert limited.get("/api/jobs").status_code == 200


def test_every_access_is_on_record(
    anonymous: TestClient, caller: Callable[..., TestClient], table: Table
) -> None:
    anonymous.get("/api/jobs")
    caller("read").get("/api/types")
    caller("enqueue").get("/api/types")
    rows = table.run("SELECT actor, method, path, outcome FROM access_log ORDER BY access_id")
    assert [tuple(row.values()) for row in rows] == [
        (None, "GET", "/api/jobs", "unknown"),
        ("read", "GET", "/api/types", "allowed"),
        ("enqueue", "GET", "/api/types", "forbidden"),
    ]


def test_every_answer_has_the_headers_that_protect(anonymous: TestClient) -> None:
    for path in ("/livez", "/api/jobs", "/no-such-page"):
        headers = anonymous.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
