"""Who gets to see the dashboard, whose forms it takes, and what is on record of it."""

from __future__ import annotations

import html
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from functions.api.app import app
from functions.api.dashboard import routes, sessions
from stashjobs.operators import access
from stashjobs.store import database
from tests.deliveries import probe
from tests.integration.api.dashboards import COOKIE, HOST, Browser

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deliveries import Table
    from tests.integration.conftest import Log

PROBE = probe()
PAGES = [
    "/admin",
    "/admin/jobs",
    "/admin/jobs/some",
    "/admin/jobs/some/edit",
    "/admin/jobs/some/reschedule",
    "/admin/jobs/some/delete",
    "/admin/schedules",
    "/admin/types",
    "/admin/types/send-email",
    "/admin/types/send-email/new",
    "/admin/alerts",
    "/admin/audit",
    "/admin/audit/access",
    "/admin/live/overview",
    "/admin/live/jobs",
    "/admin/live/jobs/some",
    "/admin/batches",
    "/admin/batches/no-such",
    "/admin/live/batches/no-such",
    "/admin/live/types",
    "/admin/live/types/send-email",
    "/admin/live/alerts",
    "/admin/no-such-page",
]
FORMS = [
    "/admin/jobs/retry",
    "/admin/jobs/cancel",
    "/admin/jobs/run-now",
    "/admin/jobs/delete",
    "/admin/jobs/some/retry",
    "/admin/jobs/some/cancel",
    "/admin/jobs/some/edit",
    "/admin/jobs/some/run-now",
    "/admin/jobs/some/reschedule",
    "/admin/jobs/some/delete",
    "/admin/alerts/dead-letters",
    "/admin/schedules/some/run",
    "/admin/schedules/some/pause",
    "/admin/types",
    "/admin/types/send-email/new",
]


def paths_of_the_dashboard(method: str) -> set[str]:
    return {
        route.path
        for part in routes.PARTS
        for route in part.routes
        if isinstance(route, APIRoute) and method in (route.methods or ())
    }


def test_without_a_session_every_page_asks_to_sign_in(browser: Browser) -> None:
    for path in PAGES:
        page = browser.get(path)
        assert page.status == 401, path
        assert "Access token" in page.words
        assert "Overview" not in page.words


def test_without_a_session_every_form_is_401(browser: Browser) -> None:
    for path in [*FORMS, "/admin/sign-out"]:
        assert browser.post(path).status == 401, path


def test_a_token_that_may_read_signs_in_and_leads_to_where_one_wanted(
    browser: Browser, token: Callable[..., str]
) -> None:
    asked = browser.get("/admin/jobs?status=failed")
    assert 'name="after" value="/admin/jobs?status=failed"' in asked.text
    page = browser.sign_in(token("read"), after="/admin/jobs?status=failed")
    assert page.status == 200
    assert "Jobs" in page.words
    assert "read (read only)" in page.words


@pytest.mark.parametrize(
    "after",
    ["https://evil.test/", "//evil.test/", "/admin//evil.test", "/adminevil", "/admin/live/jobs",
     "/admin/\\evil.test", "/admin/sign-out", ""],
)  # fmt: skip
def test_signing_in_leads_to_no_other_place(
    browser: Browser, token: Callable[..., str], after: str
) -> None:
    fields = {"token": token("read"), "after": after}
    page = browser.post("/admin/sign-in", fields, csrf="", follow=False)
    assert (page.status, page.headers["location"]) == (303, "/admin")


def test_the_cookie_is_for_this_host_and_no_script(
    browser: Browser, token: Callable[..., str], table: Table
) -> None:
    fields = {"token": token("read"), "after": "/admin"}
    cookie = browser.post("/admin/sign-in", fields, csrf="", follow=False).headers["set-cookie"]
    assert cookie.startswith(f"{COOKIE}=")
    parts = {part.strip().lower() for part in cookie.split(";")[1:]}
    assert parts == {"httponly", "max-age=28800", "path=/", "samesite=lax", "secure"}
    value = cookie.partition("=")[2].partition(";")[0]
    [row] = table.run("SELECT * FROM dashboard_sessions")
    assert row["session_hash"] == access.hash_of(value)
    assert value not in str(row)


def test_on_this_machine_the_cookie_does_without_https(
    anonymous: TestClient, token: Callable[..., str]
) -> None:
    del anonymous
    client = TestClient(app, base_url="http://127.0.0.1:8000")
    answer = client.post(
        "/admin/sign-in",
        data={"token": token("read")},
        headers={"origin": "http://127.0.0.1:8000"},
        follow_redirects=False,
    )
    assert answer.status_code == 303
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("stashjobs=")
    assert "secure" not in cookie
    assert "httponly" in cookie


@pytest.mark.parametrize("given", ["", "nonsense", "sj_" + "x" * 43])
def test_an_unknown_token_does_not_sign_in(browser: Browser, given: str) -> None:
    page = browser.sign_in(given)
    assert page.status == 401
    assert "not known" in page.words
    assert "set-cookie" not in page.headers


def test_a_token_that_may_not_read_does_not_sign_in(
    browser: Browser, token: Callable[..., str]
) -> None:
    page = browser.sign_in(token("enqueue"))
    assert page.status == 403
    assert "does not have the scope read" in page.words


def test_the_admin_token_signs_in_until_it_is_rotated(
    browser: Browser, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("ADMIN_TOKEN", "an-admin-token-of-a-test")
    browser.sign_in("an-admin-token-of-a-test")
    assert browser.get("/admin/audit").status == 200
    settings.setenv("ADMIN_TOKEN", "another-admin-token-of-a-test")
    assert browser.get("/admin").status == 401


def test_attempts_to_sign_in_are_limited(
    browser: Browser, token: Callable[..., str], table: Table
) -> None:
    statuses = [browser.sign_in("wrong").status for _ in range(3 * sessions.SIGN_INS_PER_MINUTE)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    refused = browser.sign_in(token("read"))
    assert refused.status == 429
    assert 0 < int(refused.headers["retry-after"]) <= 60
    table.run("UPDATE dashboard_sign_ins SET minute = minute - interval '1 minute'")
    assert browser.sign_in(token("read", name="later")).status == 200


def test_a_session_ends_when_its_token_is_revoked(
    browser: Browser, token: Callable[..., str], table: Table
) -> None:
    browser.sign_in(token("read", "operate", name="ops"))
    assert browser.get("/admin").status == 200
    access.revoke_token(table.other, "ops")
    assert browser.get("/admin").status == 401


def test_a_session_ends_when_its_token_expires(
    browser: Browser, table: Table, token: Callable[..., str]
) -> None:
    browser.sign_in(token("read", name="short"))
    past = datetime.now(UTC) - timedelta(seconds=1)
    table.run("UPDATE access_tokens SET expires_at = %s WHERE name = 'short'", past)
    assert browser.get("/admin").status == 401


def test_a_session_ends_after_its_time(
    browser: Browser, table: Table, token: Callable[..., str]
) -> None:
    browser.sign_in(token("read"))
    table.run("UPDATE dashboard_sessions SET expires_at = now() - interval '1 s'")
    assert browser.get("/admin").status == 401
    browser.sign_in(token("read", name="again"))
    assert len(table.run("SELECT 1 FROM dashboard_sessions")) == 1, "the old one is swept"


def test_a_form_of_a_session_that_has_ended_is_kept_until_one_is_signed_in_again(
    browser: Browser, token: Callable[..., str], table: Table
) -> None:
    job_id = table.add(PROBE, {"n": 1})
    browser.sign_in(token("read", "operate", name="ada"))
    table.run("UPDATE dashboard_sessions SET expires_at = now() - interval '1 s'")
    asked = browser.post(f"/admin/jobs/{job_id}/edit", {"payload": '{"n": "<2>"}'})
    assert asked.status == 401
    assert "What you entered is kept" in asked.words
    fields = dict(re.findall(r'name="(after|kept)" value="([^"]*)"', asked.text))
    fields = {name: html.unescape(value) for name, value in fields.items()}
    wrong = browser.post("/admin/sign-in", fields | {"token": "nonsense"}, csrf="")
    assert (wrong.status, "What you entered is kept" in wrong.words) == (401, True)
    page = browser.post("/admin/sign-in", fields | {"token": token("read", "operate")}, csrf="")
    assert "Send it again?" in page.words
    assert "&lt;2&gt;" in page.text
    assert f'action="/admin/jobs/{job_id}/edit"' in page.text
    assert table.row(job_id)["payload"] == {"n": 1}, "nothing is sent by signing in"
    browser.csrf = re.findall(r'name="csrf" value="([^"]*)"', page.text)[-1]
    browser.post(f"/admin/jobs/{job_id}/edit", {"payload": '{"n": "<2>"}'})
    assert table.row(job_id)["payload"] == {"n": "<2>"}


def test_another_sites_form_is_not_kept(browser: Browser) -> None:
    page = browser.post("/admin/jobs/some/edit", {"payload": "{}"}, site="cross-site")
    assert (page.status, "kept" in page.text) == (401, False)


def test_a_form_of_another_session_shows_what_was_entered(
    browser: Browser, token: Callable[..., str]
) -> None:
    browser.sign_in(token("read", "operate"))
    page = browser.post("/admin/jobs/some/edit", {"payload": '{"n": 2}'}, csrf="0" * 64)
    assert page.status == 403
    assert "nothing was changed" in page.words
    assert "{&#34;n&#34;: 2}</textarea>" in page.text


def test_signing_out_ends_the_session_for_any_holder_of_the_cookie(
    browser: Browser, token: Callable[..., str]
) -> None:
    browser.sign_in(token("read"))
    stolen = browser.client.cookies[COOKIE]
    assert browser.post("/admin/sign-out").status == 200
    assert browser.get("/admin").status == 401
    browser.client.cookies.set(COOKIE, stolen, domain="testserver.local")
    assert browser.get("/admin").status == 401


def test_another_cookie_is_no_session(browser: Browser, token: Callable[..., str]) -> None:
    browser.sign_in(token("read"))
    browser.client.cookies.clear()
    for value in ("", "x", "ü", "x" * 4000):
        browser.client.cookies.set("stashjobs", value)
        answer = browser.client.get("/admin", headers={b"cookie": f"{COOKIE}={value}".encode()})
        assert answer.status_code == 401


def test_the_lists_above_have_every_page_and_every_form() -> None:
    assert paths_of_the_dashboard("GET") == {
        "/",
        "/admin",
        "/admin/sign-in",
        "/admin/static/{name}",
        "/admin/jobs",
        "/admin/jobs/{job_id:path}",
        "/admin/jobs/{job_id:path}/edit",
        "/admin/jobs/{job_id:path}/reschedule",
        "/admin/jobs/{job_id:path}/delete",
        "/admin/schedules",
        "/admin/types",
        "/admin/types/{name:path}",
        "/admin/types/{name:path}/new",
        "/admin/alerts",
        "/admin/audit",
        "/admin/audit/access",
        "/admin/live/overview",
        "/admin/batches",
        "/admin/batches/{batch_id:path}",
        "/admin/live/batches/{batch_id:path}",
        "/admin/live/jobs",
        "/admin/live/jobs/{job_id:path}",
        "/admin/live/types",
        "/admin/live/types/{name:path}",
        "/admin/live/alerts",
        "/admin/{rest:path}",
    }
    there = paths_of_the_dashboard("POST")
    assert there == {
        "/admin/sign-in",
        "/admin/sign-out",
        "/admin/jobs/{action}",
        "/admin/jobs/{job_id:path}/retry",
        "/admin/jobs/{job_id:path}/cancel",
        "/admin/jobs/{job_id:path}/edit",
        "/admin/jobs/{job_id:path}/run-now",
        "/admin/jobs/{job_id:path}/reschedule",
        "/admin/jobs/{job_id:path}/delete",
        "/admin/alerts/dead-letters",
        "/admin/schedules/{name}/{action}",
        "/admin/types",
        "/admin/types/{name:path}/new",
        "/admin/{rest:path}",
    }


@pytest.mark.parametrize("path", [*FORMS, "/admin/sign-out"])
def test_a_form_of_another_session_is_refused(
    browser: Browser, token: Callable[..., str], path: str
) -> None:
    browser.sign_in(token("read", "operate"))
    for csrf in ("", "0" * 64, "ü"):
        page = browser.post(path, csrf=csrf)
        assert page.status == 403
        assert "from another session" in page.words


@pytest.mark.parametrize(
    ("origin", "site"),
    [
        ("https://evil.test", "cross-site"),
        ("https://evil.test", None),
        ("https://evil.testserver", "same-site"),
        ("http://testserver", "same-origin"),
        ("null", None),
        (HOST, "cross-site"),
        (None, "cross-site"),
        (None, "none"),
        (None, None),
    ],
)
def test_a_form_of_another_site_is_refused(
    browser: Browser, token: Callable[..., str], origin: str | None, site: str | None
) -> None:
    browser.sign_in(token("read", "operate"))
    for path in (*FORMS, "/admin/sign-out", "/admin/sign-in"):
        page = browser.post(path, {"token": "x"}, origin=origin, site=site)
        assert page.status == 403, path
        assert "another site" in page.words


def test_a_token_that_only_reads_changes_nothing(
    browser: Browser, token: Callable[..., str], table: Table
) -> None:
    job_id = table.add(PROBE)
    browser.sign_in(token("read"))
    for path in FORMS:
        assert browser.post(path.replace("some", job_id), {"job_id": job_id}).status == 403
    assert table.status(job_id) == "pending"
    for path in ("/admin/jobs", f"/admin/jobs/{job_id}"):
        page = browser.get(path)
        assert page.status == 200
        assert "Cancel" not in page.words.replace("Cancelled", "")
    for path in ("/admin/audit", "/admin/audit/access", f"/admin/jobs/{job_id}/edit"):
        assert browser.get(path).status == 403


def test_a_token_over_its_rate_gets_a_page_that_says_so(
    browser: Browser, token: Callable[..., str]
) -> None:
    browser.sign_in(token("read", per_minute=3))
    pages = [browser.get("/admin/types") for _ in range(8)]
    refused = next(page for page in pages if page.status == 429)
    assert 0 < int(refused.headers["retry-after"]) <= 60
    assert "Too many requests" in refused.words


def test_every_access_is_on_record_and_in_the_log(
    browser: Browser, token: Callable[..., str], table: Table, log: Log
) -> None:
    browser.sign_in("wrong")
    given = token("read", name="ada")
    browser.sign_in(given)
    browser.get("/admin/audit")
    rows = table.run("SELECT actor, method, path, outcome FROM access_log ORDER BY access_id")
    told = [
        (None, "POST", "/admin/sign-in", "unknown"),
        ("ada", "POST", "/admin/sign-in", "allowed"),
        ("ada", "GET", "/admin", "allowed"),
        ("ada", "GET", "/admin/audit", "forbidden"),
    ]
    assert [tuple(row.values()) for row in rows] == told[1:]  # nobody known: the log alone
    logged = [line for line in log.lines if line["message"] == "access"]
    assert [(one.get("actor"), one["outcome"]) for one in logged] == [
        (actor, outcome) for actor, _, _, outcome in told
    ]
    assert given not in log.text


def test_every_answer_has_the_headers_of_a_page(
    browser: Browser, token: Callable[..., str]
) -> None:
    signed_out = [browser.get("/admin"), browser.get("/admin/sign-in")]
    browser.sign_in(token("read", "operate"))
    inside = [browser.get(path) for path in PAGES]
    for page in signed_out + inside:
        policy = dict(
            part.strip().split(" ", 1)
            for part in page.headers["content-security-policy"].split(";")
        )
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["form-action"] == "'self'"
        assert policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert "unsafe" not in str(policy)
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["x-content-type-options"] == "nosniff"
        assert page.headers["x-frame-options"] == "DENY"
        assert page.headers["referrer-policy"] == "same-origin"
        assert page.headers["strict-transport-security"]
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        assert " style=" not in page.text
        assert " onclick=" not in page.text
        assert "<script>" not in page.text


def test_a_body_that_is_no_form_is_refused(browser: Browser, token: Callable[..., str]) -> None:
    browser.sign_in(token("read", "operate"))
    headers = {"origin": HOST, "sec-fetch-site": "same-origin"}
    answer = browser.client.post("/admin/jobs/retry", json={"csrf": browser.csrf}, headers=headers)
    assert answer.status_code == 415
    large = {"payload": "x" * 1_000_001}
    assert browser.post("/admin/jobs/some/edit", large).status == 413
    many = {f"field{number}": "x" for number in range(2_000)}
    assert browser.post("/admin/jobs/retry", many).status == 422


def test_a_database_that_is_away_is_a_page_that_says_so(
    browser: Browser, token: Callable[..., str], settings: pytest.MonkeyPatch
) -> None:
    browser.sign_in(token("read"))
    settings.setenv("POSTGRES_URL", "postgresql://me:a-secret-password@127.0.0.1:9/none")
    page = browser.get("/admin")
    assert page.status == 503
    assert page.headers["retry-after"] == "5"
    assert "a-secret-password" not in page.text


def test_one_connection_is_enough_for_every_page_and_every_action(
    browser: Browser, token: Callable[..., str], table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "POOL_MAX_CONNECTIONS", 1)
    monkeypatch.setattr(database, "POOL_TIMEOUT_SECONDS", 0.2)
    database.close_pool()
    try:
        browser.sign_in(token("read", "operate", "enqueue"))
        job_id = table.add(PROBE)
        found = {path.replace("some", job_id): 200 for path in PAGES if "no-such" not in path}
        assert {path: browser.get(path).status for path in found} == found
        done = [
            browser.post(f"/admin/jobs/{job_id}/cancel").words,
            browser.post(f"/admin/jobs/{job_id}/retry").words,
            browser.post("/admin/jobs/cancel", {"type": "probe", "every": "confirmed"}).words,
            browser.post(f"/admin/jobs/{job_id}/edit", {"payload": '{"x": 1}'}).words,
            browser.post("/admin/jobs/cancel", {"job_id": job_id}).words,
            browser.post("/admin/sign-out").words,
        ]
        for words, said in zip(
            done,
            ("cancelled", "retried", "1 job cancelled", "retried", "1 job", "Sign in"),
            strict=True,
        ):
            assert said in words
    finally:
        database.close_pool()
