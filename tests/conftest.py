"""What every test may ask for: a real, migrated Postgres of its own, and settings to reach it."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
from psycopg import sql

from infra.local.postgres import Postgres
from stashjobs import database, migrations

if TYPE_CHECKING:
    from collections.abc import Iterator

CURRENT_KEY = "sig_current_0123456789abcdefghijklmnop"
NEXT_KEY = "sig_next_0123456789abcdefghijklmnopqrst"

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    """One server for the whole run."""
    with Postgres(tmp_path_factory.mktemp("postgres"), durable=False) as server:
        yield server


@pytest.fixture(scope="session")
def migrated_template(postgres: Postgres) -> str:
    """The name of a migrated database, which each test's own is a copy of."""
    name = "migrated"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    migrations.migrate(postgres.url_of(name))
    return name


@pytest.fixture
def database_url(postgres: Postgres, migrated_template: str) -> Iterator[str]:
    """The URL of a migrated database that is this test's alone."""
    name = f"test_{next(_numbers)}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(migrated_template)
            )
        )
    yield postgres.url_of(name)
    database.close()
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {} (FORCE)").format(sql.Identifier(name)))


@pytest.fixture
def settings(database_url: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The settings of a working system, in the environment; `setenv` changes one."""
    for name, value in {
        "STAGE": "local",
        "POSTGRES_URL": database_url,
        "QSTASH_CURRENT_SIGNING_KEY": CURRENT_KEY,
        "QSTASH_NEXT_SIGNING_KEY": NEXT_KEY,
        "BASE_URL": "https://jobs.example.test",
    }.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def repository() -> Path:
    """The root of the checkout."""
    return Path(__file__).parent.parent
