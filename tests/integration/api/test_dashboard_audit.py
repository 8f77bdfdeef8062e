"""The audit: every action once, the newest first, page by page."""

from __future__ import annotations

import html
import re
from typing import TYPE_CHECKING

import pytest

from functions.api.dashboard import audit

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deliveries import Table
    from tests.integration.api.dashboards import Browser

# Four tables, each with more than a page; in the first a bulk operation whose actions are all of
# one moment.
ACTIONS = (
    (
        "INSERT INTO job_actions (at, actor, action, job_id, before)"
        " SELECT '2026-06-01', 'ada', 'cancel', 'job-' || n, '{}' FROM generate_series(1, 120) AS n"
    ),
    (
        "INSERT INTO schedule_actions (at, actor, action, schedule)"
        " SELECT '2026-06-01', 'bob', 'pause', 'nightly-' || n FROM generate_series(1, 60) AS n"
    ),
    (
        "INSERT INTO token_actions (at, actor, action, token, scopes)"
        " SELECT '2026-06-01'::timestamptz + n * interval '1 s', 'cyd', 'make token', 't-' || n,"
        " '{}'"
        " FROM generate_series(-60, 60) AS n"
    ),
    (
        "INSERT INTO type_actions (at, actor, action, job_type)"
        " SELECT '2026-06-01'::timestamptz - n * interval '1 s', 'dan', 'pause', 'type-' || n"
        " FROM generate_series(1, 60) AS n"
    ),
)


def test_every_action_is_on_one_page_and_the_newest_is_first(table: Table) -> None:
    for statement in ACTIONS:
        table.run(statement)
    found: list[audit.Action] = []
    before = None
    while True:
        page = audit.read_actions(table.other, before)
        found += page[: audit.PAGE]
        if len(page) <= audit.PAGE:
            break
        before = found[-1].place

    assert len(found) == 120 + 60 + 121 + 60
    assert len({(one.kind, one.action_id) for one in found}) == len(found)
    assert [one.at for one in found] == sorted((one.at for one in found), reverse=True)
    of_tokens = [one.subject.partition(":")[0] for one in found if one.actor == "cyd"]
    assert of_tokens == [f"t-{n}" for n in range(60, -61, -1)]
    of_schedules = [one.subject for one in found if one.actor == "bob"]
    assert of_schedules == [f"schedule nightly-{n}" for n in range(60, 0, -1)]
    assert [one.subject for one in found if one.actor == "dan"] == [
        f"type type-{n}" for n in range(1, 61)
    ]
    of_the_moment = [one.job_id for one in found if one.actor == "ada"]
    assert of_the_moment == [f"job-{n}" for n in range(120, 0, -1)]


def test_the_access_log_is_read_page_by_page_too(table: Table) -> None:
    table.run(
        "INSERT INTO access_log (method, path, outcome)"
        " SELECT 'GET', '/' || n, 'allowed' FROM generate_series(1, 60) AS n"
    )
    first = audit.read_accesses(table.other)
    second = audit.read_accesses(table.other, first[audit.PAGE - 1].access_id)
    paths = [one.path for one in [*first[: audit.PAGE], *second]]
    assert paths == [f"/{n}" for n in range(60, 0, -1)]


OLDER = re.compile(r'rel="next" href="([^"]+)"')


@pytest.mark.parametrize(
    ("path", "insert"),
    [
        (
            "/admin/audit",
            (
                "INSERT INTO job_actions (at, actor, action, job_id, before)"
                " SELECT now(), 'ada', 'cancel', 'row-' || n, '{}'"
                " FROM generate_series(1, %s) AS n"
            ),
        ),
        (
            "/admin/audit/access",
            (
                "INSERT INTO access_log (method, path, outcome)"
                " SELECT 'GET', '/row-' || n, 'allowed' FROM generate_series(1, %s) AS n"
            ),
        ),
    ],
)
def test_a_page_leads_to_the_next_one_where_there_is_one(
    table: Table, browser: Browser, token: Callable[..., str], path: str, insert: str
) -> None:
    browser.sign_in(token("read", "operate"))
    own = int("access" in path)  # the request itself is in the log
    for statement in ("DELETE FROM job_actions", "DELETE FROM token_actions"):
        table.run(statement)
    table.run("DELETE FROM access_log")  # signing in is in it
    table.run(insert, audit.PAGE - own)
    full = browser.get(path)
    assert (len(set(re.findall(r"row-\d+", full.text))), OLDER.search(full.text)) == (
        audit.PAGE - own,
        None,
    )
    table.run("DELETE FROM access_log")
    table.run("DELETE FROM job_actions")
    table.run(insert, audit.PAGE + 1 - own)
    first = browser.get(path)
    older = OLDER.search(first.text)
    assert older is not None
    second = browser.get(html.unescape(older[1]))
    assert "row-1 " in f"{second.words} "
    assert OLDER.search(second.text) is None


@pytest.mark.parametrize("before", ["x", "2026-06-01", "2026-06-01T00:00:00+00:00_a_1"])
def test_a_place_that_is_none_is_refused(table: Table, before: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        audit.read_actions(table.other, before)
