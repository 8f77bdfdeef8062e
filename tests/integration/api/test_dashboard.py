"""What the pages show, and what their forms do."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote

import pytest

from functions.api.dashboard import alerts, clocks, job_list, job_pages, logs
from infra.local.template import read_template
from stashjobs import encryption, job_type
from stashjobs.delivery.context import PARENT
from stashjobs.job_type import find
from stashjobs.operators import dead_letters, health, search
from stashjobs.producer import schedules
from tests.deliveries import deliver, probe
from tests.integration.api.dashboards import COOKIE

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.local.qstash import QStashServer
    from tests.deliveries import Table
    from tests.integration.api.dashboards import Browser

ROOT = Path(__file__).parents[3]
PROBE = probe()
EVIL = "<script>alert('x')</script>"


@pytest.fixture
def operator(browser: Browser, token: Callable[..., str]) -> Browser:
    """Someone who may do everything."""
    browser.sign_in(token("read", "operate", name="ada"))
    return browser


def failing(_payload: Any, _context: Any) -> None:
    raise ValueError(f"no good {EVIL}")


def failed(table: Table, *, type: str = "probe", payload: Any = None) -> str:  # noqa: A002
    job = probe(failing, type=type, retries=0)
    job_id = table.add(job, payload)
    deliver(job, job_id)
    assert table.status(job_id) == "failed"
    return job_id


def completed(table: Table, payload: Any = None) -> str:
    job_id = table.add(PROBE, payload)
    deliver(PROBE, job_id)
    assert table.status(job_id) == "completed"
    return job_id


def ids(page_text: str) -> list[str]:
    return re.findall(r'name="job_id" value="([^"]+)"', page_text)


# --- pages


def test_an_empty_system_says_so_on_every_page(operator: Browser, table: Table) -> None:
    assert "No job has failed" in operator.get("/admin").words
    assert "No jobs yet" in operator.get("/admin/jobs").words
    assert "send-email" in operator.get("/admin/types").words
    assert "no job has ended in the last hour" in operator.get("/admin/alerts").words
    assert "make token ada: read, operate" in operator.get("/admin/audit").words
    table.run("DELETE FROM token_actions")
    assert "No operator actions yet" in operator.get("/admin/audit").words
    assert "/admin/alerts" in operator.get("/admin/audit/access").words
    assert "QStash could not be asked" in operator.get("/admin/schedules").words


def test_the_overview_has_the_numbers(operator: Browser, table: Table) -> None:
    for _ in range(3):
        completed(table)
    failed(table)
    table.add(PROBE)
    page = operator.get("/admin")
    assert "Success rate 75.0 %" in page.words
    assert "Failure rate 25.0 % 1 failed" in page.words
    assert "Queue depth 1" in page.words
    assert "5 enqueued" in page.words
    assert "ValueError: no good <script>" in page.words
    assert "1 alert Jobs fail : 25.0 %" in page.words
    part = operator.get("/admin/live/overview")
    assert "<html" not in part.text
    assert "Success rate 75.0 %" in part.words


def test_a_failure_stays_in_the_statistics_although_its_job_was_retried(
    operator: Browser, table: Table
) -> None:
    job_id = failed(table)
    completed(table)
    before = operator.get("/admin")
    operator.post(f"/admin/jobs/{job_id}/retry")
    deliver(PROBE, job_id)
    assert table.status(job_id) == "completed"
    page = operator.get("/admin")
    assert "Failure rate 50.0 % 1 failed" in before.words
    assert "Failure rate 33.3 % 1 retried since" in page.words, "two runs completed, one failed"
    assert "ValueError: no good [" not in page.words
    assert "1 all retried since" in page.words, "what fails most"
    of_the_type = operator.get("/admin/types/probe").words
    assert "Failure rate 33.3 % 1 retried since" in of_the_type
    assert "1 failed" in html.unescape(page.text), "and in the chart"
    assert "33.3 %" in operator.get("/admin/types").words
    assert "Jobs fail firing" in operator.get("/admin/alerts").words
    assert [one.failure_rate for one in health.read(table.other)] == [1 / 3, 1 / 3]


def test_what_is_due_later_is_on_the_overview_and_in_a_tab(operator: Browser, table: Table) -> None:
    now = datetime.now(UTC)
    last, first = (
        table.add(PROBE, available_at=now + timedelta(hours=hours, minutes=5)) for hours in (8, 2)
    )
    due = table.add(PROBE)
    retrying = probe(failing, type="probe", retries=2)
    retried = table.add(retrying)
    deliver(retrying, retried)
    words = operator.get("/admin").words
    assert "Scheduled 2 next in 2 h" in words
    assert "Retrying 1 next attempt in" in words
    tab = operator.get("/admin/jobs?status=scheduled")
    assert ids(tab.text) == [first, last], "the soonest first"
    assert "Scheduled 2 Pending 3" in tab.words
    assert "in 8 h" in tab.words
    pending = operator.get("/admin/jobs?status=pending")
    assert set(ids(pending.text)) == {first, last, due}
    assert " now " in pending.words
    asked = operator.post("/admin/jobs/cancel", {"status": "scheduled", "every": "ask"})
    assert "Cancel 2 jobs?" in asked.words
    operator.post("/admin/jobs/cancel", {"status": "scheduled", "every": "confirmed"})
    assert table.status(due) == "pending"
    assert table.status(first) == "cancelled"


def test_the_tab_of_scheduled_jobs_goes_on_where_a_page_ends(
    operator: Browser, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_list, "PAGE", 2)
    now = datetime.now(UTC)
    found = [table.add(PROBE, available_at=now + timedelta(hours=hours)) for hours in (1, 2, 2)]
    page = operator.get("/admin/jobs?status=scheduled")
    [older] = re.findall(r'rel="next" href="([^"]+)"', page.text)
    assert ids(page.text) + ids(operator.get(html.unescape(older)).text) == found


def test_a_chart_has_a_title_a_description_and_a_table(operator: Browser, table: Table) -> None:
    completed(table)
    page = operator.get("/admin")
    for chart in ("outcomes", "rates", "durations"):
        assert f'aria-labelledby="{chart}-title {chart}-desc"' in page.text
        assert f'<title id="{chart}-title">' in page.text
        assert f'<desc id="{chart}-desc">' in page.text
        assert f'<details class="as-table" id="{chart}-table">' in page.text
    assert page.text.count('<th scope="row">') >= 3 * 24
    assert "1 completed, 0 failed, 0 cancelled" in page.text


def test_the_overview_has_the_trend_of_durations(operator: Browser, table: Table) -> None:
    for seconds in (1, 2, 3):
        took(table, completed(table), seconds)
    took(table, earlier := completed(table), 40)
    table.run(
        "UPDATE job_executions SET created_at = now() - interval '5 hours' WHERE job_id = %s",
        earlier,
    )
    took(table, failed(table), 500)  # which is no duration of a completed job
    page = operator.get("/admin")
    assert "median 2.0 s, p95 2.9 s" in page.words
    assert "median 40 s, p95 40 s" in page.words
    assert page.words.count("none completed") == 22
    assert "1 min 10 s 1 s" in page.words, "the labels of the axis"


def took(table: Table, job_id: str, seconds: float) -> None:
    table.run(
        """UPDATE job_executions SET started_at = now() - make_interval(secs => %s),
                  completed_at = now() WHERE job_id = %s""",
        seconds,
        job_id,
    )


def test_a_type_has_a_page_of_its_own(operator: Browser, table: Table) -> None:
    for seconds in (1, 2, 3):
        took(table, completed(table), seconds)
    job_id = failed(table)
    waiting, other = table.add(PROBE), table.add(probe(type="other"))
    table.add(PROBE)
    table.run(
        "UPDATE job_executions SET status = 'cancelled', completed_at = now() WHERE job_id=%s",
        waiting,
    )
    page = operator.get("/admin/types/probe")
    assert "Jobs 6 3 completed, 1 cancelled" in page.words
    assert "Failure rate 25.0 % 1 failed" in page.words
    assert "Median 2.0 s" in page.words
    assert "p95 2.9 s" in page.words
    assert "Waiting 1 none running" in page.words
    assert "ValueError ValueError: no good" in page.words
    assert f"/admin/jobs/{job_id}" in page.text
    assert f"/admin/jobs/{other}" not in page.text
    assert "/admin/jobs?type=probe&amp;status=failed&amp;period=24h" in page.text
    assert (
        "/admin/jobs?status=failed&amp;period=24h&amp;type=probe&amp;error=ValueError" in page.text
    )
    part = operator.get("/admin/live/types/probe")
    assert "<html" not in part.text
    assert "Failure rate 25.0 %" in part.words


def test_the_page_of_a_type_has_its_settings_and_its_schedules(
    operator: Browser, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    del table
    email = find("send-email")
    monkeypatch.setattr(email, "rate", 10)
    monkeypatch.setattr(email, "retention", 30)
    digest = schedules.Schedule("digest", email, "30 7 * * 1", "Europe/Rome", {})
    monkeypatch.setattr(schedules, "_declared", {"digest": digest})
    words = operator.get("/admin/types/send-email").words
    assert "Route /api/jobs/email Timeout 30 s an attempt Retries 3, so 4 attempts" in words
    assert "Rate up to 10 a second" in words
    assert "Kept for 30 days after its end" in words
    assert "digest at 07:30 on Monday, Europe/Rome · QStash" in words
    cleanup = operator.get("/admin/types/cleanup-old-data").words
    assert "Kept for 90 days after its end (the clean-up's default)" in cleanup
    assert "nightly-cleanup at 03:00 every day, UTC · EventBridge" in cleanup


def test_a_type_that_is_not_declared_here_has_a_page_as_long_as_it_has_jobs(
    operator: Browser, table: Table
) -> None:
    job_id = table.add(PROBE)
    table.run(
        "UPDATE job_executions SET job_type = 'some/where', created_at = now() - interval '9 days'"
    )
    page = operator.get("/admin/types/some/where")
    assert "some/where Not declared in this deployment." in page.words
    assert f"/admin/jobs/{job_id}" in page.text
    assert "/admin/types/some/where" in operator.get(f"/admin/jobs/{job_id}").text
    table.run("DELETE FROM job_executions")
    gone = operator.get("/admin/types/some/where")
    assert gone.status == 404
    assert "there is no type some/where" in gone.words


def test_a_type_that_is_not_declared_is_shown_with_the_nearest_that_is(
    operator: Browser, table: Table
) -> None:
    table.add(PROBE)
    table.run("UPDATE job_executions SET job_type = 'send-emial'")
    for path in ("/admin/types", "/admin/types/send-emial"):
        assert "Not declared in this deployment. Did you mean send-email?" in (
            operator.get(path).words
        )


def test_a_handler_that_cannot_be_imported_is_on_the_overview(
    operator: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = "functions/resize/handler.py cannot be imported: <no> such module"
    monkeypatch.setitem(job_type._broken, "functions.resize.handler", said)
    page = operator.get("/admin")
    assert f"1 handler cannot be imported {said}" in page.words


def test_a_type_is_paused_resumed_and_limited_from_both_of_its_pages(
    operator: Browser, table: Table
) -> None:
    table.add(PROBE)
    fields = {"type": "probe", "back": "types"}
    page = operator.post("/admin/types", fields | {"action": "pause"})
    assert "The type is paused: no new attempt begins." in page.words
    assert "Resume probe" in page.text
    assert "paused" in page.words
    page = operator.post("/admin/types", {"type": "probe", "action": "resume"})
    assert "The type is resumed" in page.words
    limit = {"type": "probe", "action": "limit", "rate": "10", "period": "1m", "parallelism": "2"}
    page = operator.post("/admin/types", limit)
    assert "Limited to 10 in 1 min and 2 at once." in page.words
    assert 'name="period" placeholder="1m" value="1m"' in page.text
    assert "limited to 10 in 1 min and 2 at once" in operator.get("/admin/types").words
    for wrong, why in (
        ({"rate": "ten"}, "rate is 'ten', it must be a whole number"),
        ({"period": "1y"}, "limit: "),
        ({"rate": "", "parallelism": ""}, "limit: give rate or parallelism, or both"),
    ):
        page = operator.post("/admin/types", limit | wrong)
        assert page.status == 422
        assert why in page.words
    assert 'value="10"' in operator.get("/admin/types/probe").text, "the limit stays"
    assert "The limit is lifted" in operator.post("/admin/types", limit | {"action": "lift"}).words


def test_a_job_is_enqueued_from_the_example_of_its_type(
    browser: Browser, token: Callable[..., str], table: Table
) -> None:
    browser.sign_in(token("read", "enqueue", name="eve"))
    assert "New job" in browser.get("/admin/types/create-notification").words
    path = "/admin/types/create-notification/new"
    page = browser.get(path)
    example = find("create-notification").example()
    [shown] = re.findall(r"<textarea[^>]*>\n(.*?)</textarea>", page.text, re.DOTALL)
    assert json.loads(html.unescape(shown)) == example
    for fields, problems in (
        ({"payload": "{}"}, ["Nothing is enqueued", "type : Field required", "title : Field"]),
        ({"payload": "{"}, ["payload : this is not JSON: line 1, column 2"]),
        ({"payload": json.dumps(example), "at": "soon"}, ["at : Invalid isoformat"]),
        ({"payload": json.dumps(example), "at": "9999-01-01T00:00"}, ["at : "]),
    ):
        page = browser.post(path, fields)
        assert page.status == 422
        assert all(problem in page.words for problem in problems), page.words
        assert html.escape(fields["payload"], quote=False) in html.unescape(page.text)
    assert table.rows() == []
    page = browser.post(path, {"payload": json.dumps(example), "at": "2090-01-31T09:00"})
    assert "The job is enqueued." in page.words
    [row] = table.rows()
    assert (row["job_type"], row["enqueued_by"]) == ("create-notification", "eve")
    assert row["payload"].items() >= example.items()
    assert row["available_at"] == datetime(2090, 1, 31, 9, tzinfo=UTC)


@pytest.mark.parametrize(
    ("scopes", "type_", "status"),
    [
        (("read", "operate"), "create-notification", 403),
        (("read", "enqueue"), "export-data", 403),
        (("read", "enqueue", "operate"), "export-data", 200),
        (("read", "enqueue:export-data"), "export-data", 200),
        (("read", "enqueue", "operate"), "process-webhook", 403),
        (("read", "enqueue"), "create-notificaton", 404),
    ],
)
def test_a_token_enqueues_what_it_may_and_no_more(
    browser: Browser,
    token: Callable[..., str],
    table: Table,
    scopes: tuple[str, ...],
    type_: str,
    status: int,
) -> None:
    browser.sign_in(token(*scopes, name="eve"))
    path = f"/admin/types/{type_}/new"
    assert browser.get(path).status == status
    if status != 200:
        browser.get("/admin")
        assert browser.post(path, {"payload": "{}"}).status == status
        assert 'id="new"' not in browser.get(f"/admin/types/{type_}").text
    assert table.rows() == []


def test_types_have_their_statistics(operator: Browser, table: Table) -> None:
    completed(table)
    failed(table)
    page = operator.get("/admin/types")
    row = page.words.partition(" probe ")[2]
    assert row.startswith("Not declared in this deployment. 2 1 50.0 %")
    assert 'href="/admin/types/probe"' in page.text


def test_an_alert_fires_and_says_what_to_do(operator: Browser, table: Table) -> None:
    job_id = table.add(PROBE)
    table.run(
        """UPDATE job_executions SET status = 'processing', attempt = 1,
                  lease_expires_at = now() + interval '1 h', started_at = now() - interval '11 min'
            WHERE job_id = %s""",
        job_id,
    )
    table.add(PROBE)
    table.run(
        """UPDATE job_executions SET available_at = now() - interval '16 min', published_at = NULL
            WHERE status = 'pending'"""
    )
    words = operator.get("/admin/alerts").words
    assert "Attempts are stuck firing Now 1 attempt of 1 under way" in words
    assert "The relay does not publish firing" in words
    assert "Jobs wait long firing Now the oldest has been due for 16 min" in words
    assert "QStash has dead letters unknown" in words
    assert "The queue is deep ok" in words


def test_every_page_says_how_many_alerts_fire(
    operator: Browser, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "data-firing hidden><span>0</span>" in operator.get("/admin/audit").text
    failed(table)
    assert "data-firing hidden" in operator.get("/admin/audit").text, "known for some seconds"
    monkeypatch.setattr(alerts, "FRESH_SECONDS", 0.0)
    for path in ("/admin", "/admin/jobs", "/admin/types", "/admin/alerts", "/admin/no-such-page"):
        assert "Alerts 1 firing" in operator.get(path).words, path
    assert operator.get("/admin/live/jobs").headers["stashjobs-firing"] == "1"


async def test_the_badge_counts_dead_letters_as_the_alerts_do(
    operator: Browser,
    table: Table,
    qstash: QStashServer,
    aside: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    del table, qstash
    monkeypatch.setattr(dead_letters, "list_all", lambda: ["a letter"])
    monkeypatch.setattr(dead_letters, "summary", lambda _: "1 message")
    assert "Alerts 1 firing" in (await aside(operator.get, "/admin/alerts")).words
    assert "Alerts 1 firing" in (await aside(operator.get, "/admin/jobs")).words


def test_what_apps_gave_is_text_and_never_markup(operator: Browser, table: Table) -> None:
    evil = probe(failing, type="evil", retries=0)
    job_id = table.add(
        evil,
        {"name": EVIL, EVIL: '"><img src=x onerror=alert(1)>'},
        user_id=EVIL,
        organization_id="'\"><b>",
        metadata={"from": EVIL},
        job_id='a"><script>',
        idempotency_key=EVIL,
    )
    table.run("UPDATE job_executions SET job_type = %s WHERE job_id = %s", EVIL, job_id)
    table.run(
        """UPDATE job_executions SET status = 'processing', lease_expires_at = now(),
                  started_at = now(), progress = %s WHERE job_id = %s""",
        json.dumps({"fraction": 0.5, "note": EVIL}),
        job_id,
    )
    table.run(
        """UPDATE job_executions SET status = 'failed', lease_expires_at = NULL, error = %s,
                  completed_at = now(), errors = %s WHERE job_id = %s""",
        EVIL,
        json.dumps([{"attempt": 1, "type": EVIL, "message": EVIL, "traceback": EVIL}]),
        job_id,
    )
    quoted = "a%22%3E%3Cscript%3E"
    for path in (
        "/admin",
        "/admin/jobs",
        f"/admin/jobs/{quoted}",
        f"/admin/jobs/{quoted}/edit",
        "/admin/types",
        f"/admin/types/{quote(EVIL, safe='')}",
        "/admin/alerts",
        f"/admin/jobs?type={EVIL}&error={EVIL}&user={EVIL}",
        f"/admin/jobs?id={EVIL}",
        f"/admin/{EVIL}",
    ):
        text = operator.get(path).text
        assert "<script>" not in text, path
        assert "<img" not in text, path
        assert "<b>" not in text, path


@pytest.mark.parametrize("job_id", ["tenant/7", "a/b/c"])
def test_an_id_may_have_slashes(operator: Browser, table: Table, job_id: str) -> None:
    table.add(PROBE, job_id=job_id)
    path = f"/admin/jobs/{quote(job_id, safe='')}"
    assert path in operator.get("/admin/jobs").text
    assert job_id in operator.get(path).words
    assert operator.get(path.replace("/jobs/", "/live/jobs/")).status == 200
    assert operator.post(f"{path}/cancel").status == 200
    assert "Retry probe with another payload" in operator.get(f"{path}/edit").words
    assert operator.post(f"{path}/edit", {"payload": '{"a": 1}'}).status == 200
    assert table.row(job_id)["payload"] == {"a": 1}


def test_a_row_that_python_cannot_read_harms_no_page_but_its_own_part(
    operator: Browser, table: Table
) -> None:
    bad = table.add(PROBE)
    table.run(
        "UPDATE job_executions SET payload = %s::jsonb, progress = %s::jsonb WHERE job_id = %s",
        "[" * 3000 + "]" * 3000,
        '{"a":' * 900 + "1" + "}" * 900,
        bad,
    )
    for path in ("/admin", "/admin/jobs", f"/admin/jobs/{bad}", f"/admin/types/{PROBE.type}"):
        assert operator.get(path).status == 200, path
    assert "it is nested too deeply" in operator.get(f"/admin/jobs/{bad}").words


# --- the list


def test_the_list_is_filtered_by_its_url(operator: Browser, table: Table) -> None:
    job = probe(type="other")
    wanted = table.add(job, user_id="u_1", organization_id="o_1")
    broken = failed(table)
    for query, found in {
        "": {wanted, broken},
        "?status=pending": {wanted},
        "?status=failed": {broken},
        "?type=other": {wanted},
        "?type=probe": {broken},
        "?user=u_1": {wanted},
        "?organization=o_1": {wanted},
        "?error=NO+GOOD": {broken},
        "?error=%25": set(),
        "?status=failed&type=other": set(),
        "?period=1h": {wanted, broken},
    }.items():
        assert set(ids(operator.get(f"/admin/jobs{query}").text)) == found, query
        assert set(ids(operator.get(f"/admin/live/jobs{query}").text)) == found, query


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (
            "status=faild",
            "there are waiting, scheduled, pending, processing, retrying, completed, failed",
        ),
        ("period=1y", "there are 1h, 24h, 7d, 30d, all"),
        ("stat=failed", "there is no such filter; there are status, type"),
        ("status=failed&status=completed", "is given twice"),
        (f"error={'x' * 1001}", "longer than 1,000 characters"),
    ],
)
def test_a_filter_that_makes_no_sense_is_refused_and_never_widened(
    operator: Browser, table: Table, query: str, why: str
) -> None:
    job_id = failed(table)
    for path in ("/admin/jobs", "/admin/live/jobs"):
        page = operator.get(f"{path}?{query}")
        assert page.status == 422
        assert why in page.words
        assert job_id not in page.text
    fields: dict[str, Any] = {}
    for name, value in parse_qsl(query):
        fields.setdefault(name, []).append(value)
    for every in ("ask", "confirmed"):
        assert operator.post("/admin/jobs/retry", {**fields, "every": every}).status == 422
    assert operator.post("/admin/jobs/retry", {**fields, "job_id": job_id}).status == 422
    assert operator.post("/admin/jobs/retry", {"type": "probe", "every": "yes"}).status == 422
    assert table.status(job_id) == "failed"


def test_the_statuses_are_in_the_order_of_a_jobs_life(operator: Browser, table: Table) -> None:
    failed(table)
    table.add(PROBE)
    table.run("ANALYZE job_executions")  # from then on Postgres joins what it knows of them
    words = operator.get("/admin/jobs").words
    assert "All Waiting 0 Scheduled 0 Pending 1 Processing 0" in words
    assert "Processing 0 Retrying 0 Completed 0 Failed 1 Cancelled 0" in words


def test_the_list_is_filtered_by_what_the_metadata_has(operator: Browser, table: Table) -> None:
    wanted = table.add(PROBE, metadata={"from": "sign-up", "n": 1, "a": {"b": [True]}})
    table.add(PROBE, metadata={"from": "elsewhere", "n": "1"})
    for text in (
        "from=sign-up",
        " from = sign-up ",
        '{"n": 1}',
        '{"from": "sign-up", "n": 1}',
        '{"a": {"b": [true]}}',
    ):
        page = operator.get(f"/admin/jobs?metadata={quote(text)}")
        assert ids(page.text) == [wanted], text
        assert f'value="{html.escape(text.strip()).replace("&quot;", "&#34;")}"' in page.text
    assert "metadata: from=sign-up" in operator.get("/admin/jobs?metadata=from%3Dsign-up").words


@pytest.mark.parametrize("text", ["from", "=x", "{", "{}", "[1]", '{"a": ' + "x" * 300])
def test_metadata_that_makes_no_sense_is_refused_and_changes_nothing(
    operator: Browser, table: Table, text: str
) -> None:
    """Left out, it would let through every job of the type."""
    job_id = table.add(PROBE)
    page = operator.get(f"/admin/jobs?metadata={quote(text)}")
    assert page.status == 422
    assert "metadata: " in page.words
    fields = {"type": "probe", "metadata": text, "every": "confirmed"}
    assert operator.post("/admin/jobs/cancel", fields).status == 422
    assert table.status(job_id) == "pending"


def test_all_with_the_same_metadata_are_cancelled(operator: Browser, table: Table) -> None:
    chosen, other = table.add(PROBE, metadata={"from": "sign-up"}), table.add(PROBE)
    fields = {"metadata": "from=sign-up", "every": "ask"}
    asked = operator.post("/admin/jobs/cancel", fields)
    assert "Metadata from=sign-up Enqueued Last 24 hours" in asked.words
    operator.post("/admin/jobs/cancel", fields | {"every": "confirmed"})
    assert (table.status(chosen), table.status(other)) == ("cancelled", "pending")


def test_all_that_match_are_looked_for_no_longer_than_a_page_may_take(
    operator: Browser, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_pages, "STATEMENT_SECONDS", "0.001")
    table.run(
        "INSERT INTO job_executions (job_id, job_type, payload, max_attempts, error) "
        "SELECT n::text, 'probe', '{}', 1, repeat('x', 500) FROM generate_series(1, 5000) n"
    )
    page = operator.post("/admin/jobs/cancel", {"error": "y", "every": "ask"})
    assert (page.status, "narrow the filter" in page.words) == (503, True)


def test_the_period_hides_what_is_older(operator: Browser, table: Table) -> None:
    job_id = failed(table)
    table.run("UPDATE job_executions SET created_at = now() - interval '2 days'")
    for query in ("", "?type=probe", "?error=good&period=7d", "?error=good&period=all"):
        assert ids(operator.get(f"/admin/jobs{query}").text) == [job_id], query
    page = operator.get("/admin/jobs?error=good")
    assert "No job matches within this period" in page.words, "an error begins with a day"


def test_the_list_goes_on_where_a_page_ends(
    operator: Browser, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_list, "PAGE", 4)
    there = {table.add(PROBE) for _ in range(10)}
    path, pages = "/admin/jobs?status=pending", []
    while path:
        page = operator.get(path)
        pages.append(ids(page.text))
        following = re.search(r'rel="next" href="([^"]+)"', page.text)
        path = html.unescape(following[1]) if following else ""
    assert [len(page) for page in pages] == [4, 4, 2]
    assert {job_id for page in pages for job_id in page} == there


def test_a_search_that_has_not_looked_at_all_says_so_and_goes_on(
    operator: Browser, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "LOOK_AT", 2)
    wanted = failed(table)
    table.run("UPDATE job_executions SET error = 'what is looked for'")
    for _ in range(3):
        failed(table)

    page = operator.get("/admin/jobs?error=looked+for")
    assert "No job matches among those searched, back to" in page.words

    older = re.findall(r'rel="next" href="([^"]*)">Search older jobs', page.text)
    page = operator.get(html.unescape(older[0]))
    assert ids(page.text) == [wanted]


@pytest.mark.parametrize("cursor", ["x", "e30=", "%00", "WzEsMl0=", "ü"])
def test_a_cursor_of_nobodys_is_the_first_page(
    operator: Browser, table: Table, cursor: str
) -> None:
    job_id = table.add(PROBE)
    page = operator.get(f"/admin/jobs?cursor={cursor}")
    assert (page.status, ids(page.text)) == (200, [job_id])


def test_a_job_is_found_by_its_id(operator: Browser, table: Table) -> None:
    job_id = table.add(PROBE)
    page = operator.get(f"/admin/jobs?id=+{job_id}+")
    assert f"<code>{job_id}</code>" in page.text
    assert f"<code>{job_id}</code>" in operator.get(f"/admin/jobs?id={job_id[-8:]}").text
    missing = operator.get("/admin/jobs?id=missing")
    assert missing.status == 404
    assert "there is no job missing" in missing.words
    assert operator.post("/admin/jobs/missing/retry", {}).status == 404


@pytest.mark.parametrize("query", ["type=%00", "user=%00x", "error=%00", "id=%00"])
def test_a_null_character_finds_nothing_and_breaks_nothing(operator: Browser, query: str) -> None:
    assert operator.get(f"/admin/jobs?{query}").status in {200, 404, 422}


def test_each_condition_can_be_taken_away(operator: Browser) -> None:
    page = operator.get("/admin/jobs?status=failed&type=probe&error=a%26b&period=7d")
    ways = [html.unescape(found) for found in re.findall(r'<li><a href="([^"]+)">', page.text)]
    assert ways == [
        "/admin/jobs?status=failed&error=a%26b&period=7d",
        "/admin/jobs?status=failed&type=probe&period=7d",
        "/admin/jobs?status=failed&type=probe&error=a%26b",
    ]
    assert "period: Last 7 days" in page.words


def test_only_what_can_be_done_to_a_status_is_offered(operator: Browser, table: Table) -> None:
    table.add(PROBE)
    failed(table)
    for status, offered in (("failed", "Retry"), ("pending", "Cancel")):
        words = operator.get(f"/admin/jobs?status={status}").words
        other = {"Retry": "Cancel", "Cancel": "Retry"}[offered]
        assert f"{offered} selected" in words
        assert f"{other} selected" not in words
    words = operator.get("/admin/jobs").words
    assert "Retry selected Cancel selected" in words


# --- one job


def test_a_job_tells_its_story(operator: Browser, table: Table) -> None:
    job_id = failed(table, payload={"to": "ada@example.com"})
    words = operator.get(f"/admin/jobs/{job_id}").words
    assert "Enqueued" in words
    assert "Attempt 1 failed after" in words
    assert f"ValueError: no good {EVIL}" in words
    assert "Traceback (most recent call last)" in words
    assert '"to": "ada@example.com"' in words
    operator.post(f"/admin/jobs/{job_id}/retry")
    words = operator.get(f"/admin/live/jobs/{job_id}").words
    assert "ada: retry" in words
    assert "it was failed before" in words


def test_what_looks_secret_is_not_shown(
    operator: Browser, table: Table, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("RESEND_API_KEY", "re_the_very_secret_key")
    payload = {
        "user": {"password": "hunter2hunter2", "resetUrl": "https://app.test/r/abcdef"},
        "items": [{"card": {"number": "4242424242424242"}}, {"apiKey": "k-12345"}],
        "link": "https://app.test/?token=abc.def&page=2",
        "text": "sent with re_the_very_secret_key",
        "visible": "this one",
    }
    job_id = completed(table, payload)  # its result is its payload
    for path in (f"/admin/jobs/{job_id}", f"/admin/jobs/{job_id}/edit"):
        text = operator.get(path).text
        assert "this one" in text
        assert "page=2" in text
        for secret in ("hunter2", "abcdef", "4242", "k-12345", "abc.def", "re_the_very"):
            assert secret not in text, (path, secret)


def test_an_encrypted_payload_is_never_decrypted(
    operator: Browser, table: Table, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("PAYLOAD_KEYS", encryption.new_entry("k1"))
    job = find("create-notification")
    encrypted = encryption.encrypt(
        {"title": "plain words"}, encryption.Place("j1", job.type, "payload")
    )
    table.add(job, encrypted, job_id="j1")
    table.run("UPDATE job_executions SET status = 'cancelled', completed_at = now()")
    page = operator.get("/admin/jobs/j1")
    assert "Encrypted. It is not decrypted here." in page.words
    assert "plain words" not in page.text
    edit = operator.get("/admin/jobs/j1/edit")
    assert "plain words" not in edit.text
    new = {"userId": "u_1", "type": "news", "title": "Anew", "message": "m"}
    operator.post("/admin/jobs/j1/edit", {"payload": json.dumps(new)})
    row = table.row("j1")
    assert row["status"] == "pending"
    assert encryption.is_encrypted(row["payload"])
    opened = encryption.decrypt(row["payload"], encryption.Place("j1", job.type, "payload"))
    assert opened == job.dump_payload(new)
    [action] = table.run("SELECT before FROM job_actions")
    assert len(action["before"]["payloadHash"]) == 64
    assert "payload" not in action["before"]


def test_a_job_has_its_error_first_and_when_its_next_attempt_is(
    operator: Browser, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = probe(failing, retries=2)
    job_id = table.add(job)
    deliver(job, job_id)
    page = operator.get(f"/admin/jobs/{job_id}")
    assert re.search(r"Attempt 1 failed ValueError: no good .* Traceback .* Timeline", page.words)
    assert "Next attempt in" in page.words
    assert "attempt 2 of 3" in page.words
    assert "Its log in CloudWatch" not in page.words
    done = probe()
    table.run("UPDATE job_executions SET available_at = now() WHERE job_id = %s", job_id)
    deliver(done, job_id)
    words = operator.get(f"/admin/jobs/{job_id}").words
    assert "The last error, of attempt 1; the job went on since ValueError" in words
    monkeypatch.setattr(logs, "of_job", lambda *_: "https://logs.example/")
    assert 'href="https://logs.example/"' not in operator.get(f"/admin/jobs/{job_id}").text
    known = table.add(find("create-notification"))
    assert 'href="https://logs.example/"' in operator.get(f"/admin/jobs/{known}").text


def test_a_job_says_that_its_payload_was_edited_and_by_whom(
    operator: Browser, table: Table
) -> None:
    job_id = table.add(PROBE, {"n": 1}, available_at=datetime.now(UTC) + timedelta(hours=1))
    operator.post(f"/admin/jobs/{job_id}/edit", {"payload": '{"n": 2}'})
    page = operator.get(f"/admin/jobs/{job_id}")
    assert "Payload edited 1 time, last by ada just now" in page.words
    assert "Payload before" in page.words


def test_parent_and_children_are_linked(operator: Browser, table: Table) -> None:
    parent = table.add(PROBE)
    child = table.add(PROBE, metadata={PARENT: parent})
    assert f'href="/admin/jobs/{child}"' in operator.get(f"/admin/jobs/{parent}").text
    page = operator.get(f"/admin/jobs/{child}")
    assert f'href="/admin/jobs/{parent}"' in page.text
    assert f"Enqueued by probe …{parent[-8:]} pending" in page.words
    table.run("DELETE FROM job_executions WHERE job_id = %s", parent)
    assert f"{parent} (deleted)" in operator.get(f"/admin/jobs/{child}").words


# --- what is done to jobs


def test_a_job_is_retried_and_cancelled_and_that_is_on_record(
    operator: Browser, table: Table
) -> None:
    job_id = failed(table)
    page = operator.post(f"/admin/jobs/{job_id}/retry")
    assert page.status == 200
    assert "The job is retried" in page.words
    assert table.status(job_id) == "pending"
    assert "The job is cancelled" in operator.post(f"/admin/jobs/{job_id}/cancel").words
    assert table.status(job_id) == "cancelled"
    actions = table.run("SELECT actor, action FROM job_actions ORDER BY action_id DESC LIMIT 2")
    assert [tuple(row.values()) for row in actions] == [("ada", "cancel"), ("ada", "retry")]
    audit = operator.get("/admin/audit").words
    assert "ada cancel probe" in audit


def test_a_job_with_steps_is_retried_from_one_of_them(operator: Browser, table: Table) -> None:
    job_id = failed(table)
    assert "From step" not in operator.get(f"/admin/jobs/{job_id}").words
    for position, name in enumerate(("fetch", "store"), start=1):
        table.run(
            "INSERT INTO job_steps VALUES (%s, %s, %s, '1', 1, now() - interval '2 s', now())",
            job_id,
            position,
            name,
        )
    page = operator.get(f"/admin/jobs/{job_id}")
    assert "From step" in page.words
    assert "Step 2: store" in page.words
    assert "it took 2" in page.words
    page = operator.post(f"/admin/jobs/{job_id}/retry", {"from_step": "store"})
    assert "The job is retried" in page.words
    assert "its result has been dropped since" in page.words
    assert table.run("SELECT name FROM job_steps") == [{"name": "fetch"}]


def test_what_is_not_possible_is_a_page_that_says_why(operator: Browser, table: Table) -> None:
    job_id = table.add(PROBE)
    page = operator.post(f"/admin/jobs/{job_id}/retry")
    assert page.status == 409
    assert "is pending and cannot be retried" in page.words
    assert operator.post("/admin/jobs/missing/cancel").status == 404
    assert operator.post("/admin/jobs/no-such-action").status == 404


def test_the_selected_jobs_are_retried(operator: Browser, table: Table) -> None:
    chosen, other = [failed(table), failed(table)], failed(table)
    page = operator.post("/admin/jobs/retry", {"job_id": chosen, "status": "failed"})
    assert "2 jobs retried" in page.words
    assert ids(page.text) == [other], "the list is the one it was asked from"
    assert [table.status(one) for one in [*chosen, other]] == ["pending", "pending", "failed"]
    assert "0 jobs retried" in operator.post("/admin/jobs/retry").words


def test_completed_jobs_run_again_only_when_asked(operator: Browser, table: Table) -> None:
    done, wrong = completed(table), failed(table)
    fields: dict[str, str | list[str]] = {"job_id": [done, wrong]}
    asked = operator.post("/admin/jobs/retry", fields)
    assert "Run 1 completed job again? Of the 2 jobs" in asked.words
    assert [table.status(one) for one in (done, wrong)] == ["completed", "failed"]
    page = operator.post("/admin/jobs/retry", fields | {"completed": "not"})
    assert "1 job retried" in page.words
    assert [table.status(one) for one in (done, wrong)] == ["completed", "pending"]
    every = operator.post("/admin/jobs/retry", {"type": "probe", "every": "ask"})
    assert "Nothing to retry" in every.words
    alone = operator.post(f"/admin/jobs/{done}/retry")
    assert "Run 1 completed job again? It has done its work." in alone.words
    assert table.status(done) == "completed"
    page = operator.post(f"/admin/jobs/{done}/retry", {"completed": "too"})
    assert "The job is retried" in page.words
    assert table.status(done) == "pending"
    again = completed(table)
    of_the_tab: dict[str, str | list[str]] = {"status": "completed", "type": "probe"}
    operator.post("/admin/jobs/retry", of_the_tab | {"every": "confirmed"})
    assert table.status(again) == "pending"


def test_the_selected_jobs_are_cancelled(operator: Browser, table: Table) -> None:
    waiting, ended = table.add(PROBE), failed(table)
    page = operator.post("/admin/jobs/cancel", {"job_id": [waiting, ended]})
    assert "1 job cancelled" in page.words
    assert [table.status(one) for one in (waiting, ended)] == ["cancelled", "failed"]


def test_all_that_match_are_retried_once_confirmed(operator: Browser, table: Table) -> None:
    chosen, other = [failed(table) for _ in range(3)], failed(table, type="other")
    fields = {"type": "probe", "status": "failed"}
    asked = operator.post("/admin/jobs/retry", fields | {"every": "ask"})
    assert "Retry 3 jobs?" in asked.words
    assert "Enqueued Any time" in asked.words, "the period that was not asked for is named"
    assert {table.status(one) for one in chosen} == {"failed"}
    done = operator.post("/admin/jobs/retry", fields | {"every": "confirmed"})
    assert "3 jobs retried" in done.words
    assert {table.status(one) for one in chosen} == {"pending"}
    assert table.status(other) == "failed"


def test_jobs_that_wait_are_run_now_and_deleted_together(operator: Browser, table: Table) -> None:
    ids = [table.add(PROBE, available_at=datetime.now(UTC) + timedelta(hours=1)) for _ in range(3)]
    tab = operator.get("/admin/jobs?status=pending")
    assert "Run selected now" in tab.words
    assert "Delete selected…" in tab.words
    fields = {"status": "pending"}
    run = operator.post("/admin/jobs/run-now", fields | {"job_id": ids[0]})
    assert "1 job due now." in run.words
    assert table.row(ids[0])["available_at"] <= datetime.now(UTC)
    every = operator.post("/admin/jobs/run-now", fields | {"every": "ask"})
    assert "Run 3 jobs now?" in every.words
    asked = operator.post("/admin/jobs/delete", fields | {"job_id": ids[:2]})
    assert "Delete 2 jobs?" in asked.words
    assert len(table.rows()) == 3
    done = operator.post("/admin/jobs/delete", fields | {"job_id": ids[:2], "meant": "yes"})
    assert "2 jobs deleted." in done.words
    assert [row["job_id"] for row in table.rows()] == [ids[2]]


def test_what_was_done_is_said_once(operator: Browser, table: Table) -> None:
    job_id = table.add(PROBE)
    page = operator.post(f"/admin/jobs/{job_id}/cancel")
    assert "The job is cancelled" in page.words
    assert "?" not in operator.post(f"/admin/jobs/{job_id}/retry", follow=False).headers["location"]
    assert "The job is retried" not in operator.get(f"/admin/live/jobs/{job_id}").words, "a part"
    assert "The job is retried" in operator.get("/admin/jobs").words, "whichever page is the next"
    assert "The job is retried" not in operator.get("/admin/jobs").words
    for planted in ("done=retry&count=<b>", "done=<b>x</b>", "%00", "done=retry&count=9999999"):
        operator.client.cookies.set(f"{COOKIE}-notice", planted)
        assert "<b>" not in operator.get("/admin/jobs").text


def test_too_many_are_not_done_from_here(
    operator: Browser, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_pages, "MAX_AT_ONCE", 2)
    waiting = [table.add(PROBE) for _ in range(3)]
    fields = {"type": "probe", "every": "confirmed"}
    assert "Too many at once" in operator.post("/admin/jobs/cancel", fields).words
    assert {table.status(one) for one in waiting} == {"pending"}


def test_everything_at_once_is_never_done(operator: Browser, table: Table) -> None:
    job_id = failed(table)
    page = operator.post("/admin/jobs/retry", {"every": "confirmed"})
    assert page.status == 409
    assert "empty filter" in page.words
    assert table.status(job_id) == "failed"


def test_a_hidden_value_is_not_sent_elsewhere_by_an_edit(operator: Browser, table: Table) -> None:
    before = {"to": "wrong@example.com", "token": "abc", "link": "https://a.test/?token=xyz&n=1"}
    job_id = failed(table, payload=before)
    page = operator.get(f"/admin/jobs/{job_id}/edit")
    found = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page.text, re.DOTALL)
    assert found is not None
    shown = json.loads(html.unescape(found[1]))
    assert shown["token"] == "[hidden]"
    shown["to"] = "ada@example.com"
    page = operator.post(f"/admin/jobs/{job_id}/edit", {"payload": json.dumps(shown)})
    assert page.status == 422
    assert "a hidden value is kept only where nothing is edited" in page.words
    assert table.row(job_id)["payload"] == before
    assert table.status(job_id) == "failed"


def test_a_payload_with_secrets_is_edited_by_writing_them_anew(
    operator: Browser, table: Table
) -> None:
    job_id = failed(table, payload={"to": "wrong@example.com", "token": "t-zyxw-old"})
    new = {"to": "ada@example.com", "token": "def"}
    assert operator.post(f"/admin/jobs/{job_id}/edit", {"payload": json.dumps(new)}).status == 200
    assert table.row(job_id)["payload"] == new
    page = operator.get(f"/admin/jobs/{job_id}")
    assert "with another payload; before it was sha256:" in page.words
    assert "wrong@example.com" in page.text
    assert "zyxw" not in page.text
    assert "retry, payload edited" in operator.get("/admin/audit").words


def test_a_job_that_waits_is_run_now_rescheduled_edited_and_deleted(
    operator: Browser, table: Table
) -> None:
    later = datetime(2090, 1, 31, 9, tzinfo=UTC)
    job_id = table.add(PROBE, {"n": 1, "token": "t-zyxw-old"}, available_at=later)
    path = f"/admin/jobs/{job_id}"
    page = operator.get(path)
    assert all(f'id="{each}"' in page.text for each in ("run-now", "reschedule", "edit", "delete"))
    assert 'value="2090-01-31T09:00"' in operator.get(f"{path}/reschedule").text
    page = operator.post(f"{path}/reschedule", {"at": "2089-01-31T09:00"})
    assert "The job is rescheduled." in page.words
    assert table.row(job_id)["available_at"].year == 2089
    page = operator.post(f"{path}/reschedule", {"at": "soon"})
    assert (page.status, "soon" in page.text) == (422, True)
    # A hidden value goes nowhere else, as in a retry.
    edit = operator.get(f"{path}/edit")
    assert "zyxw" not in edit.text
    page = operator.post(f"{path}/edit", {"payload": '{"n": 2, "token": "[hidden]"}'})
    assert (page.status, table.row(job_id)["payload"]["n"]) == (422, 1)
    page = operator.post(f"{path}/edit", {"payload": '{"n": 2, "token": "new"}'})
    assert "The job is changed: it has the new payload." in page.words
    assert "zyxw" not in page.text
    assert "The job is due now." in operator.post(f"{path}/run-now", {}).words
    assert 'id="run-now"' not in operator.get(path).text
    assert "Delete this job?" in operator.get(f"{path}/delete").words
    assert "The job is deleted." in operator.post(f"{path}/delete", {}).words
    assert table.rows() == []
    words = operator.get("/admin/audit").words
    for done in ("ada reschedule", "ada edit, payload edited", "ada run now", "ada delete"):
        assert done in words


def test_a_payload_that_is_not_edited_keeps_its_secrets(operator: Browser, table: Table) -> None:
    before = {"to": "ada@example.com", "token": "abc"}
    job_id = failed(table, payload=before)
    same = {"payload": json.dumps(before | {"token": "[hidden]"})}
    assert operator.post(f"/admin/jobs/{job_id}/edit", same).status == 200
    assert table.row(job_id)["payload"] == before
    assert table.status(job_id) == "pending"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{", "this is not JSON: line 1"),
        ("null", "null is not a payload"),
        ("", "this is not JSON"),
        ('{"title": "x"}', "message: Field required"),
        (
            '{"userId": "[hidden]", "type": "t", "title": "x", "message": "m"}',
            "a hidden value is kept only",
        ),
        ("[" * 100_000, "this is not JSON"),
    ],
)
def test_a_payload_that_does_not_fit_is_shown_again_with_why(
    operator: Browser, table: Table, text: str, why: str
) -> None:
    job = find("create-notification")
    job_id = table.add(job, {"userId": "u_1", "type": "t", "title": "x", "message": "m"})
    table.run("UPDATE job_executions SET status = 'cancelled', completed_at = now()")
    page = operator.post(f"/admin/jobs/{job_id}/edit", {"payload": text})
    assert page.status == 422
    assert why in page.words
    assert html.escape(text, quote=True)[:50].replace("&quot;", "&#34;") in page.text
    assert table.status(job_id) == "cancelled"


# --- schedules


@pytest.fixture
def nightly(qstash: QStashServer, monkeypatch: pytest.MonkeyPatch) -> schedules.Schedule:
    del qstash
    schedule = schedules.Schedule(
        "nightly",
        find("create-notification"),
        "0 3 * * *",
        "Europe/Rome",
        {"userId": "u_1", "type": "news", "title": "Hello", "message": "you"},
    )
    monkeypatch.setattr(schedules, "_declared", {"nightly": schedule})
    return schedule


async def test_a_schedule_is_paused_resumed_and_run(
    operator: Browser, nightly: schedules.Schedule, table: Table, aside: Callable[..., Any]
) -> None:
    assert "nightly" in (await aside(operator.get, "/admin/schedules")).words
    assert "not synced" in (await aside(operator.get, "/admin/schedules")).words
    await aside(schedules.sync, [nightly])
    page = await aside(operator.get, "/admin/schedules")
    assert (
        "active nightly create-notification at 03:00 every day Europe/Rome 0 3 * * * in"
        in page.words
    )
    paused = await aside(operator.post, "/admin/schedules/nightly/pause")
    assert "The schedule is paused." in paused.words
    assert "paused nightly create-notification" in paused.words
    resumed = await aside(operator.post, "/admin/schedules/nightly/resume")
    assert "active nightly" in resumed.words
    ran = await aside(operator.post, "/admin/schedules/nightly/run")
    assert "A job is enqueued" in ran.words
    [row] = table.rows()
    assert row["metadata"] == {"schedule": "nightly"}
    assert f"/admin/jobs/{row['job_id']}" in ran.text
    audit = (await aside(operator.get, "/admin/audit")).words
    for action in ("pause schedule nightly", "resume schedule nightly", "run nightly"):
        assert f"ada {action}" in audit


async def test_a_schedule_that_nobody_knows_is_not_touched(
    operator: Browser, nightly: schedules.Schedule, aside: Callable[..., Any]
) -> None:
    del nightly
    for action, status in (("run", 404), ("pause", 404), ("explode", 404)):
        page = await aside(operator.post, f"/admin/schedules/other/{action}")
        assert page.status == status, action


def test_while_qstash_is_away_a_schedule_is_not_changed_and_the_database_is_not_to_blame(
    operator: Browser, table: Table
) -> None:
    for action in ("pause", "resume"):
        page = operator.post(f"/admin/schedules/nightly/{action}")
        assert (page.status, page.headers["retry-after"]) == (503, "5")
        assert "Not possible just now QStash did not do it" in page.words
    assert table.run("SELECT * FROM schedule_actions") == []


def test_what_eventbridge_calls_is_on_the_page_as_the_template_has_it() -> None:
    template = read_template(ROOT / "template.yaml", parameters={"Stage": "local"})
    there = {
        (function.name, schedule.expression, schedule.timezone)
        for function in template.functions.values()
        for schedule in function.schedules
    }
    assert {(clock.function, clock.expression, "UTC") for clock in clocks.of_stage()} == there
    [nightly] = [clock for clock in clocks.of_stage() if clock.job_type]
    for now, due in (("02:59", "24T03:00"), ("03:00", "25T03:00"), ("12:00", "25T03:00")):
        moment = datetime.fromisoformat(f"2026-11-24T{now}").replace(tzinfo=UTC)
        assert nightly.next_run(moment) == datetime.fromisoformat(f"2026-11-{due}:00+00:00")


async def test_the_last_runs_of_a_schedule_are_linked_with_their_outcome(
    operator: Browser, table: Table, nightly: schedules.Schedule, aside: Callable[..., Any]
) -> None:
    del nightly
    good, bad = (
        table.add(PROBE, metadata={"schedule": "nightly"}, available_at=datetime.now(UTC))
        for _ in range(2)
    )
    deliver(PROBE, good)
    deliver(probe(failing, retries=0), bad)
    table.run("UPDATE job_executions SET max_attempts = 1, status = 'failed', completed_at = now()"
              " WHERE job_id = %s AND status <> 'failed'", bad)  # fmt: skip
    page = await aside(operator.get, "/admin/schedules")
    newest, before = (
        f'href="/admin/jobs/{bad}"',
        f'class="run run-completed" href="/admin/jobs/{good}"',
    )
    assert newest in page.text
    assert before in page.text
    assert page.text.index(newest) < page.text.index("badge-failed") < page.text.index(before)


def test_the_last_clean_up_is_on_the_page_of_schedules(operator: Browser, table: Table) -> None:
    words = operator.get("/admin/schedules").words
    assert "cleanup-old-data at 03:00 every day UTC cron(0 3 * * ? *) in" in words
    assert re.search(r"in \d+ (h|min|s) none yet", words)
    job_id = table.add(probe(type="cleanup-old-data"))
    page = operator.get("/admin/schedules")
    assert f'href="/admin/jobs/{job_id}"' in page.text


# --- what every page needs


def test_a_file_may_be_kept_for_ever_because_its_name_changes_with_it(browser: Browser) -> None:
    page = browser.get("/admin/sign-in")
    files = re.findall(r'(?:href|src)="(/admin/static/[^"]+)"', page.text)
    assert len(files) == 3
    for path in files:
        answer = browser.client.get(path)
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert answer.headers["content-type"].partition("/")[0] in {"text", "image"}
    for path in ("/admin/static/dashboard.css", "/admin/static/..%2Fpages.py"):
        assert browser.get(path).status in {401, 404}
