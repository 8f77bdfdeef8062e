"""The connection comes back by itself, whatever the server did in between."""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql

from stashjobs import SettingError
from stashjobs.store import database
from stashjobs.tools.servers.postgres import Postgres
from tests.clusters import make_ready
from tests.deliveries import Table, deliver, probe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stashjobs import Context


def test_a_warm_worker_keeps_its_connection(table: Table) -> None:
    first = database.connection()
    deliver(probe(), table.add(probe()))
    assert database.connection() is first


def test_a_connection_that_the_server_dropped_is_replaced_unseen(table: Table) -> None:
    job = probe()
    deliver(job, table.add(job))
    assert table.end_sessions() == 1
    answer = deliver(job, table.add(job))
    assert (answer.status, answer.document["attempt"]) == (200, 1)


def test_a_connection_that_the_server_dropped_while_the_job_ran_is_replaced(table: Table) -> None:
    job = probe(lambda _payload, _context: table.end_sessions())
    job_id = table.add(job)
    assert deliver(job, job_id).status == 200
    assert table.row(job_id)["result"] == 1


def test_a_rotated_url_takes_effect_at_the_next_delivery(
    table: Table, settings: pytest.MonkeyPatch, postgres: Postgres, database_url: str
) -> None:
    job = probe()
    deliver(job, table.add(job))
    table.run("CREATE ROLE rotated LOGIN SUPERUSER PASSWORD 'another'")
    try:
        with settings.context() as rotated:
            rotated.setenv(
                "POSTGRES_URL",
                f"postgresql://rotated:another@127.0.0.1:{postgres.port}{urlsplit(database_url).path}",
            )
            job_id = table.add(job)
            assert deliver(job, job_id).status == 200
            assert database.connection().info.user == "rotated"
        assert database.connection().info.user != "rotated"
    finally:
        table.run("DROP ROLE rotated")


def test_a_fork_does_not_use_its_parents_connection(table: Table) -> None:
    parents = database.connection()
    child = os.fork()
    if child == 0:
        try:
            own = database.connection()
            ok = own is not parents and own.execute("SELECT 1").fetchone() == (1,)
        except BaseException:  # noqa: BLE001 - a child must not run the rest of the tests
            ok = False
        os._exit(0 if ok else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert parents.execute("SELECT 1").fetchone() == (1,)


def test_the_urls_own_options_win(settings: pytest.MonkeyPatch, database_url: str) -> None:
    settings.setenv("POSTGRES_URL", database_url + "&options=-c%20statement_timeout%3D1234")
    shown = [
        database.connection().execute(sql.SQL("SHOW {}").format(sql.Identifier(name))).fetchone()
        for name in ("statement_timeout", "lock_timeout")
    ]
    assert shown == [("1234ms",), ("5s",)]


@pytest.mark.parametrize("url", ["", "localhost", "mysql://user:hidden-word@host/x"])
def test_a_url_that_is_none_is_refused_without_being_shown(
    settings: pytest.MonkeyPatch, url: str
) -> None:
    settings.setenv("POSTGRES_URL", url)
    with pytest.raises(SettingError, match="POSTGRES_URL") as refusal:
        database.connection()
    assert "hidden-word" not in str(refusal.value)


# ------------------------------------------------------------------ Postgres restarts


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """A server that a test may stop."""
    data_dir = make_ready(tmp_path_factory.mktemp("own") / "postgres")
    with Postgres(data_dir, durable=False) as server:
        yield server


@pytest.fixture
def own_table(own_server: Postgres, settings: pytest.MonkeyPatch) -> Iterator[Postgres]:
    settings.setenv("POSTGRES_URL", own_server.url)
    yield own_server
    database.close()
    own_server.start()
    with psycopg.connect(own_server.url, autocommit=True) as connection:
        connection.execute("DELETE FROM job_executions")


def row_of(server: Postgres, job_id: str) -> tuple[Any, ...]:
    with psycopg.connect(server.url) as connection:
        [row] = connection.execute(
            "SELECT status, result, attempt, lease_expires_at > now() FROM job_executions"
            " WHERE job_id = %s",
            [job_id],
        ).fetchall()
    return row


def added(server: Postgres) -> str:
    with closing(Table(server.url)) as table:
        return table.add(probe())


def test_postgres_restarts_while_the_job_runs_and_its_end_is_recorded(
    own_table: Postgres,
) -> None:
    runs: list[int] = []

    def work(_payload: Any, context: Context) -> str:
        runs.append(context.attempt)
        own_table.stop("immediate")
        threading.Timer(0.2, own_table.start).start()
        return "done"

    job_id = added(own_table)
    answer = deliver(probe(work), job_id)
    assert answer.status == 200
    assert runs == [1]
    assert row_of(own_table, job_id) == ("completed", "done", 1, None)


def test_postgres_does_not_come_back_in_time_and_the_lease_stays(own_table: Postgres) -> None:
    def work(_payload: Any, _context: Context) -> str:
        own_table.stop("immediate")
        return "done"

    job_id = added(own_table)
    began = time.monotonic()
    answer = deliver(probe(work), job_id)
    assert time.monotonic() - began >= sum(database.PAUSES)
    assert answer.status == 503
    assert answer.retry_after is not None
    own_table.start()
    assert row_of(own_table, job_id) == ("processing", None, 1, True)


def test_postgres_restarts_in_the_jobs_transaction_and_the_attempt_is_repeated(
    own_table: Postgres,
) -> None:
    def work(_payload: Any, context: Context) -> str:
        context.connection.execute("CREATE TABLE gone ()")
        own_table.restart("immediate")
        return "done"

    job_id = added(own_table)
    assert deliver(probe(work), job_id).status == 500
    assert row_of(own_table, job_id) == ("retrying", None, 1, None)
    with psycopg.connect(own_table.url) as connection:
        assert connection.execute("SELECT to_regclass('gone')").fetchone() == (None,)


def test_postgres_is_down_before_the_claim_and_the_next_delivery_runs(own_table: Postgres) -> None:
    job_id = added(own_table)
    deliver(probe(), job_id)
    job_id = added(own_table)
    own_table.stop("immediate")
    assert deliver(probe(), job_id).status == 503
    own_table.start()
    assert deliver(probe(), job_id).document["attempt"] == 1
