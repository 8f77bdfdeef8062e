"""The indexes are what the statements need: a change to either that parts them fails here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from stashjobs.ids import new_job_id
from stashjobs.operators import sql
from stashjobs.operators.search import Filter
from stashjobs.store import batches, executions
from stashjobs.store.executions import NewJob
from tests.deliveries import probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deliveries import Table

# One in a hundred waits, one in a hundred of those runs, three in a hundred have failed.
JOBS = """
INSERT INTO job_executions (job_id, job_type, status, payload, max_attempts, user_id,
                            organization_id, error, message_id, created_at, available_at,
                            published_at, lease_expires_at, completed_at)
SELECT 'job-' || n, 'type-' || n %% 50, status, '{}', 3, 'u_' || n %% 50, 'o_' || n %% 50,
       CASE WHEN status = 'failed' THEN 'no' END, 'msg-' || n, at, at, at,
       CASE WHEN status = 'processing' THEN now() END,
       CASE WHEN status IN ('completed', 'failed') THEN now() END
  FROM generate_series(1, 6000) AS n,
       LATERAL (SELECT now() - make_interval(mins => n) AS at,
                       CASE WHEN n %% 3000 = 1 THEN 'processing' WHEN n %% 100 = 2 THEN 'pending'
                            WHEN n %% 33 = 3 THEN 'failed' ELSE 'completed' END AS status) AS made
"""


COLUMNS = {"columns": "*", "shown": "*", "bytes": "0"}


@pytest.fixture
def connection(table: Table, database_url: str) -> Iterator[psycopg.Connection[Any]]:
    table.run(JOBS)
    with psycopg.connect(database_url, autocommit=True) as opened:
        opened.execute("ANALYZE job_executions")
        yield opened


def plan(connection: psycopg.Connection[Any], statement: str, parameters: Any) -> str:
    rows = connection.execute(f"EXPLAIN {statement}".encode(), parameters).fetchall()
    return "\n".join(line for (line,) in rows)


@pytest.mark.parametrize(
    ("which", "index"),
    [
        (Filter(), "idx_job_executions_created_at"),
        (Filter(status="failed"), "idx_job_executions_status_created"),
        (Filter(job_type="type-7"), "idx_job_executions_type_created"),
        (Filter(user_id="u_7"), "idx_job_executions_user_id"),
        (Filter(organization_id="o_7"), "idx_job_executions_organization_id"),
    ],
)
def test_a_list_is_a_range_of_an_index_in_its_order(
    connection: psycopg.Connection[Any], which: Filter, index: str
) -> None:
    conditions, parameters = which.conditions()
    parameters |= {"limit": 21, "before_time": "infinity", "before_id": "", "bytes": 9}
    statement = sql.LIST_NEWEST.format(**COLUMNS, conditions=conditions)
    found = plan(connection, statement, parameters)
    assert f"Index Scan using {index} " in found
    assert "Incremental Sort" in found  # by id, among those of the same moment


def test_a_search_for_an_error_looks_at_jobs_that_have_one(
    connection: psycopg.Connection[Any],
) -> None:
    which = Filter(error_contains="x")
    narrow, wide = which.split_conditions()
    parameters = which.conditions()[1]
    parameters |= {"limit": 21, "before_time": "now", "before_id": "", "look_at": 100, "bytes": 9}
    statement = sql.SEARCH_NEWEST.format(**COLUMNS, narrow=narrow, wide=wide)
    found = plan(connection, statement, parameters)
    assert "Index Scan using idx_job_executions_error " in found


def test_an_attempt_that_extends_its_lease_changes_no_index(table: Table) -> None:
    job_id = table.add(probe(), {})
    lease = executions.Lease(60, None, None)
    executions.claim(table.connection, job_id=job_id, job_type="probe", lease=lease)
    before = updates(table)

    held, _ = executions.extend_lease(table.connection, job_id=job_id, attempt=1, lease_seconds=60)
    assert held

    after = updates(table)
    assert (
        after["all"] - before["all"] == after["without_an_index"] - before["without_an_index"] == 1
    )


def updates(table: Table) -> dict[str, int]:
    """What this session has not told the server's statistics of yet is in these numbers too."""
    [counted] = table.run(
        "SELECT pg_stat_get_xact_tuples_updated('job_executions'::regclass) AS all,"
        " pg_stat_get_xact_tuples_hot_updated('job_executions'::regclass) AS without_an_index"
    )
    return counted


def test_a_batch_is_joined_by_the_ids_of_its_jobs_and_not_by_all_that_are_in_one(
    connection: psycopg.Connection[Any],
) -> None:
    """Where the statistics know of no job in a batch, the index of those that are looks best."""
    for _ in range(3):
        batch_id = new_job_id()
        jobs = [NewJob(new_job_id(), "probe", {}, 1, batch_id=batch_id) for _ in range(50)]
        with connection.transaction():
            batches.create(connection, batch_id, "import")
            executions.record_new_jobs(connection, jobs)
    connection.execute("SELECT pg_stat_force_next_flush()")
    scans = connection.execute(
        "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'idx_job_executions_batch'"
    ).fetchone()
    assert scans == (0,)
