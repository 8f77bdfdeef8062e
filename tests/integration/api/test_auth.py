"""Who may call the API, and that every call is on record."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from psycopg.errors import CheckViolation

from functions.create_notification.handler import create_notification
from functions.process_webhook.handler import process_webhook
from stashjobs.operators import access, search

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
    ("POST", "/api/jobs/some/run-now", "operate"),
    ("POST", "/api/jobs/some/reschedule", "operate"),
    ("POST", "/api/jobs/some/edit", "operate"),
    ("DELETE", "/api/jobs/some", "operate"),
    ("GET", "/api/admin/dead-letters", "read"),
    ("POST", "/api/admin/dead-letters/delete", "operate"),
    ("POST", "/api/admin/jobs/retry", "operate"),
    ("POST", "/api/admin/jobs/cancel", "operate"),
    ("POST", "/api/admin/jobs/run-now", "operate"),
    ("POST", "/api/admin/jobs/delete", "operate"),
    ("GET", "/api/types", "read"),
    ("GET", "/api/admin/batches", "read"),
    ("GET", "/api/admin/batches/some", "read"),
    ("GET", "/api/admin/types", "read"),
    ("POST", "/api/admin/types/some/pause", "operate"),
    ("POST", "/api/admin/types/some/resume", "operate"),
    ("POST", "/api/admin/types/some/limit", "operate"),
    ("GET", "/api/admin/schedules", "read"),
    ("POST", "/api/admin/schedules/some/pause", "operate"),
    ("POST", "/api/admin/schedules/some/resume", "operate"),
    ("POST", "/api/admin/schedules/some/run", "operate"),
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
        (method.upper(), re.sub(r"{.*}", "some", path.replace("{user_id}", "u_1")))
        for path, methods in paths.items()
        for method in methods
    }
    open_to_all = {("GET", "/livez"), ("GET", "/readyz")}
    assert there - open_to_all == {(method, path) for method, path, _ in ROUTES}


@pytest.mark.parametrize("header", [None, "Bearer nonsense", "Bearer ", "Basic YTpi"])
def test_without_a_known_token_every_route_is_401(
    anonymous: TestClient, header: str | None
) -> None:
    headers = {} if header is None else {"Authorization": header}
    for method, path, _ in ROUTES:
        answer = anonymous.request(method, path, json=body(path), headers=headers)
        assert answer.status_code == 401, (method, path)
        assert answer.headers["www-authenticate"] == "Bearer", (method, path)


def test_without_the_scope_every_route_is_403(caller: Callable[..., TestClient]) -> None:
    without = {
        scope: caller(*[one for one in access.SCOPES if one != scope]) for scope in access.SCOPES
    }
    for method, path, scope in ROUTES:
        answer = without[scope].request(method, path, json=body(path))
        assert answer.status_code == 403, (method, path)
        assert answer.json() == {"error": f"this token does not have the scope {scope}"}


def test_the_document_names_the_scope_of_every_route(anonymous: TestClient) -> None:
    described = {
        (method.upper(), re.sub(r"{.*}", "some", template.replace("{user_id}", "u_1"))): operation
        for template, operations in anonymous.get("/openapi.json").json()["paths"].items()
        for method, operation in operations.items()
    }
    for method, path, scope in ROUTES:
        assert described[method, path]["security"] == [{"token": [scope]}], (method, path)


def test_with_the_scope_every_route_lets_in(caller: Callable[..., TestClient]) -> None:
    having = {scope: caller(scope) for scope in access.SCOPES}
    for method, path, scope in ROUTES:
        answer = having[scope].request(method, path, json=body(path))
        assert answer.status_code not in {401, 403, 500}, (method, path)


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


def test_who_made_and_revoked_a_token_is_on_record(table: Table) -> None:
    access.create_token(table.other, "app", ["read"], actor="ada")
    assert access.create_token(table.other, "app", ["read"], actor="eve") is None
    assert access.revoke_token(table.other, "app", actor="bob")
    assert not access.revoke_token(table.other, "app", actor="eve")
    rows = table.run(
        "SELECT actor, action, token, scopes FROM token_actions WHERE token = 'app'"
        " ORDER BY action_id"
    )
    assert [tuple(row.values()) for row in rows] == [
        ("ada", "make token", "app", ["read"]),
        ("bob", "revoke token", "app", ["read"]),
    ]


def test_a_job_and_its_story_tell_which_token_enqueued_it(
    caller: Callable[..., TestClient], table: Table
) -> None:
    fits = {"userId": "u_1", "type": "t", "title": "x", "message": "m"}
    body = {"type": "create-notification", "payload": fits}
    job_id = caller("enqueue", name="shop").post("/api/jobs", json=body).json()["jobId"]
    assert table.row(job_id)["enqueued_by"] == "shop"
    shown = caller("read").get(f"/api/jobs/{job_id}").json()
    assert shown["enqueuedBy"] == "shop"
    assert shown["story"][0]["note"] == "recorded, by the token shop"


def test_what_a_payload_was_before_an_edit_is_on_record(
    caller: Callable[..., TestClient], table: Table
) -> None:
    fits = {"userId": "u_1", "type": "t", "title": "x", "message": "m"}
    job_id = table.add(create_notification, fits)
    table.run("UPDATE job_executions SET status = 'cancelled', completed_at = now()")
    operator = caller("operate", "read", name="ada")
    edited = {"payload": fits | {"title": "y"}}
    assert operator.post(f"/api/jobs/{job_id}/retry", json=edited).status_code == 200
    [action] = table.run("SELECT before FROM job_actions")
    assert action["before"]["payload"] == fits
    assert len(action["before"]["payloadHash"]) == 64
    story = operator.get(f"/api/jobs/{job_id}").json()["story"]
    assert any(
        "retried by ada with another payload; before it was sha256:" in event["note"]
        for event in story
    )


# --- who may enqueue what

EXPORT = {
    "type": "export-data",
    "payload": {"entity": "executions", "format": "csv", "email": "attacker@example.com"},
}
FORGED = {"source": "github", "event": "push", "id": "1", "body": {}}


def enqueue(token: TestClient, job_type: str, payload: object, **more: object) -> tuple[int, str]:
    answer = token.post("/api/jobs", json={"type": job_type, "payload": payload, **more})
    return answer.status_code, answer.text


@pytest.mark.parametrize(
    ("job_type", "payload"),
    [
        ("export-data", {"entity": "executions", "format": "csv", "email": "attacker@example.com"}),
        ("generate-report", {"kind": "usage", "format": "json"}),
        ("cleanup-old-data", {"retention": 1}),
        ("process-webhook", FORGED),
        ("process-stripe-webhook", {"event": {}}),
    ],
)
def test_the_scope_enqueue_alone_is_no_way_to_what_is_not_for_apps(
    caller: Callable[..., TestClient], table: Table, job_type: str, payload: object
) -> None:
    for scopes in (["enqueue"], ["enqueue", "read"], ["enqueue:send-email", "operate"]):
        status, text = enqueue(caller(*scopes), job_type, payload)
        assert status == 403, text
        assert job_type in text
    assert table.rows() == []


@pytest.mark.parametrize(
    "scopes", [["enqueue", "operate"], ["enqueue:export-data"], ["read", "enqueue:export-data"]]
)
def test_operators_types_want_operate_or_the_type_by_its_name(
    caller: Callable[..., TestClient], scopes: list[str]
) -> None:
    status, text = enqueue(caller(*scopes), "export-data", {"entity": "executions"})
    assert status == 202, text


def test_no_token_at_all_enqueues_what_stands_for_a_verified_source(
    caller: Callable[..., TestClient], table: Table
) -> None:
    everything = caller("enqueue", "operate", "read", "enqueue:process-webhook")
    status, text = enqueue(everything, "process-webhook", FORGED)
    assert (status, "by the system itself" in text) == (403, True)
    assert table.rows() == []


def test_a_scope_for_one_type_is_for_this_type_and_nothing_else(
    caller: Callable[..., TestClient], table: Table
) -> None:
    token = caller("enqueue:create-notification")
    fits = {"userId": "u_1", "type": "t", "title": "x", "message": "m"}
    assert enqueue(token, "create-notification", fits)[0] == 202
    assert enqueue(token, "send-email", {})[0] == 403
    marks = token.post("/api/users/u_1/notifications/read", json={})
    assert marks.status_code == 403
    many = {"jobs": [{"type": "create-notification", "payload": fits}, EXPORT]}
    assert token.post("/api/jobs", json=many).status_code == 403
    assert len(table.rows()) == 1


@pytest.mark.parametrize("key", ["stripe:sub_1:started:email", "STRIPE:x", "stashjobs:x"])
def test_the_systems_own_idempotency_keys_cannot_be_taken(
    caller: Callable[..., TestClient], table: Table, key: str
) -> None:
    token = caller("enqueue")
    fits = {"userId": "u_1", "type": "t", "title": "x", "message": "m"}
    status, text = enqueue(token, "create-notification", fits, idempotencyKey=key)
    assert (status, "the system's own" in text) == (422, True)
    body = {"type": "create-notification", "payload": fits}
    answer = token.post("/api/jobs", json=body, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert table.rows() == []


def test_the_payload_of_a_verified_event_cannot_be_replaced(
    caller: Callable[..., TestClient], table: Table
) -> None:
    job_id = table.add(process_webhook, FORGED)
    table.run("UPDATE job_executions SET status = 'cancelled', completed_at = now()")
    operator = caller("operate")
    forged = operator.post(f"/api/jobs/{job_id}/retry", json={"payload": FORGED | {"id": "2"}})
    assert forged.status_code == 409
    assert table.row(job_id)["payload"] == FORGED
    assert operator.post(f"/api/jobs/{job_id}/retry").status_code == 200


@pytest.mark.parametrize("scope", ["enqueue:", "enqueue:Nope", "read:x", "admin", "a,read", ""])
def test_a_scope_that_makes_no_sense_is_none(table: Table, scope: str) -> None:
    assert not access.is_scope(scope)
    with pytest.raises(CheckViolation):
        access.create_token(table.other, "odd", [scope])


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


def test_every_access_of_a_known_token_is_on_record_and_others_are_counted(
    anonymous: TestClient,
    caller: Callable[..., TestClient],
    table: Table,
    capsys: pytest.CaptureFixture[str],
) -> None:
    anonymous.get("/api/jobs")
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["UnknownTokens"] for line in lines if "UnknownTokens" in line] == [[1.0]]
    caller("read").get("/api/types")
    caller("enqueue").get("/api/types")
    rows = table.run("SELECT actor, method, path, outcome FROM access_log ORDER BY access_id")
    assert [tuple(row.values()) for row in rows] == [
        ("read", "GET", "/api/types", "allowed"),
        ("enqueue", "GET", "/api/types", "forbidden"),
    ]


def test_an_access_is_on_record_whatever_is_wrong_with_the_request(
    caller: Callable[..., TestClient], table: Table
) -> None:
    app = caller("enqueue")
    kind = {"Content-Type": "application/json"}
    for content in (b"{", b"\xff", b"[" * 100_000, b"1" * 10_000):
        assert app.post("/api/jobs", content=content, headers=kind).status_code == 422
    assert app.post("/api/jobs", content=b"a=b").status_code == 415
    assert app.post("/api/jobs?dry_run=1", json={}).status_code == 422
    rows = table.run("SELECT outcome FROM access_log")
    assert [row["outcome"] for row in rows] == ["allowed"] * 6


def test_an_unknown_caller_learns_nothing_of_what_is_wrong_with_the_request(
    anonymous: TestClient,
) -> None:
    json = {"Content-Type": "application/json"}
    assert anonymous.post("/api/jobs", content=b"{", headers=json).status_code == 401
    assert anonymous.get("/api/jobs?stauts=failed").status_code == 401


def test_every_answer_to_a_known_token_tells_how_many_requests_are_left(
    caller: Callable[..., TestClient],
) -> None:
    app = caller("read", per_minute=50)
    left = [app.get("/api/types"), app.get("/api/jobs/none"), app.get("/api/jobs?limit=0")]
    numbers = [int(answer.headers["ratelimit-remaining"]) for answer in left]
    assert [answer.status_code for answer in left] == [200, 404, 422]
    assert all(0 < number < 50 for number in numbers)


def test_every_answer_has_the_headers_that_protect(anonymous: TestClient) -> None:
    for path in ("/livez", "/api/jobs", "/no-such-page"):
        headers = anonymous.get(path).headers
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"] == "no-store"
        assert headers["x-frame-options"] == "DENY"


def test_an_error_that_nobody_thought_of_has_them_too_and_tells_nothing(
    caller: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("a-secret-word")

    monkeypatch.setattr(search, "find", broken)
    answer = caller("read").get("/api/jobs/some")
    assert answer.status_code == 500
    assert answer.json() == {"error": "something went wrong; the log says what it was"}
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
