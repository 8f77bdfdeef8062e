"""Migrations: each file once, in order, or a clear word."""

from __future__ import annotations

import itertools
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from stashjobs import migrations
from stashjobs.errors import MigrationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from infra.local.postgres import Postgres

numbers = itertools.count()


@pytest.fixture
def empty_url(postgres: Postgres) -> Iterator[str]:
    """A database with nothing in it."""
    name = sql.Identifier(f"empty_{next(numbers)}")
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} STRATEGY FILE_COPY").format(name))
        yield postgres.url_of(name.as_string().strip('"'))
        connection.execute(sql.SQL("DROP DATABASE {} (FORCE)").format(name))


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
    assert tables(empty_url) == ["also", "first", "schema_migrations"]


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
    assert tables(empty_url) == ["also", "first", "schema_migrations"]
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
