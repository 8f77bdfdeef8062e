"""Pages of jobs: each job once, and a search that says how far it came."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from stashjobs.operators import search
from stashjobs.operators.search import Filter
from stashjobs.store import database

if TYPE_CHECKING:
    from tests.deliveries import Table

JOBS = """
INSERT INTO job_executions (job_id, job_type, status, payload, max_attempts, created_at,
                            completed_at, error, metadata, user_id)
SELECT 'job-' || n, 'probe', 'failed', '{}', 1, now() - make_interval(mins => n / 2), now(),
       CASE WHEN n %% 3 = 0 THEN 'Timeout: ' ELSE 'Other: ' END || n,
       jsonb_build_object('batch', n %% 4), 'u_' || n %% 2
  FROM generate_series(1, 40) AS n
"""


@pytest.fixture(autouse=True)
def _jobs(table: Table) -> None:
    table.run(JOBS)


def all_pages(which: Filter, limit: int) -> list[list[str]]:
    """The ids of each page, from the first to the last."""
    pages, position = [], None
    with database.connection().transaction():
        while True:
            page = search.page(database.connection(), which, limit=limit, before=position)
            pages.append([job.job_id for job in page.jobs])
            position = page.next
            if position is None:
                return pages


@pytest.mark.parametrize(
    "which",
    [
        Filter(),
        Filter(status="failed"),
        Filter(error_contains="timeout"),
        Filter(error_contains="timeout", user_id="u_1"),
        Filter(metadata={"batch": 3}),
        Filter(metadata={"batch": 3}, error_contains="Timeout"),
        Filter(error_contains="nothing like it"),
    ],
)
@pytest.mark.parametrize("limit", [1, 7])
@pytest.mark.parametrize("look_at", [3, 1000])
def test_all_pages_together_have_each_job_once(
    monkeypatch: pytest.MonkeyPatch, which: Filter, limit: int, look_at: int
) -> None:
    monkeypatch.setattr(search, "LOOK_AT", look_at)
    expected = [job.job_id for job in search.newest(database.connection(), which, limit=1000)]
    pages = all_pages(which, limit)
    assert [job_id for page in pages for job_id in page] == expected
    assert max(map(len, pages)) <= limit


def test_a_search_looks_at_so_many_jobs_and_tells_how_far_it_came(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "LOOK_AT", 10)
    which = Filter(error_contains="Timeout")

    page = search.page(database.connection(), which, limit=50)

    assert {job.job_id for job in page.jobs} < {f"job-{n}" for n in range(1, 12)}
    assert not page.complete
    assert page.next is not None
    assert page.next[1] in {"job-9", "job-10", "job-11"}


def test_without_a_search_the_last_page_has_no_next() -> None:
    page = search.page(database.connection(), Filter(), limit=40)
    assert (len(page.jobs), page.next, page.complete) == (40, None, True)
