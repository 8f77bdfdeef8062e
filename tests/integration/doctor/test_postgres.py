"""Postgres: each check both ways, on a real one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from stashjobs.store import database, migrations
from stashjobs.tools.doctor import clock, postgres
from stashjobs.tools.doctor.finding import Check, Level, run
from tests import pgbouncer
from tests.deliveries import probe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stashjobs.tools.servers.postgres import Postgres
    from tests.deliveries import Table

# As CREATE INDEX CONCURRENTLY leaves one that it could not finish.
INVALIDATE = """
UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_job_executions_status'::regclass
"""
SEEDS_FIVE = {
    "idx_job_executions_status",
    "idx_job_executions_created_at",
    "idx_job_executions_user_id",
    "idx_job_executions_organization_id",
    "idx_job_executions_status_created",
}


@pytest.fixture(name="server")
def _server(request: pytest.FixtureRequest) -> Postgres:
    """The run's server, whose fixture has the name of what is tested here."""
    found: Postgres = request.getfixturevalue("postgres")
    return found


def test_all_is_well_with_a_migrated_database(table: Table) -> None:
    levels = {check.subject: check.look().level for check in postgres.CHECKS}
    assert set(levels.values()) <= {Level.GREEN, Level.GREY}, levels


def test_a_postgres_that_is_away_is_red_and_its_password_is_not_shown(
    settings: pytest.MonkeyPatch,
) -> None:
    settings.setenv("POSTGRES_URL", "postgresql://nobody:secret-word@127.0.0.1:9/none")
    [finding] = run([[Check("Postgres", postgres.version)]])
    assert finding.level == Level.RED
    assert "secret-word" not in finding.what


def test_one_that_is_too_old_is_red(table: Table, settings: pytest.MonkeyPatch) -> None:
    settings.setattr(migrations, "OLDEST_POSTGRES", 99)
    assert postgres.version().level == Level.RED


def test_a_migration_that_is_not_applied_is_red_and_named(
    settings: pytest.MonkeyPatch, server: Postgres
) -> None:
    settings.setenv("POSTGRES_URL", server.url_of("postgres"))
    verdict = postgres.migrations_are_current()
    assert (verdict.level, "0001_job_executions.sql" in verdict.what) == (Level.RED, True)
    assert verdict.next == "stashjobs migrate --stage local"


def test_the_five_indexes_of_the_deployment_guide_are_expected() -> None:
    assert postgres.expected_indexes() >= SEEDS_FIVE


@pytest.fixture
def own_database(database_url: str) -> str:
    """A database that a test may break: it is made anew after it."""
    return database_url


def test_an_edited_migration_is_red(own_database: str, settings: pytest.MonkeyPatch) -> None:
    with psycopg.connect(own_database, autocommit=True) as connection:
        connection.execute("UPDATE stashjobs_migrations SET checksum = 'x' WHERE name LIKE '0001%'")
    settings.setenv("POSTGRES_URL", own_database)
    assert postgres.migrations_are_current().level == Level.RED


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("DROP INDEX idx_job_executions_status", "missing: idx_job_executions_status"),
        (INVALIDATE, "not valid: idx_job_executions_status"),
    ],
)
def test_an_index_that_is_missing_or_half_built_is_red(
    own_database: str, settings: pytest.MonkeyPatch, statement: str, what: str
) -> None:
    with psycopg.connect(own_database, autocommit=True) as connection:
        connection.execute(statement.encode())
    settings.setenv("POSTGRES_URL", own_database)
    verdict = postgres.indexes()
    assert (verdict.level, verdict.what) == (Level.RED, what)


def test_timeouts_that_do_not_hold_are_yellow(
    table: Table, settings: pytest.MonkeyPatch, database_url: str
) -> None:
    settings.setenv("POSTGRES_URL", f"{database_url}&options=-c%20lock_timeout%3D0")
    verdict = postgres.timeouts()
    assert (verdict.level, "no lock_timeout" in verdict.what) == (Level.YELLOW, True)


def test_a_pooler_that_ignores_options_is_noticed(
    table: Table, settings: pytest.MonkeyPatch, database_url: str, tmp_path: Path
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("ALTER DATABASE {} SET default_transaction_isolation = serializable").format(
                sql.Identifier(connection.info.dbname)
            )
        )
    with pgbouncer.running(tmp_path, database_url, ignore_startup_parameters="options") as pooler:
        settings.setenv("POSTGRES_URL", pooler.url_of(database_url))
        verdict = postgres.timeouts()
        database.close()
    assert verdict.level is Level.RED
    assert "ignores startup options, and default_transaction_isolation is serializable" in (
        verdict.what
    )
    assert verdict.next.startswith("ALTER ROLE ")


@pytest.mark.parametrize(
    ("budget", "level"), [("40", Level.GREEN), ("80", Level.YELLOW), ("300", Level.RED)]
)
def test_the_budget_must_fit_into_the_servers_hundred(
    table: Table, settings: pytest.MonkeyPatch, budget: str, level: Level
) -> None:
    settings.setenv("MAX_CONNECTIONS", budget)
    assert postgres.connection_budget().level == level


def test_a_read_replica_may_be_missing_and_has_what_postgres_has(
    table: Table, settings: pytest.MonkeyPatch, database_url: str
) -> None:
    assert postgres.read_replica().level == Level.GREY
    table.add(probe(), {})
    settings.setenv("POSTGRES_READ_URL", database_url)
    assert postgres.read_replica().level == Level.GREEN


def test_a_read_replica_of_another_database_is_red(
    table: Table, settings: pytest.MonkeyPatch, server: Postgres
) -> None:
    settings.setenv("POSTGRES_READ_URL", server.url_of("postgres"))
    verdict = postgres.read_replica()
    assert (verdict.level, "no job_executions" in verdict.what) == (Level.RED, True)


@pytest.fixture
def behind(server: Postgres) -> Iterator[str]:
    """A database that was never given a job."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE behind")
        migrations.migrate(server.url_of("behind"))
        yield server.url_of("behind")
        connection.execute("DROP DATABASE behind (FORCE)")


@pytest.mark.parametrize(("age", "level"), [("1 minute", Level.GREEN), ("1 hour", Level.RED)])
def test_a_read_replica_may_be_minutes_behind_and_no_more(
    table: Table, behind: str, settings: pytest.MonkeyPatch, age: str, level: Level
) -> None:
    settings.setenv("POSTGRES_READ_URL", behind)
    job_id = table.add(probe(), {})
    table.run(
        "UPDATE job_executions SET created_at = now() - %s::interval WHERE job_id = %s", age, job_id
    )
    assert postgres.read_replica().level == level


def test_slow_queries_are_yellow(table: Table, settings: pytest.MonkeyPatch) -> None:
    settings.setattr(postgres, "SLOW_SECONDS", 0)
    assert postgres.queries().level == Level.YELLOW


def test_a_job_that_nobody_tells_qstash_of_is_red(table: Table) -> None:
    job_id = table.add(probe(), {})
    table.run(
        "UPDATE job_executions SET published_at = NULL, available_at = now() - interval '1 hour' "
        "WHERE job_id = %s",
        job_id,
    )
    assert postgres.relay().level == Level.RED


# --- TLS


def test_production_without_tls_is_red(table: Table, settings: pytest.MonkeyPatch) -> None:
    settings.setenv("STAGE", "production")
    assert postgres.tls().level == Level.RED


@pytest.mark.parametrize(
    ("stage", "mode", "encrypted", "level"),
    [
        ("production", "verify-full", True, Level.GREEN),
        ("production", "require", True, Level.GREEN),
        ("production", "prefer", True, Level.YELLOW),
        ("production", "prefer", False, Level.RED),
        ("local", "prefer", False, Level.GREY),
    ],
)
def test_a_deployed_stage_should_insist_on_tls(
    stage: str, mode: str, level: Level, *, encrypted: bool
) -> None:
    """The wheel's server is built without TLS, so what a connection says is put in here."""
    assert postgres.judge_tls(stage, mode, encrypted=encrypted).level == level


# --- clocks


def test_the_clock_of_postgres_is_compared(table: Table) -> None:
    assert clock.of_postgres().level == Level.GREEN


@pytest.mark.parametrize(
    ("there", "level"),
    [
        (100.0, Level.GREEN),
        (98.5, Level.GREEN),
        (97.0, Level.YELLOW),
        (104.0, Level.YELLOW),
        (90.0, Level.RED),
        (110.0, Level.RED),
    ],
)
def test_clocks_may_be_two_seconds_apart(there: float, level: Level) -> None:
    assert clock.judge("it", there, began=100.0, ended=101.0).level == level


def test_a_table_that_everyone_may_read_is_named(
    settings: pytest.MonkeyPatch, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("GRANT SELECT ON job_executions TO PUBLIC")
        verdict = postgres.role()
        connection.execute("REVOKE ALL ON job_executions FROM PUBLIC")
    assert verdict.level is Level.RED
    assert "public may use job_executions" in verdict.what
