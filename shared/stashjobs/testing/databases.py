"""A migrated database for each test, in milliseconds.

There is one template per test process, and one copy of it. After a test the copy is emptied, which
takes a few statements on a connection that stays open (emptying.py). Where the test changed more
than rows (a table, an index, a row that the template brought along), or left large files behind,
the copy is dropped and made anew; so it is where it cannot be emptied, whatever the reason.
Measured with the tables of stashjobs on two cores: emptied in 2 to 3 ms; copied in 40 ms, with the
strategy wal_log as with file_copy more or less, and dropped in 10 ms more; TRUNCATE of the same
tables takes 20 to 70 ms, since each of them and each index gets a new file.
"""

from __future__ import annotations

import re
import secrets
import time
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import conninfo, sql

from stashjobs.store import migrations
from stashjobs.testing.emptying import CannotBeEmptied, Emptying

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

# Of every database made here. Whatever is left behind by a run that was killed can be dropped.
PREFIX = "stashjobs_test"
PATIENCE_SECONDS = 5.0

CREATE = "CREATE DATABASE {}"
COPY = "CREATE DATABASE {} TEMPLATE {} STRATEGY wal_log"
DROP = "DROP DATABASE IF EXISTS {} (FORCE)"
# Without its second argument, the patience: with that it looks ten times a second only, and a
# session that is about to end takes a millisecond.
END_OTHER_SESSIONS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
 WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
# Host and port may be left out, or be in what follows the question mark, which may name another
# database too (Postgres docs, "Connection URIs"; a password may have a question mark in it).
URL = re.compile(
    r"(?P<server>postgres(?:ql)?://(?:[^/@]*@)?[^/?]*)(?:/[^?]*)?(?:\?(?P<options>.*))?"
)


class DatabaseError(RuntimeError):
    """The test database could not be made; the message says why and what to do."""


class Server:
    """A Postgres server in which test databases are made, and dropped when the block is left.

    Args:
        url: Of any database in it. Nothing in that one is touched.

    Attributes:
        prefix: How the names of its databases begin.

    Raises:
        DatabaseError: The URL is none of Postgres's.
    """

    def __init__(self, url: str) -> None:
        parts = URL.fullmatch(url)
        if parts is None:
            raise DatabaseError(
                "the test server's URL is not a Postgres URL; "
                "it must look like postgresql://user:password@host:5432/database"
            )
        self.url = url
        self._of_server = parts["server"]
        options = (parts["options"] or "").split("&")
        self._options = "&".join(each for each in options if not each.startswith("dbname="))
        # Test processes side by side share a server that was given.
        self.prefix = f"{PREFIX}_{secrets.token_hex(4)}"
        self._made: set[str] = set()

    def url_of(self, database: str) -> str:
        """The URL of another database in the same server."""
        return f"{self._of_server}/{database}" + (f"?{self._options}" if self._options else "")

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
        names = [name] if template is None else [name, _name_of(template)]
        self._run(statement.format(*map(sql.Identifier, names)))
        self._made.add(name)
        return self.url_of(name)

    def drop(self, url: str) -> None:
        """Drop a database that was made here, whoever is connected to it."""
        name = _name_of(url)
        self._run(sql.SQL(DROP).format(sql.Identifier(name)))
        self._made.discard(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name in self._made:
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
        self._make()

    def renew(self) -> None:
        """End whoever is connected, and take back all that was changed.

        Raises:
            DatabaseError: It could neither be emptied nor made anew.
        """
        if not self._is_emptied():
            self.close()
            self._make()

    def close(self) -> None:
        """Drop it."""
        self._look.close()
        self._server.drop(self.url)

    def _make(self) -> None:
        self.url = self._server.create(self._purpose, template=self._template)
        self._look = psycopg.connect(self.url, autocommit=True)
        self._emptying: Emptying | None
        try:
            self._emptying = Emptying(self._look)
        except (CannotBeEmptied, psycopg.Error):
            self._emptying = None

    def _is_emptied(self) -> bool:
        """False where it cannot be, whatever stands in the way (the test dropped a table that is
        looked at, restarted the server or ended our session, say): a new copy will do."""
        if self._emptying is None:
            return False
        try:
            return _others_have_ended(self._look) and self._emptying.run()
        except psycopg.Error:
            return False


def _others_have_ended(look: psycopg.Connection[Any]) -> bool:
    """End all other sessions in this database; False where one of them does not end."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while look.execute(END_OTHER_SESSIONS).fetchall():
        if time.monotonic() > give_up:
            return False
        time.sleep(0.001)
    return True


def _name_of(url: str) -> str:
    return str(conninfo.conninfo_to_dict(url)["dbname"])
