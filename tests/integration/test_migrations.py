"""Migrations: each file once, in order, or a clear word."""

from __future__ import annotations

import itertools
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from stashjobs.errors import MigrationError
from stashjobs.store import migrations
from stashjobs.store.migrations import worker_role

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stashjobs.tools.servers.postgres import Postgres

numbers = itertools.count()


@pytest.fixture
def empty_url(postgres: Postgres) -> Iterator[str]:
    """A database with nothing in it."""
    name = sql.Identifier(f"empty_{next(numbers)}")
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} STRATEGY FILE_COPY").format(name))
        yield postgres.url_of(name.as_string().strip('"'))
        connection.execute(sql.SQL("DROP DATABASE {} (FORCE)").format(name))


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_postgres_that_is_too_old_is_refused_with_the_version_that_is_needed(
    empty_url: str, monkeypatch: pytest.MonkeyPatch, *, dry_run: bool
) -> None:
    """The real Postgres of the tests stands for an old one, by a later one being asked for."""
    monkeypatch.setattr(migrations, "OLDEST_POSTGRES", 99)
    with pytest.raises(MigrationError, match=r"this is Postgres \d\d, and stashjobs needs 99"):
        migrations.migrate(empty_url, dry_run=dry_run)
    with psycopg.connect(empty_url) as connection:
        assert connection.execute("SELECT to_regclass('stashjobs_migrations')").fetchone() == (
            None,
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "0001_first.sql").write_text("CREATE TABLE first ();\nCREATE TABLE also ();\n")
    (tmp_path / "0002_second.sql").write_text("ALTER TABLE first ADD x int DEFAULT 7; -- grüße\n")
    return tmp_path


BOTH = ["0001_first.sql", "0002_second.sql"]


def tables(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r'"
            " AND relnamespace = 'public'::regnamespace ORDER BY 1"
        )
        return [name for (name,) in found]


def test_a_fresh_database_gets_them_all_in_order(empty_url: str, folder: Path) -> None:
    assert migrations.migrate(empty_url, folder=folder) == BOTH
    assert tables(empty_url) == ["also", "first", "stashjobs_migrations"]


def test_the_second_time_there_is_nothing_to_do(empty_url: str, folder: Path) -> None:
    migrations.migrate(empty_url, folder=folder)
    assert migrations.migrate(empty_url, folder=folder) == []


def test_a_new_file_is_applied_alone(empty_url: str, folder: Path) -> None:
    migrations.migrate(empty_url, folder=folder)
    (folder / "0003_third.sql").write_text("CREATE TABLE third ()")
    assert migrations.migrate(empty_url, folder=folder) == ["0003_third.sql"]


def test_twice_at_once_each_is_applied_once(empty_url: str, folder: Path) -> None:
    barrier = threading.Barrier(4)

    def run(_number: int) -> list[str]:
        barrier.wait()
        return migrations.migrate(empty_url, folder=folder)

    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(run, range(4)))
    assert sorted(applied) == [[], [], [], BOTH]


def test_a_dry_run_tells_and_writes_nothing(empty_url: str, folder: Path) -> None:
    assert migrations.migrate(empty_url, dry_run=True, folder=folder) == BOTH
    assert tables(empty_url) == []
    migrations.migrate(empty_url, folder=folder)
    assert migrations.migrate(empty_url, dry_run=True, folder=folder) == []


@pytest.mark.parametrize("dry_run", [False, True])
def test_an_edited_file_is_an_error(empty_url: str, folder: Path, dry_run: bool) -> None:
    migrations.migrate(empty_url, folder=folder)
    (folder / "0001_first.sql").write_text("CREATE TABLE first (edited int)")
    with pytest.raises(MigrationError, match=r"0001_first\.sql was edited"):
        migrations.migrate(empty_url, dry_run=dry_run, folder=folder)


def test_a_missing_file_is_an_error(empty_url: str, folder: Path) -> None:
    migrations.migrate(empty_url, folder=folder)
    (folder / "0002_second.sql").unlink()
    with pytest.raises(MigrationError, match=r"0002_second\.sql .* not on disk"):
        migrations.migrate(empty_url, folder=folder)


def test_line_endings_are_no_edit(empty_url: str, folder: Path) -> None:
    migrations.migrate(empty_url, folder=folder)
    for file in folder.iterdir():
        file.write_bytes(file.read_bytes().replace(b"\n", b"\r\n"))
    assert migrations.migrate(empty_url, folder=folder) == []


def test_a_failing_file_is_undone_and_those_before_it_stay(empty_url: str, folder: Path) -> None:
    broken = folder / "0003_third.sql"
    broken.write_text("CREATE TABLE third (); SELECT 1 / 0;")
    with pytest.raises(MigrationError, match=r"0003_third\.sql failed and was undone: division"):
        migrations.migrate(empty_url, folder=folder)
    assert tables(empty_url) == ["also", "first", "stashjobs_migrations"]
    broken.write_text("CREATE TABLE third ()")
    assert migrations.migrate(empty_url, folder=folder) == ["0003_third.sql"]


@pytest.mark.parametrize("name", ["1_x.sql", "0003-x.sql", "0003_X.sql", "x.sql", "0002_twice.sql"])
def test_a_bad_name_is_an_error_before_anything_is_applied(
    empty_url: str, folder: Path, name: str
) -> None:
    (folder / name).write_text("CREATE TABLE never ()")
    with pytest.raises(MigrationError, match=name):
        migrations.migrate(empty_url, folder=folder)
    assert tables(empty_url) == []


def test_other_files_are_passed_over(folder: Path) -> None:
    (folder / "README.md").write_text("no migration")
    assert [migration.name for migration in migrations.available(folder)] == BOTH


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every table is a large one."""
    monkeypatch.setattr(migrations, "SMALL_BYTES", -1)


def add_concurrent(folder: Path) -> None:
    (folder / "0003_index.sql").write_text(
        "-- CONCURRENTLY; and a comment\n"
        "DROP INDEX CONCURRENTLY IF EXISTS idx_x;\n"
        "CREATE INDEX CONCURRENTLY idx_x ON first (x);\n"
    )
    (folder / "0004_last.sql").write_text("CREATE TABLE last ()")


def indexes(url: str) -> dict[str, bool]:
    with psycopg.connect(url) as connection:
        return dict(
            connection.execute(
                "SELECT relname, indisvalid FROM pg_index JOIN pg_class ON oid = indexrelid"
                " WHERE relname LIKE 'idx%'"
            ).fetchall()
        )


@pytest.mark.usefixtures("large")
def test_an_index_of_a_large_table_is_built_while_jobs_go_on(
    empty_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrations.migrate(empty_url, folder=folder)
    add_concurrent(folder)
    with psycopg.connect(empty_url) as writer:
        # A plain CREATE INDEX waits for open writers, and everything else waits for it.
        writer.execute("INSERT INTO first VALUES (1)")
        with ThreadPoolExecutor(1) as pool:
            applied = pool.submit(migrations.migrate, empty_url, folder=folder)
            with psycopg.connect(empty_url, autocommit=True) as other:
                wait_for_a_build(other)
                other.execute("INSERT INTO first VALUES (2)")
            writer.commit()
            assert applied.result() == ["0003_index.sql", "0004_last.sql"]
    assert indexes(empty_url) == {"idx_x": True}


def wait_for_a_build(connection: psycopg.Connection[Any]) -> None:
    give_up = time.monotonic() + 60
    building = (
        "SELECT FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY%'"
        " AND wait_event_type = 'Lock' AND datname = current_database()"
    )
    while connection.execute(building).fetchone() is None:
        assert time.monotonic() < give_up
        time.sleep(0.02)


@pytest.mark.usefixtures("large")
def test_twice_at_once_a_concurrent_file_is_applied_once(empty_url: str, folder: Path) -> None:
    add_concurrent(folder)
    barrier = threading.Barrier(3)

    def run(_number: int) -> list[str]:
        barrier.wait()
        return migrations.migrate(empty_url, folder=folder)

    with ThreadPoolExecutor(3) as pool:
        applied = list(pool.map(run, range(3)))
    assert sorted(itertools.chain(*applied)) == [*BOTH, "0003_index.sql", "0004_last.sql"]
    assert indexes(empty_url) == {"idx_x": True}


@pytest.mark.usefixtures("large")
def test_an_index_that_was_half_built_is_built_again(empty_url: str, folder: Path) -> None:
    migrations.migrate(empty_url, folder=folder)
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("CREATE INDEX idx_x ON first (x)")
        connection.execute(
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_x'::regclass"
        )
    add_concurrent(folder)
    migrations.migrate(empty_url, folder=folder)
    assert indexes(empty_url) == {"idx_x": True}


@pytest.mark.usefixtures("large")
def test_a_concurrent_file_that_fails_is_gone_on_with_later(empty_url: str, folder: Path) -> None:
    migrations.migrate(empty_url, folder=folder)
    add_concurrent(folder)
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE first RENAME x TO y")
        with pytest.raises(MigrationError, match=r"0003_index\.sql was interrupted half-way"):
            migrations.migrate(empty_url, folder=folder)
        assert "last" not in tables(empty_url)
        connection.execute("ALTER TABLE first RENAME y TO x")
    assert migrations.migrate(empty_url, folder=folder) == ["0003_index.sql", "0004_last.sql"]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not get its lock is tried again soon."""
    monkeypatch.setattr(migrations, "LOCK_SECONDS", 0.1)
    monkeypatch.setattr(migrations, "PAUSE_SECONDS", 0.2)


VALIDATED = (
    "ALTER TABLE first DROP CONSTRAINT IF EXISTS small;"
    " ALTER TABLE first ADD CONSTRAINT small CHECK (x < 9) NOT VALID;"
    " ALTER TABLE first VALIDATE CONSTRAINT small;"
)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("text", "small_bytes"), [("ALTER TABLE first ADD y int", 0), (VALIDATED, -1)]
)
def test_jobs_go_on_while_a_migration_waits_for_a_reader(
    empty_url: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    text: str,
    small_bytes: int,
) -> None:
    migrations.migrate(empty_url, folder=folder)
    monkeypatch.setattr(migrations, "SMALL_BYTES", small_bytes)
    (folder / "0003_third.sql").write_text(text)
    with psycopg.connect(empty_url, application_name="a-report") as reader:
        reader.execute("SELECT * FROM first")
        with ThreadPoolExecutor(1) as pool:
            applied = pool.submit(migrations.migrate, empty_url, folder=folder)
            give_up = time.monotonic() + 60
            while "a-report" not in caplog.text and time.monotonic() < give_up:
                time.sleep(0.02)
            with psycopg.connect(empty_url, autocommit=True) as other:
                for number in range(8):
                    other.execute("INSERT INTO first VALUES (%s)", [number])
            assert not applied.done()
            reader.commit()
            assert applied.result() == ["0003_third.sql"]


@pytest.mark.usefixtures("impatient")
def test_a_migration_that_never_gets_its_lock_says_who_holds_it(
    empty_url: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(migrations, "LOCK_TRIES", 2)
    migrations.migrate(empty_url, folder=folder)
    (folder / "0003_third.sql").write_text("ALTER TABLE first ADD y int")
    with psycopg.connect(empty_url, application_name="a-report") as reader:
        reader.execute("SELECT * FROM first")
        with pytest.raises(
            MigrationError, match=r"0003_third\.sql .*application a-report.* holds first.*2 times"
        ):
            migrations.migrate(empty_url, folder=folder)
    assert migrations.migrate(empty_url, folder=folder) == ["0003_third.sql"]


def test_no_timeout_of_the_database_ends_a_migration(empty_url: str, folder: Path) -> None:
    with psycopg.connect(empty_url, autocommit=True) as connection:
        name, version = connection.info.dbname, connection.info.server_version
        timeouts = ["statement_timeout", *["transaction_timeout"] * (version >= 170_000)]
        for each in timeouts:
            connection.execute(f"ALTER DATABASE {name} SET {each} = '2s'".encode())
    (folder / "0003_slow.sql").write_text("SELECT pg_sleep(2.5)")
    assert migrations.migrate(empty_url, folder=folder) == [*BOTH, "0003_slow.sql"]


def test_in_a_small_table_a_concurrent_file_is_applied_like_any_other(
    empty_url: str, folder: Path
) -> None:
    add_concurrent(folder)
    everything = [*BOTH, "0003_index.sql", "0004_last.sql"]
    assert migrations.migrate(empty_url, folder=folder) == everything
    assert indexes(empty_url) == {"idx_x": True}


@pytest.mark.usefixtures("large")
def test_our_own_files_can_be_repeated_where_they_are_concurrent(database_url: str) -> None:
    before = indexes(database_url)
    ours = [migration for migration in migrations.available() if migration.concurrent]
    assert ours
    with psycopg.connect(database_url, autocommit=True) as connection:
        for migration in ours:
            connection.execute("DELETE FROM stashjobs_migrations WHERE name = %s", [migration.name])
    assert migrations.migrate(database_url) == [migration.name for migration in ours]
    assert indexes(database_url) == before


ODD = """
INSERT INTO job_executions (job_id, job_type, payload, max_attempts, delivery, metadata, errors,
                            available_at, created_at)
VALUES ('listed', 'probe', '{}', 3, '{"headers": ["a"]}', '{}', '[]', now(), now()),
       ('long-ago', 'probe', '{}', 3, '{}', '7', '["a"]', '0044-03-15 BC', now()),
       ('never', 'probe', '{}', 3, '{}', '{}', '[]', 'infinity', '-infinity'),
       ('good', 'probe', '{}', 3, '{"headers": {"A": "b"}}', '{"a": 1}', '[{"type": "E"}]',
        now(), now());
INSERT INTO notifications (job_id, user_id, type, title, message, expires_at)
VALUES ('n', 'u', 'info', 't', 'm', 'infinity')
"""


def test_rows_that_no_program_can_read_are_mended(empty_url: str, tmp_path: Path) -> None:
    number = "0016"
    for migration in migrations.available():
        if migration.name < number:
            (tmp_path / migration.name).write_text(migration.sql)
    (tmp_path / "sql").mkdir()
    migrations.migrate(empty_url, folder=tmp_path, functions_folder=tmp_path / "sql")
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute(ODD)
        migrations.migrate(empty_url)
        rows = {
            job_id: values
            for job_id, *values in connection.execute(
                "SELECT job_id, status, delivery, metadata, errors, error, available_at::text,"
                " created_at::text FROM job_executions"
            )
        }
        expires = connection.execute("SELECT expires_at FROM notifications").fetchone()

    error = "DeliveryMalformed: its headers or callbacks were removed"
    assert rows["listed"][:5] == ["failed", {}, {}, [], error]
    assert rows["long-ago"][:4] == ["pending", {}, {"was": 7}, []]
    assert rows["long-ago"][5].startswith("0001-01-01")
    assert rows["never"][5].startswith("9000-01-01")
    assert rows["never"][6].startswith("0001-01-01")
    good = ["pending", {"headers": {"A": "b"}}, {"a": 1}, [{"type": "E"}], None]
    assert rows["good"][:5] == good
    assert expires == (None,)


def test_the_five_indexes_of_the_deployment_guide_are_there(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        found = {
            name
            for (name,) in connection.execute(
                "SELECT indexname FROM pg_indexes WHERE tablename = 'job_executions'"
            )
        }
    assert found >= {
        "idx_job_executions_status",
        "idx_job_executions_created_at",
        "idx_job_executions_user_id",
        "idx_job_executions_organization_id",
        "idx_job_executions_status_created",
    }


def test_a_history_of_the_former_name_is_kept_under_its_own(empty_url: str, folder: Path) -> None:
    migrations.migrate(empty_url, folder=folder)
    with psycopg.connect(empty_url) as connection:
        connection.execute("ALTER TABLE stashjobs_migrations RENAME TO schema_migrations")
        connection.execute("ALTER INDEX stashjobs_migrations_pkey RENAME TO schema_migrations_pkey")
    assert migrations.migrate(empty_url, dry_run=True, folder=folder) == []
    assert migrations.migrate(empty_url, folder=folder) == []
    assert tables(empty_url) == ["also", "first", "stashjobs_migrations"]


def test_another_tool_s_history_stays_as_it_is(empty_url: str, folder: Path) -> None:
    with psycopg.connect(empty_url) as connection:
        connection.execute("CREATE TABLE schema_migrations (version text PRIMARY KEY)")
        connection.execute("INSERT INTO schema_migrations VALUES ('20260101')")
    assert migrations.migrate(empty_url, folder=folder) == BOTH
    with psycopg.connect(empty_url) as connection:
        rows = connection.execute("SELECT * FROM schema_migrations").fetchall()
    assert rows == [("20260101",)]


def test_a_role_that_may_not_create_hears_what_to_grant(empty_url: str, folder: Path) -> None:
    name = f"guest_{next(numbers)}"
    with psycopg.connect(empty_url, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'a-password'".encode())
        as_guest = f"postgresql://{name}:a-password@" + empty_url.split("@", 1)[1]
        with pytest.raises(
            MigrationError, match=f"permission denied.* CREATE ON SCHEMA public TO {name}"
        ):
            migrations.migrate(as_guest, folder=folder)
        connection.execute(f"DROP ROLE {name}".encode())


def test_what_a_database_grants_everyone_is_revoked(empty_url: str) -> None:
    """As Supabase does for its API."""
    with psycopg.connect(empty_url, autocommit=True) as connection:
        for role in ("anon", "authenticated"):
            connection.execute(f"CREATE ROLE {role}".encode())
        try:
            connection.execute(
                "ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT ALL ON TABLES"
                " TO anon, authenticated, PUBLIC; ALTER DEFAULT PRIVILEGES IN SCHEMA public"
                " GRANT ALL ON SEQUENCES TO anon, authenticated"
            )
            migrations.migrate(empty_url)
            assert worker_role.outsiders(connection) == []
            readable = connection.execute(
                "SELECT has_table_privilege('anon', 'job_executions', 'SELECT'),"
                " has_table_privilege('anon', 'access_tokens', 'INSERT')"
            )
            assert readable.fetchone() == (False, False)
            # Who may set one back has the next insert fail.
            open_ones = connection.execute(
                "SELECT relname FROM pg_class WHERE CASE WHEN relkind = 'S'"
                " THEN has_sequence_privilege('anon', oid, 'USAGE, SELECT, UPDATE') END"
            )
            assert open_ones.fetchall() == []
        finally:
            connection.execute("DROP OWNED BY anon, authenticated")
            connection.execute("DROP ROLE anon, authenticated")
