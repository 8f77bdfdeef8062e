"""`/api/jobs`: what an app in any language can do."""

from __future__ import annotations

import threading
from random import randbytes
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from psycopg.types.json import Jsonb

from functions.api import jobs
from stashjobs import PermanentError, job
from stashjobs.errors import InvalidPayload
from stashjobs.operators import retry_and_cancel, search
from stashjobs.store import database
from tests.deliveries import deliver, probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from fastapi.testclient import TestClient

    from tests.deliveries import Table

ACTIONS = ("retry", "cancel", "run-now", "delete")
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


def test_a_job_expires_and_is_one_of_a_kind(app: TestClient, table: Table) -> None:
    one = {"type": "asked", "payload": {"n": 1}, "delay": 60}
    first = app.post("/api/jobs", json=one | {"unique": "u", "expires": 600}).json()["jobId"]
    moment = "2090-01-31T09:00:00Z"
    more = {"unique": "u", "replace": True, "expires": moment, "payload": {"n": 2}}
    again = app.post("/api/jobs", json=one | more)
    assert (again.status_code, again.json()["jobId"]) == (200, first)
    row = table.row(first)
    assert (row["payload"], row["expires_at"].isoformat()) == (
        {"n": 2},
        "2090-01-31T09:00:00+00:00",
    )
    assert app.get(f"/api/jobs/{first}").json()["expiresAt"] == moment
    by_field = app.post("/api/jobs", json=one | {"unique": ["n"], "debounce": 5, "delay": None})
    assert by_field.json()["created"] is True


def test_a_job_that_waits_is_run_now_rescheduled_edited_and_deleted(
    app: TestClient, table: Table
) -> None:
    one = {"type": "asked", "payload": {"n": 1}, "delay": 3600}
    job_id = app.post("/api/jobs", json=one).json()["jobId"]
    path = f"/api/jobs/{job_id}"
    moment = "2090-01-31T09:00:00Z"
    answer = app.post(f"{path}/reschedule", json={"at": moment})
    assert answer.json() == {"jobId": job_id, "availableAt": moment}
    assert app.get(path).json()["availableAt"] == moment
    assert app.post(f"{path}/edit", json={"payload": {"n": 2}}).json()["count"] == 1
    assert table.row(job_id)["payload"] == {"n": 2}
    assert app.post(f"{path}/run-now").json()["count"] == 1
    assert deliver(asked, job_id).document["status"] == "completed"
    done = [row["action"] for row in table.run("SELECT * FROM job_actions ORDER BY action_id")]
    assert done == ["reschedule", "edit", "run now"]
    for name, body in {"run-now": {}, "reschedule": {"delay": 1}, "edit": {"payload": {}}}.items():
        assert app.post(f"{path}/{name}", json=body).status_code == 409
        assert app.post(f"/api/jobs/none/{name}", json=body).status_code == 404
    assert app.delete(path).status_code == 409
    other = app.post("/api/jobs", json=one).json()["jobId"]
    assert app.delete(f"/api/jobs/{other}").json()["count"] == 1
    assert app.delete(f"/api/jobs/{other}").status_code == 404
    assert [row["job_id"] for row in table.rows()] == [job_id]


def test_only_an_operator_changes_what_waits(
    caller: Callable[..., TestClient], table: Table
) -> None:
    job_id = table.add(asked)
    reader = caller("enqueue", "read", name="reader")
    for name, body in {"run-now": {}, "reschedule": {"delay": 1}, "edit": {"payload": {}}}.items():
        assert reader.post(f"/api/jobs/{job_id}/{name}", json=body).status_code == 403
    assert reader.delete(f"/api/jobs/{job_id}").status_code == 403


@pytest.mark.parametrize(
    "body", [{}, {"delay": -1}, {"delay": 1, "at": "2090-01-31T09:00:00Z"}, {"at": "soon"}]
)
def test_a_new_time_that_makes_no_sense_is_422(
    app: TestClient, table: Table, body: dict[str, Any]
) -> None:
    job_id = table.add(asked)
    answer = app.post(f"/api/jobs/{job_id}/reschedule", json=body)
    assert answer.status_code == 422
    assert table.run("SELECT * FROM job_actions") == []


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"expires": 30, "delay": 60}, "expires"),
        ({"expires": 0}, "expires"),
        ({"expires": "soon"}, "expires"),
        ({"expires": True}, "expires"),
        ({"unique": ""}, "unique"),
        ({"unique": []}, "unique"),
        ({"unique": ["missing"]}, "unique"),
        ({"unique": "u", "uniqueWhile": "ended"}, "uniqueWhile"),
        ({"debounce": 5}, "unique"),
        ({"unique": "u", "maxWait": 5}, "max_wait"),
    ],
)
def test_an_expiry_or_a_uniqueness_that_makes_no_sense_is_422_and_named(
    app: TestClient, table: Table, options: dict[str, Any], name: str
) -> None:
    answer = app.post("/api/jobs", json={"type": "asked", "payload": {}, **options})
    assert answer.status_code == 422
    assert name in answer.text
    assert table.rows() == []


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


def test_a_job_waits_for_those_in_after(app: TestClient, table: Table) -> None:
    parent = app.post("/api/jobs", json={"type": "send-email", "payload": WELCOME}).json()["jobId"]
    new = {"type": "send-email", "payload": WELCOME, "after": [parent], "when": "ended"}
    answer = app.post("/api/jobs", json=new)
    assert (answer.status_code, answer.json()["published"]) == (202, False)
    assert table.status(answer.json()["jobId"]) == "waiting"
    assert [job["jobId"] for job in app.get("/api/jobs?status=waiting").json()["jobs"]] == [
        answer.json()["jobId"]
    ]
    refused = app.post("/api/jobs", json=new | {"after": ["nobody"]})
    assert (refused.status_code, "there is no job nobody" in refused.text) == (422, True)


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
        ({"type": "asked", "payload": {}, "idempotencyKey": ""}, 422, "idempotencyKey: String"),
        ({"type": "asked", "payload": {}, "delay": "60"}, 422, "delay: must be a number"),
        ({"type": "asked", "payload": {}, "delay": True}, 422, "delay: must be a number"),
        ({"type": "asked", "payload": {}, "retries": "3"}, 422, "retries: must be a number"),
        ({"type": "asked", "payload": {}, "at": 1_900_000_000}, 422, "at: must be a date and time"),
        ({"type": "asked", "at": "2030-01-01T00:00:00Z", "delay": 1}, 422, "not both"),
        ({"type": "asked", "payload": {}, "metadata": {"a": "\0"}}, 422, "U+0000"),
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
    json = {"Content-Type": "application/json"}
    assert app.post("/api/jobs", content=b"{", headers=json).status_code == 422
    assert app.post("/api/jobs", content=b"type=asked").status_code == 415


def test_what_is_wrong_in_a_body_is_named_as_the_caller_wrote_it(app: TestClient) -> None:
    one = app.post("/api/jobs", json={"type": "asked", "bogus": 1})
    assert one.json()["reasons"][0].startswith("body.bogus: ")
    many = app.post("/api/jobs", json={"jobs": [{"type": "asked", "bogus": 1}]})
    assert many.json()["reasons"][0].startswith("body.jobs.0.bogus: ")
    broken = app.post("/api/jobs", content=b"{", headers={"Content-Type": "application/json"})
    assert broken.json()["reasons"] == ["body: JSON decode error"]


def test_a_request_for_many_that_is_sent_again_enqueues_nothing_twice(
    app: TestClient, table: Table
) -> None:
    jobs = {"jobs": [{"type": "asked"}, {"type": "asked", "idempotencyKey": "own"}]}
    first, again = (
        app.post("/api/jobs", json=jobs, headers={"Idempotency-Key": "k"}).json()["jobs"]
        for _ in range(2)
    )
    assert [one["jobId"] for one in first] == [one["jobId"] for one in again]
    assert [one["created"] for one in again] == [False, False]
    assert {row["idempotency_key"] for row in table.rows()} == {"k:0", "own"}


def test_one_job_is_shown_with_its_story(app: TestClient, table: Table) -> None:
    job_id = table.add(asked, {"fail": True})
    deliver(asked, job_id)
    shown = app.get(f"/api/jobs/{job_id}").json()
    assert (shown["jobId"], shown["status"], shown["attempt"]) == (job_id, "failed", 1)
    assert [event["state"] for event in shown["story"]][-2:] == ["processing", "failed"]
    assert "payload" not in shown


def test_a_job_that_does_not_exist_is_404(app: TestClient) -> None:
    assert app.get("/api/jobs/nowhere").status_code == 404
    assert app.post("/api/jobs/nowhere/retry").status_code == 404
    assert app.post("/api/jobs/nowhere/cancel").status_code == 404


def test_a_job_that_still_waits_is_not_retried(app: TestClient, table: Table) -> None:
    answer = app.post(f"/api/jobs/{table.add(asked)}/retry")
    assert (answer.status_code, "is pending" in answer.text) == (409, True)


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


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        (
            "stauts=failed",
            "query.stauts: there is no such parameter; there are batchId, createdAfter, ",
        ),
        ("user_id=u_1", "query.user_id: there is no such parameter"),
        ("status=done", "query.status: Input should be 'waiting', 'pending', 'processing', "),
        ("status=failed&status=pending", "query.status: is given twice"),
        ("cursor=x", "query.cursor: is not one that this API has given"),
        ("metadata=[", "query.metadata: is not a JSON object"),
        ("metadata=[]", "query.metadata: is not a JSON object"),
        ("limit=0", "query.limit: Input should be greater than or equal to 1"),
        ("limit=201", "query.limit: Input should be less than or equal to 200"),
        ("createdAfter=2030-01-01T00:00:00", "query.createdAfter: must be a date and time with a"),
        ("createdBefore=1900000000", "query.createdBefore: must be a date and time with a time"),
    ],
)
def test_a_query_that_makes_no_sense_is_422_and_says_what_is_allowed(
    app: TestClient, query: str, reason: str
) -> None:
    answer = app.get(f"/api/jobs?{query}")
    assert answer.status_code == 422
    assert reason in " ".join(answer.json()["reasons"])


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/jobs/some"),
        ("POST", "/api/jobs"),
        ("POST", "/api/jobs/some/retry"),
        *(("POST", f"/api/admin/jobs/{action}") for action in ACTIONS),
        ("GET", "/api/types"),
        ("GET", "/api/admin/job-metrics"),
        ("GET", "/api/admin/schedules"),
        ("GET", "/api/users/u_1/notifications"),
    ],
)
def test_no_route_ignores_a_parameter_that_it_does_not_know(
    app: TestClient, method: str, path: str
) -> None:
    answer = app.request(method, f"{path}?nonsense=1", json={} if method == "POST" else None)
    assert answer.status_code == 422
    assert "query.nonsense: there is no such parameter" in answer.json()["reasons"][0]


def test_a_search_goes_on_from_where_the_page_before_came_to(
    app: TestClient, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "LOOK_AT", 2)
    wanted = table.add(asked, metadata={"from": "signup"})
    for _ in range(3):
        table.add(asked, metadata={"from": "elsewhere"})
    query = {"metadata": '{"from": "signup"}'}
    first = app.get("/api/jobs", params=query).json()
    assert first["jobs"] == []
    second = app.get("/api/jobs", params=query | {"cursor": first["next"]}).json()
    assert [one["jobId"] for one in second["jobs"]] == [wanted]


def test_a_search_that_takes_too_long_ends_and_says_how_to_narrow_it(
    app: TestClient, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "STATEMENT_SECONDS", "0.001")
    table.run(
        "INSERT INTO job_executions (job_id, job_type, payload, max_attempts, error) "
        "SELECT n::text, 'asked', '{}', 1, repeat('x', 500) FROM generate_series(1, 5000) n"
    )
    answer = app.get("/api/jobs", params={"error": "y"})
    assert (answer.status_code, "narrow it" in answer.text) == (422, True)


def test_the_methods_of_a_path_are_told(app: TestClient) -> None:
    answer = app.put("/api/jobs", json={})
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST")


def test_a_failed_job_is_retried_with_an_edited_payload_by_the_tokens_name(
    app: TestClient, table: Table
) -> None:
    job_id = table.add(asked, {"fail": True})
    deliver(asked, job_id)
    answer = app.post(f"/api/jobs/{job_id}/retry", json={"payload": {"fail": False}})
    assert answer.json() == {"count": 1, "dryRun": False, "complete": True}
    assert table.row(job_id)["payload"] == {"fail": False}
    assert table.run("SELECT actor FROM job_actions WHERE job_id = %s", job_id) == [
        {"actor": "app"}
    ]


def test_a_job_is_retried_from_a_step_and_its_steps_are_shown(
    app: TestClient, table: Table
) -> None:
    job_id = table.add(asked, {"fail": True})
    deliver(asked, job_id)
    for position, name in enumerate(("fetch", "store"), start=1):
        table.run(
            "INSERT INTO job_steps VALUES (%s, %s, %s, '1', 1, now() - interval '2 s', now())",
            job_id,
            position,
            name,
        )
    shown = app.get(f"/api/jobs/{job_id}").json()
    assert [(step["name"], step["attempt"], step["seconds"]) for step in shown["steps"]] == [
        ("fetch", 1, 2.0),
        ("store", 1, 2.0),
    ]
    path = f"/api/jobs/{job_id}/retry"
    refused = app.post(path, json={"fromStep": "sent"})
    assert refused.status_code == 409
    assert "has kept no step 'sent'; it has kept 'fetch', 'store'" in refused.text
    assert app.post(path, json={"fromStep": "store"}).status_code == 200
    assert [step["name"] for step in app.get(f"/api/jobs/{job_id}").json()["steps"]] == ["fetch"]


def test_an_edited_payload_is_bounded_as_a_new_one_is(app: TestClient, table: Table) -> None:
    job_id = table.add(asked, {"fail": True})
    deliver(asked, job_id)
    path = f"/api/jobs/{job_id}/retry"
    assert app.post(path, json={"payload": {"x": "x" * 1_000_001}}).status_code == 413
    assert app.post(path, json={"payload": {"x": "\0"}}).status_code == 422
    assert table.status(job_id) == "failed"


def test_many_are_counted_and_retried(app: TestClient, table: Table) -> None:
    for _ in range(3):
        deliver(asked, table.add(asked, {"fail": True}))
    which = {"type": "asked", "status": "failed"}
    dry = app.post("/api/admin/jobs/retry", json={**which, "dryRun": True})
    assert dry.json() == {"count": 3, "dryRun": True, "complete": True}
    assert app.post("/api/admin/jobs/retry", json=which).json()["count"] == 3


def test_many_are_retried_without_those_that_completed_unless_these_are_asked_for(
    app: TestClient, table: Table
) -> None:
    failed, done = table.add(asked, {"fail": True}), table.add(asked)
    for job_id in (failed, done):
        deliver(asked, job_id)
    for dry_run in (True, False):
        of_the_type = {"type": "asked", "dryRun": dry_run}
        assert app.post("/api/admin/jobs/retry", json=of_the_type).json()["count"] == 1
    assert (table.status(failed), table.status(done)) == ("pending", "completed")
    which = {"type": "asked", "status": "completed"}
    assert app.post("/api/admin/jobs/retry", json=which).json()["count"] == 1


def test_many_that_wait_are_run_now_and_deleted(app: TestClient, table: Table) -> None:
    later = app.post("/api/jobs", json={"type": "asked", "delay": 3_600}).json()["jobId"]
    ended = table.add(asked)
    deliver(asked, ended)
    which = {"type": "asked"}
    for action in ("run-now", "delete"):
        path = f"/api/admin/jobs/{action}"
        assert app.post(path, json={**which, "dryRun": True}).json()["count"] == 1
        assert app.post(path, json=which).json() == {
            "count": 1,
            "dryRun": False,
            "complete": True,
        }
        if action == "run-now":
            assert app.get(f"/api/jobs/{later}").json()["story"][-1]["note"].startswith("run now")
    assert [row["job_id"] for row in table.rows()] == [ended]


def test_an_operation_on_many_says_whether_its_time_was_enough(
    app: TestClient, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [table.add(asked) for _ in range(2)]
    monkeypatch.setattr(retry_and_cancel, "MAX_IN_TIME", 1)
    asked_for = {"type": "asked", "status": "pending"}
    answers = [app.post("/api/admin/jobs/cancel", json=asked_for).json() for _ in range(3)]
    assert [(each["count"], each["complete"]) for each in answers] == [
        (1, False),
        (1, False),
        (0, True),
    ]
    assert {table.status(each) for each in ids} == {"cancelled"}


@pytest.mark.parametrize("dry_run", [True, False])
def test_an_operation_whose_jobs_cannot_be_found_in_time_is_422(
    app: TestClient, table: Table, monkeypatch: pytest.MonkeyPatch, dry_run: bool
) -> None:
    monkeypatch.setattr(jobs, "OPERATION_SECONDS", 0.001)
    table.run(
        "INSERT INTO job_executions (job_id, job_type, payload, max_attempts, error) "
        "SELECT n::text, 'asked', '{}', 1, repeat('x', 500) FROM generate_series(1, 5000) n"
    )
    which = {"error": "y", "dryRun": dry_run}
    answer = app.post("/api/admin/jobs/cancel", json=which)
    assert (answer.status_code, "narrow it" in answer.text) == (422, True)


@pytest.mark.parametrize("path", [f"/api/admin/jobs/{action}" for action in ACTIONS])
@pytest.mark.parametrize(
    ("which", "status"),
    [
        ({}, 409),
        ({"dryRun": True}, 409),
        ({"metadata": {}}, 422),
        ({"error": ""}, 422),
        ({"status": "done"}, 422),
        ({"dryRun": "yes", "type": "asked"}, 422),
    ],
)
def test_an_operation_on_many_must_say_on_which(
    app: TestClient, table: Table, path: str, which: dict[str, Any], status: int
) -> None:
    table.add(asked)
    assert app.post(path, json=which).status_code == status
    assert [row["status"] for row in table.rows()] == ["pending"]


def test_many_are_chosen_by_what_their_metadata_has(app: TestClient, table: Table) -> None:
    kept, chosen = table.add(asked), table.add(asked, metadata={"from": "signup", "n": 1})
    answer = app.post("/api/admin/jobs/cancel", json={"metadata": {"from": "signup"}})
    assert answer.json() == {"count": 1, "dryRun": False, "complete": True}
    assert (table.status(kept), table.status(chosen)) == ("pending", "cancelled")


def test_a_route_without_a_body_refuses_one_that_says_something(
    app: TestClient, table: Table
) -> None:
    job_id = table.add(asked)
    assert app.post(f"/api/jobs/{job_id}/cancel", json={"dryRun": True}).status_code == 422
    assert table.status(job_id) == "pending"
    assert app.post(f"/api/jobs/{job_id}/cancel", json={}).status_code == 200


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
    email, anything = types["send-email"], types["asked"]
    assert (email["endpoint"], email["retries"], email["timeout"]) == ("/api/jobs/email", 3, 30)
    assert "template" in str(email["payloadSchema"])
    assert anything["payloadSchema"] == {}


def test_a_type_that_is_left_out_of_the_stage_is_not_listed_and_not_enqueued(
    app: TestClient, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEFT_OUT_JOBS", "send-email")
    assert "send-email" not in [each["type"] for each in app.get("/api/types").json()]
    answer = app.post("/api/jobs", json={"type": "send-email", "payload": WELCOME})
    assert answer.status_code == 404
    assert "send-email is left out of this stage" in answer.text
    assert table.rows() == []


def test_the_examples_of_the_types_can_be_enqueued_as_they_are(app: TestClient) -> None:
    examples = [
        one
        for one in app.get("/api/types").json()
        if one["example"] is not None and one["enqueuedBy"] != "system"
    ]
    assert len(examples) >= 5
    jobs = [{"type": one["type"], "payload": one["example"]} for one in examples]
    assert app.post("/api/jobs", json={"jobs": jobs}).status_code == 202


def nested(levels: int) -> Any:
    document: Any = 1
    for _ in range(levels):
        document = {"a": document}
    return document


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"metadata": nested(65)}, "65 levels of objects and lists, the limit is 64"),
        ({"payload": {"data": nested(64)}}, "65 levels of objects and lists, the limit is 64"),
        ({"metadata": {"a": "x" * 64_000}}, "metadata has 64009 bytes, the limit is 64000"),
        ({"metadata": {"a": "ü" * 32_000}}, "metadata has 64009 bytes, the limit is 64000"),
    ],
)
def test_what_is_too_deep_or_too_large_is_refused_with_both_numbers(
    anonymous: TestClient, app: TestClient, table: Table, fields: dict[str, Any], why: str
) -> None:
    del anonymous
    fits = {"userId": "u_1", "type": "t", "title": "x", "message": "m"}
    answer = app.post("/api/jobs", json={"type": "create-notification", "payload": fits, **fields})
    assert answer.status_code == 422
    assert why in answer.text or "payload" in fields  # whose model refuses it first
    with pytest.raises((InvalidPayload, ValueError), match=why):
        probe().enqueue(fields.get("payload", {}), metadata=fields.get("metadata"))
    assert table.rows() == []


def test_a_row_that_is_too_deep_harms_nobody_but_itself(app: TestClient, table: Table) -> None:
    deep = table.add(probe(), metadata=nested(250))
    other = table.add(probe(), metadata={"a": 1})
    listed = app.get("/api/jobs")
    assert listed.status_code == 200
    shown = {one["jobId"]: one["metadata"] for one in listed.json()["jobs"]}
    assert shown == {
        deep: {"$notShown": "250 levels of objects and lists"},
        other: {"a": 1},
    }
    assert app.get(f"/api/jobs/{deep}").status_code == 200


@pytest.mark.parametrize(
    ("odd", "why"),
    [
        ("[" * 3000 + "]" * 3000, "it is nested too deeply"),
        ('{"a":' * 900 + "1" + "}" * 900, "900 levels of objects and lists"),
        ("1e5000", "Exceeds the limit"),
    ],
    ids=["3000-levels", "900-levels", "1e5000"],
)
def test_a_result_that_python_cannot_read_harms_nobody_but_itself(
    app: TestClient, table: Table, odd: str, why: str
) -> None:
    bad, good = table.add(probe()), table.add(probe())
    table.run(
        "UPDATE job_executions SET status = 'cancelled', completed_at = now(), result = %s::jsonb"
        " WHERE job_id = %s",
        odd,
        bad,
    )
    listed = app.get("/api/jobs")
    assert listed.status_code == 200
    assert {one["jobId"] for one in listed.json()["jobs"]} == {bad, good}
    assert why in str(app.get(f"/api/jobs/{bad}").json()["result"])


@pytest.mark.parametrize("job_id", ["tenant/7", "a/b/c", "x/retry"])
def test_an_id_may_have_slashes(app: TestClient, table: Table, job_id: str) -> None:
    table.add(probe(), job_id=job_id)
    for path in (job_id, quote(job_id, safe="")):
        assert app.get(f"/api/jobs/{path}").json()["jobId"] == job_id
        assert app.get(f"/api/jobs/{path}-no").status_code == 404
    assert app.post(f"/api/jobs/{quote(job_id, safe='')}/cancel").status_code == 200
    assert table.status(job_id) == "cancelled"


def test_a_page_ends_before_it_is_too_large_and_the_next_goes_on(
    app: TestClient, table: Table
) -> None:
    added = {table.add(probe(), metadata={"a": "x" * 790_000}) for _ in range(12)}
    found: list[str] = []
    path, pages = "/api/jobs", 0
    while path:
        answer = app.get(path)
        assert len(answer.content) < 4_500_000
        page = answer.json()
        found += [one["jobId"] for one in page["jobs"]]
        path = f"/api/jobs?cursor={page['next']}" if page["next"] else ""
        pages += 1
    assert (set(found), len(found), pages) == (added, 12, 3)


def test_a_row_that_is_too_large_for_any_answer_harms_nobody_but_itself(
    app: TestClient, table: Table
) -> None:
    large = table.add(probe(), metadata={"a": "x" * 7_000_000})
    other = table.add(probe(), metadata={"a": 1})
    table.run(
        "UPDATE job_executions SET error = repeat('é', 7000000), progress = %s, errors = %s,"
        " status = 'cancelled', completed_at = now(), result = %s WHERE job_id = %s",
        Jsonb({"a": "x" * 900_000}),
        Jsonb([{"message": "x" * 900_000}]),
        Jsonb("x" * 3_000_000),
        large,
    )
    listed = app.get("/api/jobs")
    assert len(listed.content) < 1_000_000
    shown = {one["jobId"]: one for one in listed.json()["jobs"]}
    assert shown[other]["metadata"] == {"a": 1}
    assert shown[large]["metadata"] == {"$notShown": "7000009 bytes"}
    assert shown[large]["result"] == {"$notShown": "3000002 bytes"}
    assert shown[large]["progress"] == {"$notShown": "900009 bytes"}
    assert shown[large]["errors"] == [{"$notShown": "900017 bytes"}]
    assert [one["jobId"] for one in app.get("/api/jobs?error=éé").json()["jobs"]] == [large]
    alone = app.get(f"/api/jobs/{large}")
    assert alone.json()["result"] == "x" * 3_000_000
    assert len(alone.content) < 5_000_000


def test_a_page_is_cut_before_it_is_in_memory(
    app: TestClient, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "MAX_PAGE_BYTES", 100_000)
    # What Postgres cannot compress.
    added = [table.add(probe(), metadata={"a": randbytes(20_000).hex()}) for _ in range(4)]
    for query in ("", "?metadata=%7B%7D"):
        first = app.get(f"/api/jobs{query}").json()
        assert [one["jobId"] for one in first["jobs"]] == added[:0:-1]
        rest = app.get("/api/jobs", params={"cursor": first["next"]}).json()
        assert ([one["jobId"] for one in rest["jobs"]], rest["next"]) == (added[:1], None)


def test_a_list_has_no_tracebacks_and_the_job_has(app: TestClient, table: Table) -> None:
    job_id = table.add(probe())
    error = {
        "attempt": 1,
        "type": "ValueError",
        "message": "no",
        "traceback": "Traceback ...",
        "startedAt": "2030-01-31T09:00:00+00:00",
        "endedAt": "2030-01-31T09:00:01+00:00",
    }
    table.run("UPDATE job_executions SET errors = %s", Jsonb([error]))
    [listed] = app.get("/api/jobs").json()["jobs"]
    assert listed["errors"] == [{name: error[name] for name in error if name != "traceback"}]
    assert app.get(f"/api/jobs/{job_id}").json()["errors"] == [error]


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
        ("POST", "/api/jobs", {"type": "asked", "payload": {}, "idempotencyKey": "é" * 900}),
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


def test_a_request_waits_for_the_end_of_a_job(app: TestClient, table: Table) -> None:
    job_id = app.post("/api/jobs", json={"type": "asked", "payload": {}}).json()["jobId"]
    assert app.get(f"/api/jobs/{job_id}?wait=0.1").json()["status"] == "pending"

    def work() -> None:
        deliver(asked, job_id)
        database.close()

    worker = threading.Thread(target=work)
    worker.start()
    shown = app.get(f"/api/jobs/{job_id}?wait=25").json()
    worker.join()
    assert (shown["status"], shown["result"]) == ("completed", {"well": "done"})


@pytest.mark.parametrize("wait", ["26", "-1", "nan", "soon"])
def test_a_wait_that_no_gateway_stands_is_refused(app: TestClient, wait: str) -> None:
    answer = app.get(f"/api/jobs/none?wait={wait}")
    assert answer.status_code == 422
    assert "wait" in answer.text


def test_a_request_does_not_wait_for_a_job_that_is_not_there(app: TestClient) -> None:
    assert app.get("/api/jobs/none?wait=25").status_code == 404


ODD_IDS = ["%2e%2e%2fadmin", "/", "a%00b", "%ff", "%252F", "%ed%a0%80", "a/" * 1000, "retry/cancel"]


def test_an_odd_id_is_an_answer_and_no_crash(caller: Callable[..., TestClient]) -> None:
    client = caller("read", "operate")
    asked = [("GET", ""), ("DELETE", ""), ("POST", "/retry"), ("POST", "/cancel")]
    for odd in ODD_IDS:
        for method, action in asked:
            answer = client.request(method, f"/api/jobs/{odd}{action}")
            assert answer.status_code in {404, 405, 422}, (method, odd, action, answer.text)
