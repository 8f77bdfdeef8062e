"""`/api/jobs`: what an app in any language can do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from stashjobs import PermanentError, database, job
from tests.deliveries import deliver

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient

    from tests.deliveries import Table

WELCOME = {
    "to": "ada@example.com",
    "template": "welcome",
    "data": {"name": "Ada", "getStartedUrl": "https://app.example.com"},
}


def _function(payload: dict[str, Any], _context: Any) -> dict[str, Any]:
    if payload.get("fail"):
        raise PermanentError("no luck")
    return {"well": "done"}


asked = job("asked", endpoint="/api/jobs/asked", retries=1)(_function)


@pytest.fixture
def app(caller: Callable[..., TestClient]) -> TestClient:
    return caller("enqueue", "read", "operate", name="app")


def test_a_job_is_enqueued(app: TestClient, table: Table) -> None:
    answer = app.post(
        "/api/jobs",
        json={
            "type": "send-email",
            "payload": WELCOME,
            "userId": "u_1",
            "organizationId": "o_1",
            "metadata": {"from": "signup"},
        },
    )
    assert answer.status_code == 202
    job_id = answer.json()["jobId"]
    assert answer.json() == {"jobId": job_id, "created": True, "published": False}
    row = table.row(job_id)
    assert (row["status"], row["user_id"], row["organization_id"]) == ("pending", "u_1", "o_1")
    assert row["metadata"] == {"from": "signup"}


def test_the_same_idempotency_key_gives_the_first_job(app: TestClient, table: Table) -> None:
    request = {"type": "send-email", "payload": WELCOME}
    first = app.post("/api/jobs", json=request, headers={"Idempotency-Key": "k"})
    second = app.post("/api/jobs", json=request, headers={"Idempotency-Key": "k"})
    assert (first.status_code, second.status_code) == (202, 200)
    assert second.json() == {"jobId": first.json()["jobId"], "created": False, "published": False}
    assert len(table.rows()) == 1


def test_many_are_enqueued_in_their_order(app: TestClient, table: Table) -> None:
    jobs = [{"type": "asked", "payload": {"n": n}} for n in range(3)]
    answer = app.post(
        "/api/jobs", json={"jobs": [*jobs, {"type": "send-email", "payload": WELCOME}]}
    )
    ids = [one["jobId"] for one in answer.json()["jobs"]]
    assert [table.row(job_id)["payload"] for job_id in ids[:3]] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert table.row(ids[3])["job_type"] == "send-email"


@pytest.mark.parametrize(
    ("request_body", "status", "words"),
    [
        ({"type": "no-such-type"}, 404, "unknown job type"),
        ({"type": "send-email", "payload": {}}, 422, "template: Field required"),
        ({"type": "asked", "payload": {}, "delay": -1}, 422, "delay"),
        ({"type": "asked", "payload": {}, "at": "2030-01-01T00:00:00"}, 422, "time zone"),
        ({"type": "asked", "payload": {}, "userID": "typo"}, 422, "userID"),
        ({"type": "asked", "payload": "x" * 1_000_001}, 413, "1000003 bytes"),
        ({"type": "asked", "payload": {}, "idempotencyKey": ""}, 422, "idempotency_key is empty"),
        ({"jobs": []}, 422, "jobs"),
        (
            {"jobs": [{"type": "asked", "payload": {}}, {"type": "send-email", "payload": {}}]},
            422,
            "template: Field required",
        ),
        (
            {"jobs": [{"type": "asked", "payload": {}, "idempotencyKey": "k"}] * 2},
            422,
            "same type and idempotency key",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(
    app: TestClient, table: Table, request_body: dict[str, Any], status: int, words: str
) -> None:
    answer = app.post("/api/jobs", json=request_body)
    assert answer.status_code == status, answer.text
    assert words in answer.text
    assert table.rows() == []


def test_what_is_not_json_is_refused(app: TestClient) -> None:
    assert app.post("/api/jobs", content=b"{").status_code == 422


def test_one_job_is_shown_with_its_story(app: TestClient, table: Table) -> None:
    job_id = table.add(asked, {"fail": True})
    deliver(asked, job_id)
    shown = app.get(f"/api/jobs/{job_id}").json()
    assert (shown["jobId"], shown["status"], shown["attempt"]) == (job_id, "failed", 1)
    assert [event["state"] for event in shown["story"]][-2:] == ["processing", "failed"]
    assert "payload" not in shown


def test_a_job_that_does_not_exist_is_404(app: TestClient) -> None:
    assert app.get("/api/jobs/nowhere").status_code == 404
    assert app.post("/api/jobs/nowhere/retry").status_code == 409


def test_jobs_are_listed_page_by_page_the_newest_first(app: TestClient, table: Table) -> None:
    ids = [table.add(asked, {}) for _ in range(5)]
    seen: list[str] = []
    cursor = None
    for _ in range(3):
        page = app.get("/api/jobs", params={"limit": 2, **({"cursor": cursor} if cursor else {})})
        seen += [one["jobId"] for one in page.json()["jobs"]]
        cursor = page.json()["next"]
    assert seen == ids[::-1]
    assert cursor is None


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"type": "asked"}, 2),
        ({"type": "other"}, 0),
        ({"status": "failed"}, 1),
        ({"userId": "u_1"}, 1),
        ({"organizationId": "o_1"}, 1),
        ({"error": "LUCK"}, 1),
        ({"metadata": '{"from": "signup"}'}, 1),
        ({"createdAfter": "2000-01-01T00:00:00Z"}, 2),
        ({"createdBefore": "2000-01-01T00:00:00Z"}, 0),
    ],
)
def test_lists_are_filtered(
    app: TestClient, table: Table, query: dict[str, str], expected: int
) -> None:
    deliver(asked, table.add(asked, {"fail": True}, user_id="u_1", metadata={"from": "signup"}))
    table.add(asked, {}, organization_id="o_1")
    assert len(app.get("/api/jobs", params=query).json()["jobs"]) == expected


@pytest.mark.parametrize("query", [{"cursor": "x"}, {"metadata": "["}, {"limit": "0"}])
def test_a_query_that_makes_no_sense_is_422(app: TestClient, query: dict[str, str]) -> None:
    assert app.get("/api/jobs", params=query).status_code == 422


def test_a_failed_job_is_retried_with_an_edited_payload_by_the_tokens_name(
    app: TestClient, table: Table
) -> None:
    job_id = table.add(asked, {"fail": True})
    deliver(asked, job_id)
    answer = app.post(f"/api/jobs/{job_id}/retry", json={"payload": {"fail": False}})
    assert answer.json() == {"count": 1, "dryRun": False}
    assert table.row(job_id)["payload"] == {"fail": False}
    assert table.run("SELECT actor FROM job_actions WHERE job_id = %s", job_id) == [
        {"actor": "app"}
    ]


def test_many_are_counted_and_retried(app: TestClient, table: Table) -> None:
    for _ in range(3):
        deliver(asked, table.add(asked, {"fail": True}))
    which = {"type": "asked", "status": "failed"}
    dry = app.post("/api/admin/jobs/retry", json={**which, "dryRun": True})
    assert dry.json() == {"count": 3, "dryRun": True}
    assert app.post("/api/admin/jobs/retry", json=which).json()["count"] == 3
    assert app.post("/api/admin/jobs/retry", json={}).status_code == 409


def test_many_are_cancelled(app: TestClient, table: Table) -> None:
    table.add(asked, {}, user_id="u_1")
    assert app.post("/api/admin/jobs/cancel", json={"userId": "u_1"}).json()["count"] == 1


def test_a_job_is_cancelled_once(app: TestClient, table: Table) -> None:
    job_id = table.add(asked, {})
    assert app.post(f"/api/jobs/{job_id}/cancel").status_code == 200
    answer = app.post(f"/api/jobs/{job_id}/cancel")
    assert (answer.status_code, "is cancelled" in answer.text) == (409, True)


def test_types_are_listed(app: TestClient) -> None:
    types = {one["type"]: one for one in app.get("/api/types").json()}
    assert types["send-email"]["endpoint"] == "/api/jobs/email"


def test_while_postgres_is_away_the_answer_is_503_and_says_no_more(
    app: TestClient, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("POSTGRES_URL", "postgresql://u:secret-word@127.0.0.1:9/none")
    for path in ("/api/jobs", "/readyz"):
        answer = app.get(path)
        assert answer.status_code == 503
        assert answer.json() == {"error": "the database cannot be reached; try again"}
    assert app.get("/livez").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "document"),
    [
        ("GET", "/api/jobs?type=%00", None),
        ("GET", "/api/jobs/%00", None),
        ("GET", "/api/jobs?userId=%ED%A0%80%00", None),
        ("POST", "/api/jobs/%00/retry", {}),
        ("POST", "/api/admin/jobs/cancel", {"userId": "\0"}),
        ("POST", "/api/users/u_1/notifications/read", {"ids": [10**30]}),
        ("POST", "/api/jobs", {"type": "asked", "payload": {}, "idempotencyKey": "k" * 5000}),
    ],
)
def test_what_no_row_can_hold_is_the_callers_mistake_and_no_outage(
    app: TestClient, table: Table, method: str, path: str, document: Any
) -> None:
    answer = app.request(method, path, json=document)
    assert answer.status_code == 422
    [entry] = table.run("SELECT * FROM access_log")
    assert entry["outcome"] == "allowed"


def test_a_request_holds_one_connection_at_a_time(
    app: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more, a full pool of requests that each wait for a second one would stand still."""
    database.close_pool()
    monkeypatch.setattr(database, "POOL_MAX_CONNECTIONS", 1)
    monkeypatch.setattr(database, "connection", None)  # nor one of the thread's own
    job_id = app.post("/api/jobs", json={"type": "asked", "payload": {}}).json()["jobId"]
    assert app.post(f"/api/jobs/{job_id}/cancel").status_code == 200
    assert app.post(f"/api/jobs/{job_id}/retry", json={"payload": {}}).status_code == 200
    assert app.get("/api/jobs").status_code == 200
    assert app.get("/api/admin/job-health").status_code == 200
    database.close_pool()
