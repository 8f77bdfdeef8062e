"""A migrated database for each test, in milliseconds.

There is one template per test process, and one copy of it. After a test the copy is emptied, which
takes a few statements on a connection that stays open. Where the test changed more than rows (a
table, an index, a row that the template brought along), or left large files behind, the copy is
dropped and made anew. Measured with the tables of stashjobs on two cores: emptied in 1 to 3 ms;
copied in 40 ms, with the strategy wal_log as with file_copy more or less, and dropped in 10 ms
more; TRUNCATE of the same tables takes 20 to 70 ms, since each of them and each index gets a new
file.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import psycopg
from psycopg import sql

from stashjobs import migrations

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

# Of every database made here. Whatever is left behind by a run that was killed can be dropped.
PREFIX = "stashjobs_test"
PATIENCE_SECONDS = 5.0

CREATE = "CREATE DATABASE {}"
COPY = "CREATE DATABASE {} TEMPLATE {} STRATEGY wal_log"
DROP = "DROP DATABASE IF EXISTS {} (FORCE)"
TABLES = """
SELECT table_of.oid::regclass::text
  FROM pg_class AS table_of JOIN pg_namespace AS schema ON schema.oid = table_of.relnamespace
 WHERE table_of.relkind IN ('r', 'p') AND NOT table_of.relispartition
   AND table_of.relpersistence <> 't'
   AND schema.nspname NOT LIKE 'pg\\_%' AND schema.nspname <> 'information_schema'
 ORDER BY 1
"""
# `last` is NULL while no number was taken.
SEQUENCES = """
SELECT quote_literal(seqrelid::regclass::text) AS name, seqstart AS start,
       pg_sequence_last_value(seqrelid) AS last
  FROM pg_sequence
"""
# Without its second argument, the patience: with that it looks ten times a second only, and a
# session that is about to end takes a millisecond.
END_OTHER_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
# A number for each part of the schema that changes with it: for most the transaction that wrote the
# entry in the catalogue; for tables and indexes, whose entries VACUUM and TRUNCATE write too, what
# they are. 16384 is the first object that is not Postgres's own.
SCHEMA_STATE = """concat_ws(' ',
    (SELECT sum(hashtext(concat_ws(' ', oid, relname, relkind, relchecks, relrowsecurity)))
       FROM pg_class WHERE oid >= 16384),
    (SELECT concat(count(*), '/', sum(xmin::text::bigint)) FROM pg_attribute
      WHERE attrelid >= 16384),
    (SELECT concat(count(*), '/', sum(xmin::text::bigint)) FROM pg_index
      WHERE indexrelid >= 16384),
    (SELECT concat(count(*), '/', sum(xmin::text::bigint)) FROM pg_constraint WHERE oid >= 16384),
    (SELECT concat(count(*), '/', sum(xmin::text::bigint)) FROM pg_trigger WHERE oid >= 16384),
    (SELECT concat(count(*), '/', sum(xmin::text::bigint)) FROM pg_proc WHERE oid >= 16384),
    (SELECT concat(count(*), '/', sum(xmin::text::bigint)) FROM pg_type WHERE oid >= 16384),
    (SELECT string_agg(setconfig::text, ' ') FROM pg_db_role_setting AS setting
       JOIN pg_database AS own ON own.oid = setting.setdatabase
      WHERE own.datname = current_database()))"""
# Deleted rows stay in their files, where nobody vacuums, and every scan reads them.
IS_BLOATED = """
SELECT EXISTS (SELECT FROM pg_class
                WHERE oid >= 16384 AND relkind IN ('r', 'i') AND pg_relation_size(oid) > 1048576)
"""
ROWS_STATE = "(SELECT concat(count(*), '/', sum(xmin::text::bigint)) FROM {})"


class DatabaseError(RuntimeError):
    """The test database could not be made; the message says why and what to do."""


class Server:
    """A Postgres server in which test databases are made, and dropped when the block is left.

    Args:
        url: Of any database in it. Nothing in that one is touched.

    Attributes:
        prefix: How the names of its databases begin.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        # Test processes side by side share a server that was given.
        self.prefix = f"{PREFIX}_{secrets.token_hex(4)}"
        self._made: list[str] = []

    def url_of(self, database: str) -> str:
        """The URL of another database in the same server."""
        return urlsplit(self.url)._replace(path=f"/{database}").geturl()

    def create(self, purpose: str, *, template: str | None = None) -> str:
        """Make a database and return its URL.

        Args:
            purpose: The end of its name.
            template: The URL of the database that it is a copy of. Nobody may be connected to it.

        Raises:
            DatabaseError: The role may not create databases, or the server cannot be reached.
        """
        name = f"{self.prefix}_{purpose}"
        statement = sql.SQL(CREATE if template is None else COPY)
        names = [name] if template is None else [name, urlsplit(template).path[1:]]
        self._run(statement.format(*map(sql.Identifier, names)))
        self._made.append(name)
        return self.url_of(name)

    def drop(self, url: str) -> None:
        """Drop a database that was made here, whoever is connected to it."""
        name = urlsplit(url).path[1:]
        self._made.remove(name)
        self._run(sql.SQL(DROP).format(sql.Identifier(name)))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in reversed(self._made):
            self._run(sql.SQL(DROP).format(sql.Identifier(name)))
        self._made.clear()

    def _run(self, statement: sql.Composed) -> None:
        try:
            with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
                connection.execute(statement)
        except psycopg.errors.InsufficientPrivilege as error:
            raise DatabaseError(
                f"the role of the test server's URL may not create databases ({error}); "
                "give it that right: ALTER ROLE ... CREATEDB"
            ) from None
        except psycopg.OperationalError as error:
            raise DatabaseError(f"the test server cannot be used: {error}") from None


def migrated(server: Server) -> str:
    """Make a database, apply every migration of stashjobs and return its URL."""
    url = server.create("template")
    migrations.migrate(url)
    return url


class CopyOfTemplate:
    """A copy of the template that is as good as new after every `renew`."""

    def __init__(self, server: Server, template: str, purpose: str) -> None:
        self._server = server
        self._template = template
        self._purpose = purpose
        self._look: psycopg.Connection[Any]
        self._empty: bytes
        self._set_back: str
        self._as_new: Any
        self._make()

    def renew(self) -> None:
        """End whoever is connected, and take back all that was changed."""
        if self._look.closed or self._look.broken:  # the test restarted the server, say
            self._look = psycopg.connect(self.url, autocommit=True)
        self._end_other_sessions()
        if self._state() == self._as_new and not self._is(IS_BLOATED):
            self._look.execute(self._empty)
            self._look.execute(self._set_back.encode())
        else:
            self.close()
            self._make()

    def close(self) -> None:
        """Drop it."""
        self._look.close()
        self._server.drop(self.url)

    def _make(self) -> None:
        self.url = self._server.create(self._purpose, template=self._template)
        self._look = psycopg.connect(self.url, autocommit=True)
        tables = [name for (name,) in self._look.execute(TABLES.encode())]
        filled = [name for name in tables if self._has_rows(name)]
        self._read_state = f"SELECT {SCHEMA_STATE}" + "".join(
            f" || ' ' || {ROWS_STATE.format(name)}" for name in filled
        )
        self._empty = _deletion([name for name in tables if name not in filled])
        self._set_back = "SELECT" + ",".join(
            f" setval({name}, {start}, false)" if last is None else f" setval({name}, {last})"
            for name, start, last in self._look.execute(SEQUENCES)
        )
        self._as_new = self._state()

    def _end_other_sessions(self) -> None:
        give_up = time.monotonic() + PATIENCE_SECONDS
        while self._look.execute(END_OTHER_SESSIONS).fetchall():
            if time.monotonic() > give_up:
                raise DatabaseError("a session of the test before does not end")
            time.sleep(0.001)

    def _has_rows(self, table: str) -> bool:
        return self._is(f"SELECT EXISTS (SELECT FROM {table})")

    def _is(self, question: str) -> bool:
        row = self._look.execute(question.encode()).fetchone()
        return bool(row and row[0])

    def _state(self) -> Any:
        return self._look.execute(self._read_state.encode()).fetchone()


def _deletion(tables: list[str]) -> bytes:
    """One statement that empties all of them: foreign keys are looked at when it ends, so their
    order is no matter."""
    parts = [f"t{number} AS (DELETE FROM {name})" for number, name in enumerate(tables)]
    return (f"WITH {', '.join(parts)} SELECT" if parts else "SELECT").encode()
