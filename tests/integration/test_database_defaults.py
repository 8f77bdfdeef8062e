"""What a connection relies on is asked for, whatever role, database, pooler or shell say."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg import sql

from stashjobs.errors import SettingError
from stashjobs.operators import search
from stashjobs.store import database, migrations
from tests import pgbouncer
from tests.deliveries import Table, deliver, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from stashjobs import Context
    from stashjobs.tools.servers.postgres import Postgres

numbers = itertools.count()

ODD = {
    "DateStyle": "German, DMY",
    "IntervalStyle": "sql_standard",
    "TimeZone": "Asia/Kolkata",
    "client_encoding": "LATIN1",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
}
# What is not asked for, since nothing relies on it.
OTHERS = {
    "array_nulls": "off",
    "bytea_output": "escape",
    "extra_float_digits": "-15",
    "plan_cache_mode": "force_generic_plan",
    "standard_conforming_strings": "off",
    "transform_null_equals": "on",
}
WANTED = {
    "DateStyle": "ISO",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "client_encoding": "UTF8",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
}


@pytest.fixture
def set_database(database_url: str) -> Callable[..., None]:
    """Give the database a default, as an administrator may."""

    def change(*names: str) -> None:
        with psycopg.connect(database_url, autocommit=True) as connection:
            for name in names:
                connection.execute(
                    sql.SQL("ALTER DATABASE {} SET {} = {}").format(
                        sql.Identifier(connection.info.dbname),
                        sql.Identifier(name),
                        (ODD | OTHERS)[name],
                    )
                )

    return change


def shown(connection: database.Connection) -> dict[str, Any]:
    rows = connection.execute(
        "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)", [list(WANTED)]
    )
    return {name: setting.removesuffix(", MDY") for name, setting in rows.fetchall()}


def test_defaults_of_the_database_do_not_change_a_connection(
    database_url: str, set_database: Callable[..., None]
) -> None:
    set_database(*ODD)
    with database.connect(database_url) as connection:
        assert shown(connection) == WANTED


def test_the_shell_does_not_change_a_connection(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGTZ": "Asia/Kolkata", "PGDATESTYLE": "German"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PGCLIENTENCODING", "SQL_ASCII")
    monkeypatch.setenv("PGOPTIONS", "-c default_transaction_read_only=on")
    with database.connect(database_url) as connection:
        assert shown(connection)["DateStyle"].startswith("ISO")
        assert shown(connection) | {"DateStyle": "ISO"} == WANTED
        assert connection.execute("SELECT '2026-02-01'::timestamptz").fetchone() == (
            datetime(2026, 2, 1, tzinfo=UTC),
        )


@pytest.mark.parametrize("ignored", ["", "options"], ids=["refused", "ignored"])
def test_a_pooler_that_takes_no_options_does_not_change_what_is_read(
    database_url: str, set_database: Callable[..., None], tmp_path: Path, ignored: str
) -> None:
    set_database("DateStyle", "IntervalStyle", "TimeZone", "client_encoding")
    with (
        pgbouncer.running(tmp_path, database_url, ignore_startup_parameters=ignored) as running,
        database.connect(running.url_of(database_url)) as connection,
    ):
        row = connection.execute(
            "SELECT '2026-02-01'::timestamptz, '-1 h'::interval, '€'"
        ).fetchone()
    assert row == (datetime(2026, 2, 1, tzinfo=UTC), timedelta(hours=-1), "€")


@pytest.mark.parametrize("name", ["default_transaction_isolation", "default_transaction_read_only"])
def test_what_a_pooler_stands_in_the_way_of_is_refused_with_what_to_do(
    database_url: str, set_database: Callable[..., None], tmp_path: Path, name: str
) -> None:
    set_database(name)
    with (
        pgbouncer.running(tmp_path, database_url) as running,
        pytest.raises(SettingError, match=f"has {name} = .*ALTER ROLE stashjobs SET {name} = "),
    ):
        database.connect(running.url_of(database_url))


def test_jobs_run_in_a_database_with_odd_defaults(
    table: Table, set_database: Callable[..., None]
) -> None:
    """Also after a job that changes them on its own connection."""

    def work(payload: Any, context: Context) -> Any:
        context.connection.execute("SET DateStyle = 'German'; SET TimeZone = 'Asia/Kolkata'")
        return payload

    table.row(table.add(probe()))  # so that the operator's own sessions are older
    set_database(*ODD, *OTHERS)
    database.close()
    payload = {"price": "9 €", "much": 1e16, "path": "a\\b'", "none": [None]}
    for _ in range(2):
        job_id = table.add(probe(), payload)
        assert deliver(probe(work), job_id).status == 200
        assert table.row(job_id)["result"] == payload
    [found] = search.newest(database.connection(), search.Filter(), limit=1)
    assert (found.user_id, found.result) == (None, payload)
    assert shown(database.connection()) == WANTED


@pytest.fixture
def other_encoding(postgres: Postgres) -> Iterator[Callable[[str], str]]:
    """The URL of an empty database in another encoding."""
    made: list[str] = []

    def create(encoding: str) -> str:
        name = f"encoded_{next(numbers)}"
        admin.execute(
            sql.SQL("CREATE DATABASE {} ENCODING {} TEMPLATE template0").format(
                sql.Identifier(name), encoding
            )
        )
        made.append(name)
        return postgres.url_of(name)

    with psycopg.connect(postgres.url, autocommit=True) as admin:
        yield create
        for name in made:
            admin.execute(sql.SQL("DROP DATABASE {} (FORCE)").format(sql.Identifier(name)))


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_of_another_encoding_is_refused_before_anything_is_written(
    other_encoding: Callable[[str], str], encoding: str
) -> None:
    url = other_encoding(encoding)
    with pytest.raises(SettingError, match=f"whose encoding is {encoding}; stashjobs needs UTF8"):
        migrations.migrate(url)
    with psycopg.connect(url) as connection:
        found = connection.execute("SELECT FROM pg_class WHERE relname = 'stashjobs_migrations'")
        assert found.fetchall() == []


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://u:se%cret@localhost/db", "must be written %25"),
        ("postgresql://u:sec@ret@localhost/db", "must be written %25, %40"),
        ("postgresql://u:sec/ret@localhost/db", "%2F"),
        ("postgresql://u:secret@localhost/db?pgbouncer=true", "has the parameter pgbouncer"),
        ("postgresql://u:secret@localhost/db?schema=app", "has the parameter schema"),
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_showing_it(url: str, told: str) -> None:
    with pytest.raises(SettingError, match="POSTGRES_URL") as caught:
        database.connect(url)
    assert told in str(caught.value)
    assert "ret" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
