"""The audit: every action once, the newest first, page by page."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from functions.api.dashboard import audit

if TYPE_CHECKING:
    from tests.deliveries import Table

# Three tables, and in the first a bulk operation whose actions are all of one moment.
ACTIONS = (
    (
        "INSERT INTO job_actions (at, actor, action, job_id, before)"
        " SELECT '2026-06-01', 'ada', 'cancel', 'job-' || n, '{}' FROM generate_series(1, 120) AS n"
    ),
    (
        "INSERT INTO schedule_actions (at, actor, action, schedule)"
        " SELECT '2026-06-01', 'bob', 'pause', 'nightly-' || n FROM generate_series(1, 3) AS n"
    ),
    (
        "INSERT INTO token_actions (at, actor, action, token, scopes)"
        " SELECT '2026-06-01'::timestamptz + n * interval '1 s', 'cyd', 'make token', 't-' || n,"
        " '{}'"
        " FROM generate_series(-2, 2) AS n"
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

    assert len(found) == 120 + 3 + 5
    assert len({(one.kind, one.action_id) for one in found}) == len(found)
    assert [one.at for one in found] == sorted((one.at for one in found), reverse=True)
    assert [one.subject.partition(":")[0] for one in found[:2]] == ["t-2", "t-1"]
    assert [one.subject.partition(":")[0] for one in found[-2:]] == ["t--1", "t--2"]
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


@pytest.mark.parametrize("before", ["x", "2026-06-01", "2026-06-01T00:00:00+00:00_a_1"])
def test_a_place_that_is_none_is_refused(table: Table, before: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        audit.read_actions(table.other, before)
