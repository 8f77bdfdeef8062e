"""The role of the functions: it runs jobs, serves the API and cleans up, and no more."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import psycopg
import pytest

from functions.cleanup_old_data.cleaner import Cleaner
from functions.cleanup_old_data.models import Cleanup
from functions.cleanup_old_data.retention import Retention
from infra.local.stack import make_worker_role
from stashjobs import Context
from stashjobs.errors import MigrationError
from stashjobs.operators import access, health, retry_and_cancel
from stashjobs.operators.access import Request
from stashjobs.recovery import relay
from stashjobs.store import database
from stashjobs.store.migrations import functions, migrate, worker_role
from stashjobs.tools.doctor import postgres as doctor
from stashjobs.tools.doctor.finding import Level
from tests.deliveries import deliver, probe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.buckets import Bucket
    from tests.deliveries import Table

REMEMBERED = "SELECT to_regclass('schema_worker_roles') IS NOT NULL"


@pytest.fixture
def role(database_url: str) -> Iterator[str]:
    """A role of this test's own: roles are the whole server's."""
    name = f"worker_{uuid.uuid4().hex[:12]}"
    yield name
    with psycopg.connect(database_url, autocommit=True) as connection:
        known = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [name]).fetchone()
        if known is not None:
            connection.execute(f"DROP OWNED BY {name}".encode())
            connection.execute(f"DROP ROLE {name}".encode())


@pytest.fixture
def worker(
    table: Table, database_url: str, role: str, settings: pytest.MonkeyPatch
) -> database.Connection:
    """This process is a worker from now on; `table` stays the owner's."""
    url = make_worker_role(database_url, role)
    migrate(database_url, role=role)
    settings.setenv("POSTGRES_URL", url)
    assert database.connection().execute("SELECT current_user").fetchone() == (role,)
    return database.connection()


def test_a_worker_enqueues_runs_retries_and_cancels(
    worker: database.Connection, table: Table
) -> None:
    parent = probe(lambda _payload, context: context.progress(0.5))
    first = parent.enqueue({}, connection=worker, idempotency_key="once").job_id
    second = probe(lambda _payload, context: len(context.parents())).enqueue(
        {}, connection=worker, after=[first]
    )
    assert deliver(parent, first).status == 200
    assert table.status(second.job_id) == "pending"
    retry_and_cancel.retry(first, actor="ada")
    retry_and_cancel.cancel(second.job_id, actor="ada")
    relay.free_leases(relay.Report(), deadline=9e9)
    health.read(worker)
    assert [row["action"] for row in table.run("SELECT action FROM job_actions")] == [
        "retry",
        "cancel",
    ]


def test_a_worker_authorizes_a_token_and_logs_it(worker: database.Connection, table: Table) -> None:
    token = access.create_token(table.other, "app", ["read"]) or ""
    request = Request("GET", "/api/jobs", "203.0.113.1", "r-1")
    assert access.authorize(worker, token, "read", request).outcome == "allowed"
    assert table.run("SELECT actor FROM access_log") == [{"actor": "app"}]


def test_a_worker_cleans_up(
    worker: database.Connection, table: Table, bucket: Bucket, settings: pytest.MonkeyPatch
) -> None:
    settings.setattr(Context, "progress", lambda *_arguments, **_details: None)
    old = deliver_and_age(table)
    table.run(
        "INSERT INTO access_log (at, method, path, outcome) "
        "VALUES (now() - interval '200 days', 'GET', '/', 'allowed')"
    )
    deadline = datetime.now(UTC) + timedelta(seconds=600)
    context = Context("c", "cleanup-old-data", 1, 1, deadline=deadline)
    done = Cleaner(Cleanup(), Retention.of(Cleanup(), {}), context).run()
    assert (done.deleted, done.access_log) == (1, 1)
    [archived] = [row for row in bucket.archived() if "job_type" in row]
    assert (archived["job_id"], [each["action"] for each in archived["actions"]]) == (
        old,
        ["retry"],
    )


def deliver_and_age(table: Table) -> str:
    job = probe()
    job_id = table.add(job)
    deliver(job, job_id)
    retry_and_cancel.retry(job_id, actor="ada")
    deliver(job, job_id)
    table.run(
        "UPDATE job_executions SET created_at = now() - interval '200 days', "
        "completed_at = now() - interval '200 days'"
    )
    return job_id


FORBIDDEN = [
    "UPDATE job_executions SET status = 'completed'",
    "UPDATE job_executions SET payload = '{}'",
    "DELETE FROM job_executions",
    "INSERT INTO job_executions (job_id) VALUES ('x')",
    "ALTER TABLE job_executions DISABLE TRIGGER ALL",
    "DROP TRIGGER job_executions_check_job ON job_executions",
    "TRUNCATE job_actions",
    "DELETE FROM job_actions",
    "UPDATE job_actions SET actor = 'nobody'",
    "INSERT INTO job_actions (actor, action, job_id) VALUES ('a', 'retry', 'x')",
    "DELETE FROM access_log",
    "UPDATE access_log SET actor = 'nobody'",
    "DELETE FROM schedule_actions",
    "INSERT INTO access_tokens (name, token_hash, scopes) VALUES ('x', '', '{read}')",
    "UPDATE access_tokens SET scopes = '{operate}'",
    "DELETE FROM access_tokens",
    "INSERT INTO token_actions (actor, action, token, scopes) VALUES ('a', 'b', 'c', '{}')",
    "CREATE FUNCTION stashjobs.one() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$",
    "INSERT INTO schema_worker_roles (role) VALUES ('x')",
    "SET session_replication_role = 'replica'",
    "SET ROLE stashjobs",
]


def test_a_worker_may_not(worker: database.Connection) -> None:
    for statement in FORBIDDEN:
        try:
            worker.execute(statement.encode())
        except psycopg.errors.InsufficientPrivilege:
            continue
        pytest.fail(f"a worker may {statement}")


def test_what_is_younger_than_a_day_cannot_be_taken_from_the_audit(
    worker: database.Connection, table: Table
) -> None:
    job_id = deliver_and_age(table)
    table.run("UPDATE job_executions SET completed_at = now() - interval '23 hours'")
    table.run("INSERT INTO access_log (method, path, outcome) VALUES ('GET', '/', 'allowed')")
    delete = "SELECT * FROM stashjobs.delete_ended(ARRAY[%s])"
    assert worker.execute(delete.encode(), [job_id]).fetchall() == []
    take = b"SELECT * FROM stashjobs.take_accesses(ARRAY(SELECT access_id FROM access_log))"
    assert worker.execute(take).fetchall() == []


def test_a_table_of_the_team_s_own_is_the_workers_to_use(
    worker: database.Connection, table: Table
) -> None:
    table.other.execute("CREATE TABLE orders (id int GENERATED ALWAYS AS IDENTITY, n int)")
    worker.execute("INSERT INTO orders (n) VALUES (1)")
    worker.execute("DELETE FROM orders")


def test_what_is_made_anew_is_granted_by_the_next_migration(
    database_url: str, role: str, tmp_path: Path
) -> None:
    url = make_worker_role(database_url, role)
    migrate(database_url, role=role)
    for each in functions.available():
        (tmp_path / f"{each.name}.sql").write_text(each.sql)
    (tmp_path / "complete.sql").unlink()
    (tmp_path / "one.sql").write_text(
        "CREATE OR REPLACE FUNCTION stashjobs.one() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;"
    )
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("ALTER DEFAULT PRIVILEGES REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC")
    migrate(database_url, functions_folder=tmp_path)
    with psycopg.connect(url) as connection:
        assert connection.execute("SELECT stashjobs.one()").fetchone() == (1,)


def test_a_role_that_is_not_there_or_owns_the_tables_is_refused(database_url: str) -> None:
    with pytest.raises(MigrationError, match="there is no role 'nobody_knows'; make it first"):
        migrate(database_url, role="nobody_knows")
    with pytest.raises(MigrationError, match="stashjobs owns the tables"):
        migrate(database_url, role="stashjobs")
    with psycopg.connect(database_url) as connection:
        assert connection.execute(REMEMBERED).fetchall() == [(False,)]


def test_doctor_says_which_role_is_used(worker: database.Connection, role: str) -> None:
    assert doctor.role().what == (
        f"functions are {role}, who may only run jobs; stashjobs owns the tables"
    )


def test_doctor_warns_of_functions_that_own_the_tables(
    database_url: str, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("STAGE", "production")
    assert doctor.role().level is Level.YELLOW
    settings.setenv("STAGE", "local")
    assert doctor.role().level is Level.GREEN


def test_every_table_is_granted_or_withheld_on_purpose(
    worker: database.Connection, table: Table
) -> None:
    tables = table.run(
        "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') "
        "AND relnamespace = (SELECT relnamespace FROM pg_class WHERE relname = 'job_executions')"
    )
    assert {row["relname"] for row in tables} == worker_role.RIGHTS.keys()
