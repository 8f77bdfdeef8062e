"""The test databases of `stashjobs.testing`: as good as new after every test, whatever it did."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from stashjobs.testing.databases import CopyOfTemplate, DatabaseError, Server
from stashjobs.tools.servers.postgres import Postgres
from tests import clusters

if TYPE_CHECKING:
    from collections.abc import Iterator

# An app's own tables: two that refer to each other, and one that comes with rows.
TABLES = """
CREATE TABLE teams (id integer PRIMARY KEY, owner integer);
CREATE TABLE people (id integer PRIMARY KEY,
                     team integer NOT NULL REFERENCES teams ON DELETE RESTRICT);
ALTER TABLE teams ADD FOREIGN KEY (owner) REFERENCES people;
CREATE TABLE plans (name text PRIMARY KEY, seats integer);
CREATE TABLE orders (number integer GENERATED ALWAYS AS IDENTITY);
CREATE SEQUENCE "it's" START 100;
SELECT nextval('"it''s"');
INSERT INTO plans VALUES ('free', 1), ('team', 10);
CREATE VIEW seats AS SELECT seats FROM plans;
CREATE TYPE colour AS ENUM ('red');
CREATE MATERIALIZED VIEW owners AS SELECT owner FROM teams;
CREATE UNIQUE INDEX ON owners (owner);
CREATE FUNCTION one() RETURNS integer LANGUAGE sql AS 'SELECT 1';
"""
A_TEAM = "INSERT INTO teams VALUES (1)"
FORCED = "SELECT relforcerowsecurity FROM pg_class WHERE oid = 'teams'::regclass"
ONE = "SELECT one()"
OF_ITSELF = "DO $$BEGIN EXECUTE format('{}', current_database()); END$$"
RIGHTS = "SELECT datacl::text FROM pg_database WHERE datname = current_database()"
HIDING = """
CREATE TABLE teams (id integer);
ALTER TABLE teams ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY adding ON teams FOR INSERT WITH CHECK (true);
"""
NUMBER = "SELECT oid FROM pg_database WHERE datname = current_database()"
# Tables that notice what happens to them: one that keeps a record, one that forbids it.
NOTICING = """
CREATE TABLE audit (what text);
CREATE FUNCTION write_down() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO audit VALUES (TG_OP); RETURN NULL; END$$;
CREATE TRIGGER audited AFTER INSERT OR DELETE ON teams FOR EACH ROW EXECUTE FUNCTION write_down();
CREATE TABLE ledger (entry integer);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN RAISE 'the ledger is append-only'; END$$;
CREATE TRIGGER append_only BEFORE DELETE ON ledger FOR EACH ROW EXECUTE FUNCTION refuse();
CREATE TABLE keeping (entry integer);
CREATE RULE keep AS ON DELETE TO keeping DO INSTEAD NOTHING;
"""
WRITE_EVERYWHERE = (
    "INSERT INTO teams VALUES (1); INSERT INTO ledger VALUES (1); INSERT INTO keeping VALUES (1)"
)
ROWS = """
SELECT (SELECT count(*) FROM teams), (SELECT count(*) FROM audit),
       (SELECT count(*) FROM ledger), (SELECT count(*) FROM keeping)
"""


@contextmanager
def copy_with(server: Server, template: str, tables: str, purpose: str) -> Iterator[CopyOfTemplate]:
    own = server.create(f"{purpose}_template", template=template)
    with psycopg.connect(own) as opened:
        opened.execute(tables.encode())
    copy = CopyOfTemplate(server, own, purpose)
    try:
        yield copy
    finally:
        copy.close()
        server.drop(own)


@pytest.fixture(scope="module")
def app_copy(stashjobs_server: Server, stashjobs_template: str) -> Iterator[CopyOfTemplate]:
    with copy_with(stashjobs_server, stashjobs_template, TABLES, "app") as copy:
        yield copy


@pytest.fixture
def connection(app_copy: CopyOfTemplate) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(app_copy.url, autocommit=True) as opened:
        yield opened


def _name(copy: CopyOfTemplate) -> str:
    return str(conninfo_to_dict(copy.url)["dbname"])


def ask(copy: CopyOfTemplate, query: str) -> list[Any]:
    with psycopg.connect(copy.url) as opened:
        return opened.execute(query.encode()).fetchall()


def test_what_many_rows_leave_in_the_files_slows_no_later_test(
    app_copy: CopyOfTemplate, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("INSERT INTO teams SELECT generate_series(1, 50000)")
    app_copy.renew()
    assert ask(app_copy, "SELECT pg_relation_size('teams')") == [(0,)]


def test_rows_are_gone_also_of_tables_that_refer_to_each_other(
    app_copy: CopyOfTemplate, connection: psycopg.Connection[Any]
) -> None:
    connection.execute(
        "INSERT INTO teams VALUES (1); INSERT INTO people VALUES (2, 1);"
        "UPDATE teams SET owner = 2; INSERT INTO job_executions (job_id, job_type, payload,"
        " max_attempts) VALUES ('j', 'probe', '{}', 1)"
    )
    name = app_copy.url
    app_copy.renew()
    assert app_copy.url == name
    counts = "SELECT count(*) FROM teams UNION ALL SELECT count(*) FROM job_executions"
    assert ask(app_copy, counts) == [(0,), (0,)]
    assert ask(app_copy, "SELECT * FROM plans ORDER BY 1") == [("free", 1), ("team", 10)]


def test_sequences_begin_where_they_began(
    app_copy: CopyOfTemplate, connection: psycopg.Connection[Any]
) -> None:
    take = "INSERT INTO orders DEFAULT VALUES RETURNING number, nextval('\"it''s\"')"
    first = connection.execute(take).fetchone()
    connection.execute(take)
    assert first == (1, 101)
    app_copy.renew()
    assert ask(app_copy, take) == [first]


@pytest.mark.parametrize(
    ("change", "left"),
    [
        ("CREATE TABLE extra ()", "SELECT to_regclass('extra') IS NULL"),
        ("DROP TABLE people CASCADE", "SELECT to_regclass('people') IS NOT NULL"),
        ("ALTER TABLE teams ADD colour text", "SELECT to_jsonb(t) IS NULL FROM teams t"),
        ("DROP INDEX idx_job_executions_status", "SELECT to_regclass('idx_job_executions_status')"),
        ("UPDATE plans SET seats = 11", "SELECT 1 FROM plans WHERE seats = 11"),
        ("DELETE FROM plans", "SELECT 1 FROM plans"),
        ("INSERT INTO plans VALUES ('x', 0)", "SELECT 1 FROM plans WHERE name = 'x'"),
        ("DROP TABLE plans CASCADE", "SELECT to_regclass('plans') IS NOT NULL"),
        ("CREATE SCHEMA extra", "SELECT to_regnamespace('extra') IS NULL"),
        ("GRANT CREATE ON SCHEMA public TO public", "SELECT nspacl::text FROM pg_namespace"),
        ("CREATE OR REPLACE VIEW seats AS SELECT 2 AS seats", "SELECT * FROM seats"),
        ("ALTER TYPE colour ADD VALUE 'blue'", "SELECT enum_range(NULL::colour)::text"),
        ("CREATE POLICY p ON teams", "SELECT count(*) FROM pg_policy"),
        ("ALTER TABLE teams FORCE ROW LEVEL SECURITY", FORCED),
        ('ALTER SEQUENCE "it\'s" INCREMENT 5', "SELECT seqincrement FROM pg_sequence ORDER BY 1"),
        ("ALTER TABLE teams ALTER owner SET DEFAULT 1", "SELECT count(*) FROM pg_attrdef"),
        ("GRANT SELECT ON teams TO public", "SELECT relacl::text FROM pg_class ORDER BY oid"),
        ("ALTER TABLE teams SET (fillfactor = 50)", "SELECT count(reloptions) FROM pg_class"),
        ("COMMENT ON TABLE teams IS 'x'", "SELECT obj_description('teams'::regclass)"),
        ("SELECT lo_create(7)", "SELECT count(*) FROM pg_largeobject_metadata"),
        ("CREATE OR REPLACE FUNCTION one() RETURNS integer LANGUAGE sql AS 'SELECT 2'", ONE),
        (f"{A_TEAM}; REFRESH MATERIALIZED VIEW owners", "SELECT * FROM owners"),
        (f"{A_TEAM}; REFRESH MATERIALIZED VIEW CONCURRENTLY owners", "SELECT * FROM owners"),
        ("REFRESH MATERIALIZED VIEW owners WITH NO DATA", "SELECT relispopulated FROM pg_class"),
        (OF_ITSELF.format("ALTER DATABASE %I SET search_path = x"), "SHOW search_path"),
        (OF_ITSELF.format("GRANT TEMP ON DATABASE %I TO pg_monitor"), RIGHTS),
    ],
)
def test_what_is_no_mere_row_is_taken_back_too(
    app_copy: CopyOfTemplate, connection: psycopg.Connection[Any], change: str, left: str
) -> None:
    before = ask(app_copy, left)
    connection.execute(change.encode())
    app_copy.renew()
    assert ask(app_copy, left) == before


@pytest.mark.parametrize(
    "change",
    [
        "INSERT INTO teams VALUES (1)",
        "SELECT * FROM plans FOR UPDATE",
        "VACUUM job_executions",
        "ANALYZE plans",
    ],
)
def test_what_changes_rows_alone_costs_no_new_copy(
    app_copy: CopyOfTemplate, connection: psycopg.Connection[Any], change: str
) -> None:
    before = connection.execute(NUMBER).fetchall()
    connection.execute(change.encode())
    app_copy.renew()
    assert ask(app_copy, NUMBER) == before


def test_no_trigger_and_no_rule_notices_that_rows_are_taken_back(
    stashjobs_server: Server, stashjobs_template: str
) -> None:
    tables = TABLES + NOTICING
    with copy_with(stashjobs_server, stashjobs_template, tables, "noticing") as copy:
        before = ask(copy, NUMBER)
        with psycopg.connect(copy.url) as opened:
            opened.execute(WRITE_EVERYWHERE.encode())
        copy.renew()
        assert ask(copy, ROWS) == [(0, 0, 0, 0)]
        assert ask(copy, NUMBER) == before


def test_a_trigger_that_always_fires_costs_a_new_copy(
    stashjobs_server: Server, stashjobs_template: str
) -> None:
    tables = TABLES + NOTICING + "ALTER TABLE ledger ENABLE ALWAYS TRIGGER append_only"
    with copy_with(stashjobs_server, stashjobs_template, tables, "always") as copy:
        with psycopg.connect(copy.url) as opened:
            opened.execute(WRITE_EVERYWHERE.encode())
        copy.renew()
        assert ask(copy, ROWS) == [(0, 0, 0, 0)]


def test_a_role_without_the_right_to_silence_triggers_gets_a_new_copy(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute("CREATE ROLE modest LOGIN CREATEDB PASSWORD 'modest'")
        url = f"postgresql://modest:modest@127.0.0.1:{postgres.port}/postgres"
        try:
            with (
                Server(url) as server,
                copy_with(server, server.create("empty"), HIDING, "modest") as copy,
            ):
                with psycopg.connect(copy.url) as opened:
                    opened.execute("INSERT INTO teams VALUES (1)")
                copy.renew()
                with psycopg.connect(postgres.url_of(_name(copy))) as all_seeing:
                    assert all_seeing.execute("SELECT * FROM teams").fetchall() == []
        finally:
            admin.execute("DROP ROLE modest")


def test_many_rows_that_the_template_brings_cost_no_new_copy(
    stashjobs_server: Server, stashjobs_template: str
) -> None:
    tables = """
    CREATE TABLE cities (id integer PRIMARY KEY, name text);
    INSERT INTO cities SELECT n, 'a city with a name of its own: ' || n
      FROM generate_series(1, 30000) AS n
    """
    with copy_with(stashjobs_server, stashjobs_template, tables, "cities") as copy:
        before = ask(copy, NUMBER)
        assert ask(copy, "SELECT pg_relation_size('cities') > 1048576") == [(True,)]
        copy.renew()
        assert ask(copy, NUMBER) == before


def test_long_texts_that_were_deleted_slow_no_later_test(
    app_copy: CopyOfTemplate, connection: psycopg.Connection[Any]
) -> None:
    before = connection.execute(NUMBER).fetchall()
    connection.execute(
        "INSERT INTO job_executions (job_id, job_type, payload, max_attempts) SELECT 'j', 'probe',"
        " to_jsonb(string_agg(md5(n::text), '')), 1 FROM generate_series(1, 50000) AS n"
    )
    app_copy.renew()
    assert ask(app_copy, NUMBER) != before


def test_a_server_that_was_restarted_gives_a_new_copy(
    app_copy: CopyOfTemplate, connection: psycopg.Connection[Any]
) -> None:
    connection.execute(
        "INSERT INTO teams VALUES (1); SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    app_copy.renew()
    assert ask(app_copy, "SELECT * FROM teams") == []


@pytest.mark.parametrize("given", ["500, false", "500, true"])
def test_a_sequence_that_the_template_has_set_begins_there(
    stashjobs_server: Server, stashjobs_template: str, given: str
) -> None:
    tables = f"CREATE SEQUENCE numbers; SELECT setval('numbers', {given})"
    with copy_with(stashjobs_server, stashjobs_template, tables, "numbers") as copy:
        first = ask(copy, "SELECT nextval('numbers')")
        copy.renew()
        assert ask(copy, "SELECT nextval('numbers')") == first


def test_sessions_are_ended_and_what_they_hold_with_them(
    app_copy: CopyOfTemplate, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("BEGIN")
    connection.execute("LOCK TABLE plans IN ACCESS EXCLUSIVE MODE")
    app_copy.renew()
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")


def test_a_role_that_may_create_nothing_is_told_what_it_lacks(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url, autocommit=True) as admin:
        admin.execute("CREATE ROLE humble LOGIN PASSWORD 'humble'")
        url = f"postgresql://humble:humble@127.0.0.1:{postgres.port}/postgres"
        try:
            with Server(url) as server, pytest.raises(DatabaseError, match="CREATEDB") as refusal:
                server.create("own")
        finally:
            admin.execute("DROP ROLE humble")
    assert "humble:humble" not in str(refusal.value)


def test_nothing_is_left_in_the_server(postgres: Postgres) -> None:
    with Server(postgres.url) as server:
        server.create("one")
    with psycopg.connect(postgres.url) as admin:
        names = admin.execute("SELECT datname FROM pg_database").fetchall()
    assert not [name for (name,) in names if name.startswith(server.prefix)]


@pytest.mark.parametrize(
    ("given", "other"),
    [
        (
            "postgresql://u:p@h:5432/own?sslmode=require",
            "postgresql://u:p@h:5432/x?sslmode=require",
        ),
        ("postgres://u@h1:1,h2:2", "postgres://u@h1:1,h2:2/x"),
        ("postgresql:///own?host=/var/run/postgresql", "postgresql:///x?host=/var/run/postgresql"),
        ("postgresql://?host=/run&dbname=own&user=u", "postgresql:///x?host=/run&user=u"),
        ("postgresql://%2Fvar%2Frun/own", "postgresql://%2Fvar%2Frun/x"),
        ("postgresql://u:a?b@[::1]:5432/own", "postgresql://u:a?b@[::1]:5432/x"),
    ],
)
def test_another_database_of_the_same_server_has_the_same_url_but_for_its_name(
    given: str, other: str
) -> None:
    assert Server(given).url_of("x") == other
    wanted = conninfo_to_dict(given) | {"dbname": "x"}
    assert conninfo_to_dict(other) == wanted


def test_what_is_no_url_is_refused_and_not_shown() -> None:
    with pytest.raises(DatabaseError, match="not a Postgres URL") as refusal:
        Server("host=/var/run/postgresql password=hidden")
    assert "hidden" not in str(refusal.value)


def test_a_server_is_used_through_its_socket(tmp_path_factory: pytest.TempPathFactory) -> None:
    with tempfile.TemporaryDirectory() as folder:  # a socket's path may have 107 bytes
        Path(folder).chmod(0o777)
        data_dir = clusters.make_ready(tmp_path_factory.mktemp("socket") / "postgres")
        options = {"unix_socket_directories": folder}
        with Postgres(data_dir, durable=False, options=options) as postgres:
            known = conninfo_to_dict(postgres.url)
            url = (
                f"postgresql:///postgres?host={folder}&port={postgres.port}"
                f"&user={known['user']}&password={known['password']}"
            )
            with Server(url) as server, copy_with(server, postgres.url, "SELECT", "socket") as copy:
                copy.renew()
                assert ask(copy, "SELECT inet_server_addr()") == [(None,)]
