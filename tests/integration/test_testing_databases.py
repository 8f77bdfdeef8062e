"""The test databases of `stashjobs.testing`: as good as new after every test, whatever it did."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from stashjobs.testing.databases import CopyOfTemplate, DatabaseError, Server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stashjobs.servers.postgres import Postgres

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
"""


@pytest.fixture(scope="module")
def app_copy(stashjobs_server: Server, stashjobs_template: str) -> Iterator[CopyOfTemplate]:
    template = stashjobs_server.create("app", template=stashjobs_template)
    with psycopg.connect(template) as connection:
        connection.execute(TABLES.encode())
    copy = CopyOfTemplate(stashjobs_server, template, "app_copy")
    yield copy
    copy.close()


@pytest.fixture
def connection(app_copy: CopyOfTemplate) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(app_copy.url, autocommit=True) as opened:
        yield opened


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
    ],
)
def test_what_is_no_mere_row_is_taken_back_too(
    app_copy: CopyOfTemplate, connection: psycopg.Connection[Any], change: str, left: str
) -> None:
    before = ask(app_copy, left)
    connection.execute(change.encode())
    app_copy.renew()
    assert ask(app_copy, left) == before


def test_truncate_alone_does_not_cost_a_new_copy(
    app_copy: CopyOfTemplate, connection: psycopg.Connection[Any]
) -> None:
    connection.execute("CREATE TABLE marker ()")
    app_copy.renew()
    with psycopg.connect(app_copy.url, autocommit=True) as opened:
        opened.execute("TRUNCATE job_executions")
        number = opened.execute("SELECT oid FROM pg_database WHERE datname = current_database()")
        before = number.fetchone()
    app_copy.renew()
    query = "SELECT oid FROM pg_database WHERE datname = current_database()"
    assert ask(app_copy, query) == [before]


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
