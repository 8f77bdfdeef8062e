"""Everything works through PgBouncer in transaction mode, where a connection is another's as soon
as a transaction ends. The server connections are one or two here, so they are truly shared."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from stashjobs.operators import retry_and_cancel
from stashjobs.recovery import relay
from stashjobs.store import database, migrations
from stashjobs.store.migrations import functions
from stashjobs.testing.qstash import Server, serving
from tests import pgbouncer
from tests.deliveries import Table, deliver, delivery, handle, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stashjobs import Context
    from stashjobs.job import Job
    from stashjobs.tools.servers.postgres import Postgres
    from tests.integration.conftest import Log
    from tests.pgbouncer import PgBouncer

numbers = itertools.count()


@pytest.fixture
def bouncer(database_url: str, settings: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[PgBouncer]:
    """One server connection for all; `POSTGRES_URL` leads through it."""
    with pgbouncer.running(tmp_path, database_url) as running:
        settings.setenv("POSTGRES_URL", running.url_of(database_url))
        yield running
        database.close()


@pytest.fixture
def url(bouncer: PgBouncer, database_url: str) -> str:
    return bouncer.url_of(database_url)


@pytest.fixture
def two_servers(database_url: str, settings: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """As `url`, with two server connections: one may be in a long transaction."""
    with pgbouncer.running(tmp_path, database_url, pool_size=2) as running:
        settings.setenv("POSTGRES_URL", running.url_of(database_url))
        yield running.url_of(database_url)
        database.close()


@pytest.fixture
def qstash(use_qstash: Callable[..., None]) -> Iterator[Server]:
    with serving() as server:
        use_qstash(server.url)
        yield server


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch) -> Job[Any, Any]:
    """A job whose function this process has, so that it knows how to publish it."""
    declared = probe()
    monkeypatch.setattr("stashjobs.recovery.relay.declared", lambda: [declared])
    monkeypatch.setattr("stashjobs.producer.publish.find", lambda _type: declared)
    return declared


def server_process(connection: database.Connection) -> int:
    [(pid,)] = connection.execute("SELECT pg_backend_pid()").fetchall()
    return int(pid)


def test_two_clients_share_one_connection_to_the_server(url: str) -> None:
    """The premise of all that follows."""
    with database.connect(url) as one, database.connect(url) as other:
        processes = {server_process(client) for client in (one, other, one, other)}
    assert len(processes) == 1


# ------------------------------------------------------------------ what a worker does


def test_a_delivery_is_claimed_run_and_recorded(bouncer: PgBouncer, table: Table) -> None:
    job = probe()
    job_id = table.add(job, {"n": 1})
    assert deliver(job, job_id).status == 200
    assert table.row(job_id)["result"] == {"n": 1}


def test_interleaved_workers_each_complete_their_own_jobs(bouncer: PgBouncer, table: Table) -> None:
    runs: list[str] = []
    job = probe(lambda _payload, context: runs.append(context.job_id))
    ids = [table.add(job) for _ in range(40)]

    def work(mine: list[str]) -> list[int]:
        statuses = [deliver(job, job_id).status for job_id in mine]
        database.close()
        return statuses

    with ThreadPoolExecutor(4) as workers:
        answers = list(workers.map(work, [ids[start::4] for start in range(4)]))

    assert answers == [[200] * 10] * 4
    assert sorted(runs) == sorted(ids)
    assert {row["status"] for row in table.rows()} == {"completed"}


def test_effects_are_nobody_elses_until_the_job_completes(two_servers: str, table: Table) -> None:
    """The job's transaction keeps its server connection, and another client gets the other one."""
    seen: list[tuple[int, int]] = []

    def work(_payload: Any, context: Context) -> None:
        context.connection.execute("CREATE TABLE bounced (n int)")
        context.connection.execute("INSERT INTO bounced VALUES (1)")
        with database.connect(two_servers) as other:
            [(found,)] = other.execute(
                "SELECT count(*) FROM pg_class WHERE relname = 'bounced'"
            ).fetchall()
            seen.append((found, server_process(other)))
        assert server_process(context.connection) != seen[0][1]

    job = probe(work)
    try:
        assert deliver(job, table.add(job)).status == 200
        assert seen[0][0] == 0
        assert table.run("SELECT n FROM bounced") == [{"n": 1}]
    finally:
        table.run("DROP TABLE IF EXISTS bounced")


def test_an_error_undoes_the_effects(bouncer: PgBouncer, table: Table) -> None:
    def work(_payload: Any, context: Context) -> None:
        context.connection.execute("CREATE TABLE bounced (n int)")
        raise OSError("no")

    job = probe(work)
    assert deliver(job, table.add(job)).status == 500
    assert table.run("SELECT to_regclass('bounced') AS found") == [{"found": None}]


def test_progress_and_heartbeat_reach_the_row(bouncer: PgBouncer, table: Table) -> None:
    seen: list[Any] = []

    def work(_payload: Any, context: Context) -> None:
        context.heartbeat()
        context.progress(0.5, "half")
        seen.append(table.row(context.job_id)["progress"])

    job = probe(work)
    assert deliver(job, table.add(job)).status == 200
    assert seen == [{"fraction": 0.5, "note": "half"}]


def test_a_statement_that_the_deadline_interrupts_is_cancelled_on_the_server(
    bouncer: PgBouncer, table: Table
) -> None:
    def work(_payload: Any, context: Context) -> None:
        context.connection.execute("SELECT pg_sleep(60)")

    job = probe(work, timeout=0.3)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 503
    assert table.status(job_id) == "retrying"
    table.run("UPDATE job_executions SET available_at = now() WHERE job_id = %s", job_id)
    assert deliver(probe(), job_id).status == 200
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"
    assert table.run(sleeping, "SELECT pg_sleep(60)%") == []


def test_the_connection_is_reopened_when_pgbouncer_was_restarted(
    database_url: str, settings: pytest.MonkeyPatch, tmp_path: Path, table: Table
) -> None:
    job = probe()
    with pgbouncer.running(tmp_path, database_url) as first:
        settings.setenv("POSTGRES_URL", first.url_of(database_url))
        assert deliver(job, table.add(job)).status == 200
    with pgbouncer.running(tmp_path, database_url, port=first.port):
        answer = deliver(job, table.add(job))
        assert (answer.status, answer.document["attempt"]) == (200, 1)
        database.close()


# ------------------------------------------------------------------ what an app and the relay do


def test_jobs_are_enqueued_and_published(
    bouncer: PgBouncer, table: Table, qstash: Server, job: Job[Any, Any]
) -> None:
    enqueued = [*job.enqueue_many([{"n": n} for n in range(5)]), job.enqueue({"n": 5})]
    assert all(each.published for each in enqueued)
    assert [row["published_at"] is not None for row in table.rows()] == [True] * 6


def test_a_job_joins_the_callers_transaction(url: str, table: Table, job: Job[Any, Any]) -> None:
    with database.connect(url) as connection:
        with connection.transaction(force_rollback=True):
            job.enqueue({}, connection=connection)
        with connection.transaction():
            kept = job.enqueue({}, connection=connection)
    assert [row["job_id"] for row in table.rows()] == [kept.job_id]


def test_a_child_exists_once_its_parent_completes(
    bouncer: PgBouncer, table: Table, qstash: Server, job: Job[Any, Any]
) -> None:
    parent = probe(lambda _payload, context: context.enqueue(job, {}).job_id, type="parent")
    sent = {"jobId": table.add(parent), "type": "parent"}
    assert handle(parent, delivery(sent)).status == 200
    assert len(qstash.messages) == 1
    assert [row["status"] for row in table.rows()] == ["completed", "pending"]


def test_a_plain_enqueue_within_the_jobs_transaction_is_not_undone_with_it(
    two_servers: str, table: Table, qstash: Server, job: Job[Any, Any]
) -> None:
    def work(_payload: Any, context: Context) -> None:
        context.connection.execute("SELECT 1")
        job.enqueue({"kept": True})
        raise OSError("no")

    assert deliver(probe(work), table.add(job)).status == 500
    assert [row["status"] for row in table.rows()] == ["retrying", "pending"]


def test_relays_at_once_publish_each_job_once(
    two_servers: str,
    table: Table,
    qstash: Server,
    job: Job[Any, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """SKIP LOCKED: a batch stays locked in its transaction while it is published."""
    monkeypatch.setattr(relay, "BATCH", 10)
    monkeypatch.setenv("RELAY_MESSAGES_PER_SECOND", "0")
    for _ in range(40):
        table.add(job)
    together = threading.Barrier(2)

    def run(_number: int) -> int:
        together.wait()
        report = relay.Report()
        relay.publish_unpublished(report, time.time() + 30, quiet_seconds=0)
        database.close()
        return report.published

    with ThreadPoolExecutor(2) as relays:
        published = list(relays.map(run, range(2)))

    assert sum(published) == 40
    assert len(qstash.messages) == 40
    assert table.run("SELECT 1 FROM job_executions WHERE published_at IS NULL") == []


def test_expired_leases_are_freed(bouncer: PgBouncer, table: Table) -> None:
    job_id = table.add(probe())
    table.run(
        "UPDATE job_executions SET status = 'processing', attempt = 1, started_at = now(),"
        " lease_expires_at = now() - interval '1 s'"
    )
    report = relay.Report()
    relay.free_leases(report, time.time() + 10)
    assert report.leases_freed == 1
    assert table.status(job_id) == "retrying"


def test_operators_cancel_and_retry(
    bouncer: PgBouncer, table: Table, qstash: Server, job: Job[Any, Any]
) -> None:
    job_id = table.add(job)
    retry_and_cancel.cancel(job_id, actor="ada")
    assert table.status(job_id) == "cancelled"
    retry_and_cancel.retry(job_id, actor="ada")
    assert table.status(job_id) == "pending"


# ------------------------------------------------------------------ what is left behind


def test_nothing_is_left_behind_in_the_shared_session(
    url: str, table: Table, qstash: Server, job: Job[Any, Any]
) -> None:
    def work(_payload: Any, context: Context) -> None:
        context.progress(0.1)
        for _ in range(10):  # more often than psycopg's default threshold for preparing
            context.connection.execute("SELECT %s", [1])

    with database.connect(url) as other:
        before = session(other)
        for _ in range(10):
            deliver(probe(work), table.add(job))
        job.enqueue({})
        relay.run(time.time() + 10)
        migrations.migrate(url)
        assert session(other) == before


def session(client: database.Connection) -> dict[str, Any]:
    """What a session remembers, as far as Postgres shows it."""
    queries = {
        "settings": "SELECT string_agg(name || '=' || setting, ',' ORDER BY name)"
        " FROM pg_settings WHERE source = 'session' AND name <> 'application_name'",
        "prepared": "SELECT count(*) FROM pg_prepared_statements",
        "cursors": "SELECT count(*) FROM pg_cursors WHERE is_holdable",
        "channels": "SELECT count(*) FROM pg_listening_channels()",
        "locks": "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'",
        "temporary": "SELECT count(*) FROM pg_class WHERE relpersistence = 't'",
        "process": "SELECT pg_backend_pid()",
    }
    return {name: client.execute(query.encode()).fetchall() for name, query in queries.items()}


@pytest.mark.parametrize("pool_size", [1, 2])
def test_migrations_at_once_apply_each_file_once(
    postgres: Postgres, tmp_path: Path, pool_size: int
) -> None:
    name = sql.Identifier(f"bounced_{next(numbers)}")
    together = threading.Barrier(3)

    def run(through: str) -> list[str]:
        together.wait()
        return migrations.migrate(through)

    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE DATABASE {} STRATEGY FILE_COPY").format(name))
        empty = postgres.url_of(name.as_string().strip('"'))
        with (
            pgbouncer.running(tmp_path, empty, pool_size=pool_size) as running,
            ThreadPoolExecutor(3) as pool,
        ):
            applied = list(pool.map(run, [running.url_of(empty)] * 3))
        admin.execute(sql.SQL("DROP DATABASE {} (FORCE)").format(name))

    everything = [migration.name for migration in migrations.available()]
    everything += [f"function {each.name}" for each in functions.available()]
    assert sorted(applied) == [[], [], everything]


# ------------------------------------------------------------------ the timeouts


@pytest.fixture
def role(postgres: Postgres, database_url: str) -> Iterator[str]:
    """A database URL whose role has timeouts of its own."""
    name = sql.Identifier(f"bounded_{next(numbers)}")
    with psycopg.connect(database_url, autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'a-password'").format(name))
        for setting, value in (("statement_timeout", "200ms"), ("lock_timeout", "100ms")):
            admin.execute(
                sql.SQL("ALTER ROLE {} SET {} = {}").format(name, sql.Identifier(setting), value)
            )
        yield (
            f"postgresql://{name.as_string().strip(chr(34))}:a-password@"
            + (database_url.split("@", 1)[1])
        )
        admin.execute(sql.SQL("DROP ROLE {}").format(name))


def test_a_pooler_that_refuses_our_options_is_used_without_them_and_that_is_said_once(
    url: str, log: Log
) -> None:
    for _ in range(3):
        with database.connect(url) as connection:
            assert database.missing_timeouts(connection) == ["statement_timeout", "lock_timeout"]
    [line] = log.lines
    assert line["level"] == "WARNING"
    assert "the role stashjobs has no statement_timeout and no lock_timeout" in line["message"]


def test_where_the_role_has_the_timeouts_they_hold_and_nothing_is_said(
    role: str, tmp_path: Path, log: Log
) -> None:
    with (
        pgbouncer.running(tmp_path, role) as running,
        database.connect(running.url_of(role)) as connection,
    ):
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(60)")
        assert database.missing_timeouts(connection) == []
    assert log.text == ""


def test_a_pooler_that_ignores_our_options_is_told_apart_by_asking(
    database_url: str, tmp_path: Path
) -> None:
    """For `stashjobs doctor`: connecting alone costs no round trip more for it."""
    with (
        pgbouncer.running(tmp_path, database_url, ignore_startup_parameters="options") as running,
        database.connect(running.url_of(database_url)) as through,
        database.connect(database_url) as directly,
    ):
        assert database.missing_timeouts(through) == ["statement_timeout", "lock_timeout"]
        assert database.missing_timeouts(directly) == []


def test_options_of_the_url_that_a_pooler_refuses_are_an_error(
    bouncer: PgBouncer, url: str
) -> None:
    """Somebody asked for them; leaving them out would be silent."""
    with pytest.raises(psycopg.OperationalError, match="unsupported startup parameter"):
        database.connect(url + "&options=-c%20enable_seqscan%3Doff")
