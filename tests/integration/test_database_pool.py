"""Many threads: each has a connection of its own, or borrows one from the process's pool."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from psycopg_pool import PoolTimeout

from stashjobs.store import database
from tests import pgbouncer
from tests.deliveries import Table, deliver, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stashjobs import Context
    from stashjobs.job import Job


@pytest.fixture
def job(table: Table, use_qstash: Callable[..., None]) -> Job[Any, Any]:
    """A job that is recorded. Publishing fails at once, since no registry knows its type; that
    is no error."""
    use_qstash("http://127.0.0.1:9")
    return probe()


@pytest.fixture
def opened(table: Table) -> Iterator[None]:
    """The process has opened its pool."""
    database.pool()
    yield
    database.close_pool()


def sessions(table: Table) -> int:
    """How many connections of stashjobs the server has."""
    [row] = table.run(
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'stashjobs'"
    )
    count: int = row["count"]
    return count


def in_a_thread(work: Callable[[], object]) -> None:
    with ThreadPoolExecutor(1) as threads:
        threads.submit(work).result()


# ------------------------------------------------------------------ without a pool


def test_threads_do_not_share_a_connection(table: Table) -> None:
    mine = database.connection()
    theirs: list[object] = []
    in_a_thread(lambda: theirs.append(database.connection()))
    assert theirs != [mine]


def test_the_connection_of_a_thread_that_ended_is_closed_with_the_next_one(table: Table) -> None:
    for _ in range(5):
        in_a_thread(database.connection)
    database.connection()
    until = time.monotonic() + 60
    while sessions(table) > 1 and time.monotonic() < until:
        time.sleep(0.02)  # the server takes its time to end one
    assert sessions(table) == 1


def test_another_threads_enqueue_is_not_in_this_ones_transaction(
    table: Table, job: Job[Any, Any]
) -> None:
    with database.connection().transaction(force_rollback=True):
        in_a_thread(lambda: job.enqueue({"kept": True}))
    assert [row["payload"] for row in table.rows()] == [{"kept": True}]


def test_another_threads_enqueue_does_not_break_off_this_ones_statement(
    table: Table, job: Job[Any, Any]
) -> None:
    running = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"

    def enqueue() -> None:
        while not table.run(running, "SELECT pg_sleep(0.5)%"):
            pass
        job.enqueue({})

    with ThreadPoolExecutor(1) as threads:
        mine = database.connection()
        other = threads.submit(enqueue)
        assert mine.execute("SELECT pg_sleep(0.5), 7").fetchall() == [("", 7)]
        other.result()
    assert database.connection() is mine


def test_of_many_threads_enqueuing_each_gets_its_jobs(table: Table, job: Job[Any, Any]) -> None:
    together = threading.Barrier(12)

    def enqueue(thread: int) -> list[str]:
        together.wait()
        made = [job.enqueue({"thread": thread, "n": n}).job_id for n in range(10)]
        database.close()
        return made

    with ThreadPoolExecutor(12) as threads:
        ids = list(threads.map(enqueue, range(12)))

    rows = {row["job_id"]: row["payload"] for row in table.rows()}
    assert len(rows) == 120
    for thread, made in enumerate(ids):
        assert [rows[job_id] for job_id in made] == [{"thread": thread, "n": n} for n in range(10)]


def test_a_plain_enqueue_within_a_jobs_transaction_stays_when_the_job_fails(
    table: Table, job: Job[Any, Any]
) -> None:
    """What `enqueue` has returned is not lost; `context.enqueue` is what shares the job's fate."""

    def work(_payload: Any, context: Context) -> None:
        context.connection.execute("SELECT 1")
        job.enqueue({"kept": True})
        raise OSError("no")

    deliver(probe(work), table.add(job))
    assert [row["status"] for row in table.rows()] == ["retrying", "pending"]
    # The server's side of a connection ends a moment after ours.
    deadline = time.monotonic() + 60
    while sessions(table) > 1 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert sessions(table) == 1


def test_a_heartbeat_from_a_jobs_own_thread_counts_at_once(table: Table) -> None:
    """Also while the job's transaction is open."""
    leases = []

    def work(_payload: Any, context: Context) -> None:
        context.connection.execute("SELECT 1")
        leases.append(table.row(context.job_id)["lease_expires_at"])
        context.lease_seconds = 500
        in_a_thread(context.heartbeat)
        leases.append(table.row(context.job_id)["lease_expires_at"])

    job = probe(work)
    assert deliver(job, table.add(job)).status == 200
    assert (leases[1] - leases[0]).total_seconds() > 300


# ------------------------------------------------------------------ the pool


def test_it_has_the_numbers_of_the_deployment_guide(opened: None) -> None:
    pool = database.pool()
    assert (pool.max_size, pool.max_idle, pool.timeout) == (20, 30, 2)


def test_there_is_one_for_the_process(opened: None) -> None:
    pools: list[object] = []
    in_a_thread(lambda: pools.append(database.pool()))
    assert pools == [database.pool()]


def test_its_connections_are_as_any_other(opened: None) -> None:
    with database.pool().connection() as connection:
        assert connection.autocommit
        assert connection.prepare_threshold is None
        assert database.missing_timeouts(connection) == []
        [(name,)] = connection.execute("SHOW application_name").fetchall()
        assert name == "stashjobs"


def test_it_opens_no_connection_before_one_is_needed(opened: None, table: Table) -> None:
    assert sessions(table) == 0


def test_one_thing_at_a_time_takes_one_connection(
    opened: None, table: Table, job: Job[Any, Any]
) -> None:
    """So an API in Lambda is within its budget."""
    for _ in range(10):
        job.enqueue({})
    assert sessions(table) == 1


def test_enqueues_borrow_from_it_in_any_thread(
    opened: None, table: Table, job: Job[Any, Any]
) -> None:
    with ThreadPoolExecutor(40) as threads:
        list(threads.map(lambda n: job.enqueue({"n": n}), range(200)))
        assert sessions(table) <= 20
    assert sorted(row["payload"]["n"] for row in table.rows()) == list(range(200))


def test_a_worker_does_not_take_its_own_connection_from_it(opened: None, table: Table) -> None:
    job = probe()
    deliver(job, table.add(job))
    assert database.pool().get_stats().get("requests_num", 0) == 0


def test_a_connection_that_the_server_dropped_is_not_lent(
    opened: None, table: Table, job: Job[Any, Any]
) -> None:
    job.enqueue({})
    assert table.end_sessions() == 1
    job.enqueue({})
    assert len(table.rows()) == 2


def test_without_a_free_connection_it_says_so_in_time(
    table: Table, job: Job[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "POOL_MAX_CONNECTIONS", 1)
    monkeypatch.setattr(database, "POOL_TIMEOUT_SECONDS", 0.1)
    try:
        with database.pool().connection(timeout=5), pytest.raises(PoolTimeout):
            job.enqueue({})
    finally:
        database.close_pool()
    assert table.rows() == []


def test_a_rotated_url_opens_another_and_closes_the_old_one(
    opened: None, table: Table, settings: pytest.MonkeyPatch, database_url: str
) -> None:
    old = database.pool()
    settings.setenv("POSTGRES_URL", database_url + "&options=-c%20geqo%3Doff")
    with database.pool().connection() as connection:
        assert connection.execute("SHOW geqo").fetchall() == [("off",)]
    assert old.closed


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 warns of any thread
def test_a_fork_opens_its_own_and_leaves_its_parents_alone(
    opened: None, job: Job[Any, Any]
) -> None:
    job.enqueue({})
    parents = database.pool()
    child = os.fork()
    if child == 0:
        ok = False
        try:
            with database.pool().connection() as own:
                ok = database.pool() is not parents and own.execute("SELECT 1").fetchone() == (1,)
            database.close_pool()
        finally:
            os._exit(0 if ok else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    with parents.connection() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def run_python(program: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=directory,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )


def test_it_ends_with_the_process_and_without_a_word(
    settings: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    program = """
from stashjobs.store import database
with database.pool().connection() as connection:
    connection.execute("SELECT 1")
"""
    ended = run_python(program, tmp_path)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def test_a_worker_never_imports_it(tmp_path: Path) -> None:
    """A cold start pays for every import."""
    ended = run_python(
        "import sys, stashjobs.delivery.handler, stashjobs.recovery.relay; "
        "print('psycopg_pool' in sys.modules)",
        tmp_path,
    )
    assert (ended.stdout, ended.stderr) == ("False\n", "")


def test_without_the_package_it_says_what_to_install(
    settings: pytest.MonkeyPatch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg_pool", None)
    with pytest.raises(ImportError, match=r"pip install 'stashjobs\[pool\]'"):
        database.pool()


def test_it_works_through_pgbouncer(
    database_url: str,
    settings: pytest.MonkeyPatch,
    table: Table,
    job: Job[Any, Any],
    tmp_path: Path,
) -> None:
    with pgbouncer.running(tmp_path, database_url) as running:
        settings.setenv("POSTGRES_URL", running.url_of(database_url))
        database.pool()
        try:
            with ThreadPoolExecutor(10) as threads:
                list(threads.map(lambda n: job.enqueue({"n": n}), range(50)))
        finally:
            database.close_pool()
    assert len(table.rows()) == 50
