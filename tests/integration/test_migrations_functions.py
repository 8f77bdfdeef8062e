"""The database's functions: renewed with their files, with the right plans, and for the version
before too."""

from __future__ import annotations

import json
import time
import uuid
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row

from stashjobs import envelope
from stashjobs.errors import MigrationError
from stashjobs.operators import sql as operators_sql
from stashjobs.store import database, executions, migrations, outbox
from stashjobs.store.executions import Lease, NewJob
from stashjobs.store.migrations import functions
from stashjobs.store.outbox import DeadLetter
from stashjobs.tools.doctor import postgres as doctor
from stashjobs.tools.doctor.finding import Level
from tests.deliveries import Table, deliver, probe
from tests.integration.test_pgbouncer import bouncer

if TYPE_CHECKING:
    from pathlib import Path

    from stashjobs import Context
    from tests.pgbouncer import PgBouncer

__all__ = ["bouncer"]

ONE = "CREATE OR REPLACE FUNCTION stashjobs.one({}) RETURNS {} LANGUAGE sql AS $$ SELECT {} $$;"
CALL_ONE = "SELECT stashjobs.one()"


@pytest.fixture
def sql(tmp_path: Path) -> Path:
    """A folder with one function beside those that are there."""
    for each in functions.available():
        (tmp_path / f"{each.name}.sql").write_text(each.sql)
    (tmp_path / "one.sql").write_text(ONE.format("", "int", "1"))
    return tmp_path


def ask(url: str, query: str) -> Any:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query.encode()).fetchall()


def test_a_function_is_made_by_migrate_and_then_left_alone(database_url: str, sql: Path) -> None:
    assert migrations.migrate(database_url, functions_folder=sql) == ["function one"]
    assert ask(database_url, CALL_ONE) == [(1,)]
    assert migrations.migrate(database_url, functions_folder=sql) == []


@pytest.mark.parametrize(
    ("arguments", "kind", "value"),
    [("", "int", "2"), ("", "text", "'2'"), ("n int DEFAULT 2", "int", "n")],
)
def test_a_function_whose_file_changed_is_made_anew(
    database_url: str, sql: Path, arguments: str, kind: str, value: str
) -> None:
    """Its body, its result or its arguments; no other of its name is left."""
    migrations.migrate(database_url, functions_folder=sql)
    (sql / "one.sql").write_text(ONE.format(arguments, kind, value))
    assert migrations.migrate(database_url, dry_run=True, functions_folder=sql) == ["function one"]
    assert ask(database_url, CALL_ONE) == [(1,)]
    assert migrations.migrate(database_url, functions_folder=sql) == ["function one"]
    [(found,)] = ask(database_url, CALL_ONE)
    assert str(found) == "2"
    assert ask(database_url, "SELECT count(*) FROM pg_proc WHERE proname = 'one'") == [(1,)]


def test_a_function_without_a_file_is_dropped(database_url: str, sql: Path) -> None:
    migrations.migrate(database_url, functions_folder=sql)
    (sql / "one.sql").unlink()
    assert migrations.migrate(database_url, dry_run=True, functions_folder=sql) == [
        "function one (dropped)"
    ]
    assert migrations.migrate(database_url, functions_folder=sql) == ["function one (dropped)"]
    with pytest.raises(psycopg.errors.UndefinedFunction):
        ask(database_url, CALL_ONE)


def test_a_function_that_fails_leaves_all_as_they_were(database_url: str, sql: Path) -> None:
    migrations.migrate(database_url, functions_folder=sql)
    (sql / "one.sql").write_text(ONE.format("", "int", "2"))
    (sql / "two.sql").write_text("CREATE FUNCTION stashjobs.two() RETURNS nothing")
    with pytest.raises(MigrationError, match="two: the database's functions could not be renewed"):
        migrations.migrate(database_url, functions_folder=sql)
    assert ask(database_url, CALL_ONE) == [(1,)]


@pytest.mark.parametrize(
    "change",
    [
        "DROP FUNCTION stashjobs.complete",
        "ALTER FUNCTION stashjobs.complete RESET enable_seqscan",
        "DROP SCHEMA stashjobs CASCADE",
    ],
)
def test_doctor_names_a_function_that_is_not_as_its_file(
    database_url: str, settings: pytest.MonkeyPatch, change: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(change.encode())
    verdict = doctor.migrations_are_current()
    assert verdict.level is Level.RED
    assert "function complete" in verdict.what
    assert "function complete" in migrations.migrate(database_url)
    assert doctor.migrations_are_current().level is Level.GREEN


def test_a_role_of_the_name_of_the_schema_migrates_where_its_tables_are(
    database_url: str, sql: Path
) -> None:
    """Its search path begins with the schema of the functions, in which there is no table."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET search_path = stashjobs, public".encode())
    assert migrations.migrate(database_url, functions_folder=sql) == ["function one"]
    assert ask(database_url, "SELECT to_regclass('stashjobs.stashjobs_migrations')") == [(None,)]


def test_what_a_job_makes_of_its_connection_does_not_change_how_it_is_recorded(
    table: Table,
) -> None:
    def work(_payload: Any, context: Context) -> None:
        context.connection.row_factory = dict_row
        context.connection.execute("SET LOCAL search_path = pg_catalog")

    job_id = table.add(probe())
    assert deliver(probe(work), job_id).status == 200
    assert table.status(job_id) == "completed"
    database.connection().row_factory = dict_row
    assert deliver(probe(), table.add(probe())).status == 200


def test_a_job_that_uses_the_connection_is_recorded_with_the_time_that_it_took(
    table: Table,
) -> None:
    def work(_payload: Any, context: Context) -> None:
        context.connection.execute("SELECT 1")
        time.sleep(0.42)

    job_id = table.add(probe())
    assert deliver(probe(work), job_id).status == 200
    [row] = table.run(
        "SELECT completed_at - started_at AS taken, updated_at = completed_at AS same"
        " FROM job_executions WHERE job_id = %s",
        job_id,
    )
    assert row["same"]
    assert timedelta(seconds=0.42) <= row["taken"] < timedelta(seconds=5)


# What takes the time of a plan that reads all: filled at once, and no ANALYZE.
FILL = """
INSERT INTO job_executions (job_id, job_type, status, payload, max_attempts, published_at,
                            message_id, completed_at)
SELECT 'filled-' || n, 'filled', CASE n %% 2 WHEN 0 THEN 'completed' ELSE 'pending' END, '{}', 3,
       now(), 'msg-' || n, CASE n %% 2 WHEN 0 THEN now() END
  FROM generate_series(1, 200000) AS n
"""
READ_SCANS = """
SELECT seq_scan, idx_tup_fetch FROM pg_stat_xact_user_tables WHERE relname = 'job_executions'
"""


def test_no_function_reads_the_whole_table_after_it_was_filled_at_once(
    bouncer: PgBouncer, table: Table
) -> None:
    """Through a pooler, whose one session has planned them all while the table was empty."""
    table.run("ALTER TABLE job_executions SET (autovacuum_enabled = false)")
    through = database.connection()
    for _ in range(7):  # more often than Postgres makes plans for the values at hand
        call_every_function(through)
    table.run(FILL)
    through.execute("SELECT pg_stat_force_next_flush()")
    with through.transaction():  # in which Postgres counts for this session alone
        for _ in range(7):
            call_every_function(through)
        [(sequential_scans, rows)] = through.execute(READ_SCANS).fetchall()
    assert sequential_scans == 0
    assert rows < 7 * 1_000  # nor most of it by an index that serves another question


def call_every_function(connection: database.Connection) -> None:
    number = time.time_ns()
    made = [f"{word}-{number}" for word in ("done", "again", "whole")]
    jobs = [NewJob(job_id, "probe", {}, 3, idempotency_key=job_id) for job_id in made]
    lease = Lease(60, "msg", None)
    executions.record_new_jobs(connection, jobs[:2])
    outbox.confirm_published(connection, dict.fromkeys(made[:2]))
    for job_id in made[:2]:
        executions.claim(connection, job_id=job_id, job_type="probe", lease=lease)
    executions.claim_or_record(connection, jobs[2], lease)
    executions.claim_or_record(connection, jobs[2], lease)
    executions.extend_lease(connection, job_id=made[0], attempt=1, lease_seconds=60)
    executions.record_completed(connection, job_id=made[0], attempt=1, result=None)
    executions.record_not_completed(
        connection,
        job_id=made[1],
        attempt=1,
        status="retrying",
        details={"type": "Error", "message": "no"},
    )
    executions.free_expired_leases(connection, 100)
    executions.record_new_jobs(connection, jobs[:2])  # whose keys exist
    with connection.transaction():
        outbox.take_unpublished(
            connection,
            job_types=["probe", "filled"],
            limit=100,
            quiet_seconds=0,
            horizon_seconds=60,
            after=None,
        )
    outbox.find_silent(connection, seconds=3600, limit=100)
    outbox.record_heard_of(connection, [(made[1], "msg", True)])
    outbox.record_refused(connection, made[1], reason="no", patience_seconds=60)
    dead = DeadLetter(made[1], "msg", f"dlq-{number}", "no", 60.0)
    outbox.record_dead_letters(connection, [dead])
    other = replace(jobs[0], job_id=f"other-{number}", idempotency_key=None)
    outbox.record_never_delivered(connection, other, dead)
    parameters = {"job_ids": [made[0]], "actor": "ada", "payload": None, "from_step": None}
    executions.call(connection, operators_sql.RETRY, parameters)
    executions.call(connection, operators_sql.CANCEL, {"job_ids": made, "actor": "ada"})
    connection.execute("SELECT * FROM stashjobs.enqueue('probe', '{}')")


@pytest.mark.parametrize(
    "change", ["attempt = -5", "attempt = 4, max_attempts = 3", "run = 0", "attempt = attempt - 1"]
)
def test_the_database_refuses_what_the_lifecycle_does_not_know(table: Table, change: str) -> None:
    job_id = table.add(probe())
    lease = Lease(60, None, None)
    executions.claim(table.connection, job_id=job_id, job_type="probe", lease=lease)
    with pytest.raises(psycopg.errors.CheckViolation):
        table.run(f"UPDATE job_executions SET {change} WHERE job_id = %s", job_id)


def test_a_job_is_enqueued_by_sql_and_joins_the_callers_transaction(table: Table) -> None:
    call = (
        "SELECT * FROM stashjobs.enqueue('send-email', '{\"to\": \"a\"}', user_id => 'u_1',"
        " idempotency_key => 'k', retries => 5, delay => '1 hour', metadata => '{\"a\": 1}',"
        ' headers => \'{"X-Team": "ada"}\')'
    )
    with table.connection.transaction(force_rollback=True):
        table.run(call)
    assert table.run("SELECT * FROM job_executions") == []

    [first] = table.run(call)
    [again] = table.run(call)
    assert first["created"]
    assert again == {"job_id": first["job_id"], "created": False}
    [row] = table.run(
        "SELECT job_type, status, payload, user_id, max_attempts, metadata, delivery,"
        " available_at > created_at + interval '59 min' AS later FROM job_executions"
    )
    assert row == {
        "job_type": "send-email",
        "status": "pending",
        "payload": {"to": "a"},
        "user_id": "u_1",
        "max_attempts": 6,
        "metadata": {"a": 1},
        "delivery": {"headers": {"X-Team": "ada"}},
        "later": True,
    }


def test_a_job_enqueued_by_sql_has_an_id_of_version_7_and_runs(table: Table) -> None:
    [made] = table.run("SELECT job_id FROM stashjobs.enqueue('probe', '{}')")
    assert uuid.UUID(made["job_id"]).version == 7
    assert deliver(probe(), made["job_id"]).status == 200


def test_a_trigger_enqueues(table: Table) -> None:
    table.run("CREATE TABLE public.orders (number int)")
    table.run(
        "CREATE FUNCTION public.order_made() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
        " PERFORM stashjobs.enqueue('probe', jsonb_build_object('number', NEW.number));"
        " RETURN NULL; END $$"
    )
    table.run(
        "CREATE TRIGGER made AFTER INSERT ON public.orders FOR EACH ROW"
        " EXECUTE FUNCTION public.order_made()"
    )
    table.run("INSERT INTO public.orders VALUES (7)")
    assert table.run("SELECT payload FROM job_executions") == [{"payload": {"number": 7}}]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("'Send Email', '{}'", "a type is named like send-email"),
        ("'probe', NULL", "the payload is NULL"),
        ("'probe', '{\"$sealed\": 1}'", "reserved"),
        ("'probe', '\"long\"', max_payload_bytes => 5", "has 6 bytes; at most 5 are allowed"),
        (
            "'probe', (repeat('[', 65) || repeat(']', 65))::jsonb",
            "the payload has 65 levels of objects and lists; at most 64 are allowed",
        ),
        ("'probe', '[[1e308, {\"a\": -1.8e308}]]'", "the payload has a number too large"),
        (
            "'probe', '{}', metadata => jsonb_build_object('note', repeat('x', 64000))",
            "metadata has 64012 bytes; at most 64000 are allowed",
        ),
        (
            (
                "'probe', '{}', metadata => ('{\"a\":'"
                " || repeat('[', 999) || repeat(']', 999) || '}')::jsonb"
            ),
            "metadata has 1000 levels of objects and lists; at most 64 are allowed",
        ),
        ("'probe', '{}', metadata => '{\"a\": 1e400}'", "metadata has a number too large"),
        ("repeat('x', 1001), '{}'", "the type is longer than 1000 bytes"),
        ("'probe', '{}', idempotency_key => ''", "idempotency_key is empty"),
        ("'probe', '{}', user_id => repeat('x', 1001)", "user_id is longer than 1000 bytes"),
        ("'probe', '{}', retries => -1", "retries is -1; it must be 0 or more"),
        ("'probe', '{}', at => now(), delay => '1 s'", "give delay or at, not both"),
        ("'probe', '{}', delay => '-1 s'", "it must be 0 or more"),
        ("'probe', '{}', metadata => '[]'", "metadata is not a JSON object"),
        ("'probe', '{}', headers => '{\"a\": 1}'", "a value in headers is no string"),
        (
            f"'probe', '{{}}', callback => 'http://a/', headers => '{{\"a\": \"{'x' * 63990}\"}}'",
            "headers and callbacks have 64008 bytes; at most 64000 are allowed",
        ),
        ("'probe', '{}', headers => '{\"a\": [\"b\"]}'", "a value in headers is no string"),
        ("'probe', '{}', callback => 'x'", "callback is no URL"),
    ],
)
def test_what_is_wrong_with_an_enqueue_by_sql_is_named_and_nothing_written(
    table: Table, arguments: str, told: str
) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="stashjobs.enqueue: .*" + told):
        table.run(f"SELECT stashjobs.enqueue({arguments})")
    assert table.run("SELECT * FROM job_executions") == []


@pytest.mark.parametrize("text", [r'{"a": "\u0000"}', r'["\ud800"]', "[NaN]", '["a'])
def test_text_that_is_no_storable_json_is_refused_before_the_call(table: Table, text: str) -> None:
    with pytest.raises(
        (psycopg.errors.InvalidTextRepresentation, psycopg.errors.UntranslatableCharacter)
    ):
        table.run("SELECT stashjobs.enqueue('probe', %s::text::jsonb)", text)
    assert table.run("SELECT * FROM job_executions") == []


def test_a_document_at_its_limits_is_enqueued_by_sql_and_runs(table: Table) -> None:
    assert (envelope.MAX_LEVELS, envelope.MAX_METADATA_BYTES) == (64, 64_000)
    [made] = table.run(
        "SELECT job_id FROM stashjobs.enqueue('probe',"
        " (repeat('[', 64) || '-1.7e308' || repeat(']', 64))::jsonb,"
        " metadata => jsonb_build_object('note', repeat('x', 64000 - 12)))"
    )
    assert deliver(probe(), made["job_id"]).status == 200


@pytest.mark.parametrize(
    ("document", "levels"),
    [
        ("1", 0),
        ("{}", 1),
        ("[1, [2, {}]]", 3),
        ("[" * 64 + "]" * 64, 64),
        ("[" * 777 + "]" * 777, 777),
    ],
)
def test_the_database_counts_levels_as_python_does(
    table: Table, document: str, levels: int
) -> None:
    assert table.run("SELECT stashjobs.levels_of(%s::text::jsonb) AS n", document) == [
        {"n": levels}
    ]
    assert envelope.levels_of(json.loads(document)) == levels
