"""Dumps of the database, and the proof that one can be restored: `stashjobs backup`.

    one snapshot -> dump -> restore into a scratch database -> compare what both hold -> drop it

Dump and comparison see the same snapshot, so jobs go on meanwhile. The dump is for moving and for
proof; what a stage lives on is its provider's backups (docs/deployment.md, Backup and recovery).
"""

from __future__ import annotations

import contextlib
import signal
import tempfile
import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from stashjobs.errors import StashjobsError
from stashjobs.store import database
from stashjobs.tools.backup import programs, sql
from stashjobs.tools.backup.contents import Contents, differences, read

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stashjobs.store.database import Connection

SUFFIX = "_restored"
# The comment on a scratch database, by which one that is left is known.
MARK = "scratch of stashjobs backup verify"
LONGEST_NAME = 63  # bytes; Postgres cuts off what is longer


class BackupError(StashjobsError):
    """A dump or a restore failed, or does not hold what it should. The message says what, and what
    to do."""


class Leftover(BackupError):
    """The scratch database of a verify that was killed is still there, a full copy."""


@dataclass(frozen=True, slots=True)
class Proof:
    """What `verify` has compared.

    Attributes:
        tables: Rows by table.
        bytes: The dump's size.
        seconds: How long everything took.
        differences: What the restored database has otherwise; empty when it is the same.
    """

    tables: dict[str, int]
    bytes: int
    seconds: float
    differences: list[str]


def take(url: str, file: Path) -> int:
    """Dump the database at `url` into a new file, which only its owner can read. Returns its size
    in bytes.

    Raises:
        BackupError: The file exists, or pg_dump failed.
        ProgramError: There is no pg_dump that is new enough.
        psycopg.OperationalError: Postgres cannot be reached.
    """
    with _patient(url) as connection:
        return _dump(url, file, connection.info.server_version // 10_000, snapshot=None)


def restore(file: Path, into: str) -> None:
    """Restore a dump into a database that does not exist yet, at the URL `into`. Where that fails
    the new database is dropped again.

    Raises:
        BackupError: The database exists, or pg_restore failed.
        ProgramError: There is no pg_restore that is new enough.
        psycopg.OperationalError: That server cannot be reached.
    """
    with _new_database(into, keep=True):
        _restore(file, into)


def verify(url: str, into: str | None = None, *, drop_leftover: bool = False) -> Proof:
    """Take a dump, restore it into a scratch database, compare, and drop that database, whatever
    happens but a SIGKILL.

    Args:
        url: The database to be proven restorable.
        into: The URL of the scratch database, which must not exist. By default one on the same
            server, named after the database with `_restored` at its end.
        drop_leftover: Drop the scratch database of an earlier verify that was killed.

    Raises:
        Leftover: There is such a one.
        BackupError: The scratch database exists, or dump or restore failed.
        ProgramError: There is no pg_dump or pg_restore that is new enough.
        psycopg.OperationalError: A server cannot be reached.
    """
    began = time.monotonic()
    scratch = into or scratch_beside(url)
    if drop_leftover:
        _drop_leftover(scratch)
    with (
        tempfile.TemporaryDirectory(prefix="stashjobs-backup-") as folder,
        _new_database(scratch, keep=False),
    ):
        file = Path(folder) / "dump"
        with _snapshot(url) as (connection, snapshot):
            version = connection.info.server_version // 10_000
            size = _dump(url, file, version, snapshot)
            original = read(connection)
        _restore(file, scratch)
        with _snapshot(scratch) as (connection, _):
            restored = read(connection)
    return _proof(original, restored, size, time.monotonic() - began)


def scratch_beside(url: str) -> str:
    """The URL of the default scratch database."""
    name = str(database.read_url(url).get("dbname") or "postgres")
    kept = name.encode()[: LONGEST_NAME - len(SUFFIX)].decode(errors="ignore")
    return make_conninfo(url, dbname=kept + SUFFIX)


def _proof(original: Contents, restored: Contents, size: int, seconds: float) -> Proof:
    rows = {name: table.rows for name, table in original.tables.items()}
    return Proof(rows, size, seconds, differences(original, restored))


def _dump(url: str, file: Path, server: int, snapshot: str | None) -> int:
    try:
        file.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise BackupError(f"{file} exists; give another name, or remove it") from None
    except OSError as error:
        raise BackupError(f"{file} cannot be written: {error.strerror}") from error
    options = ["--format=custom", f"--file={file}"]
    if snapshot is not None:
        options.append(f"--snapshot={snapshot}")
    try:
        programs.run(programs.find("pg_dump", server), options, url)
    except programs.ProgramError as error:
        file.unlink(missing_ok=True)
        raise BackupError(f"the dump failed: {error}") from error
    return file.stat().st_size


def _restore(file: Path, url: str) -> None:
    if not file.is_file():
        raise BackupError(f"there is no dump {file}; make one with: stashjobs backup take FILE")
    with database.connect(url) as connection:
        server = connection.info.server_version // 10_000
    name = database.read_url(url)["dbname"]
    options = ["--exit-on-error", "--no-owner", "--no-privileges", f"--dbname={name}", str(file)]
    try:
        programs.run(programs.find("pg_restore", server), options, url)
    except programs.ProgramError as error:
        raise BackupError(f"the restore failed: {error}") from error


@contextlib.contextmanager
def _snapshot(url: str) -> Iterator[tuple[Connection, str]]:
    """A transaction that sees one moment, and the name by which others can see the same."""
    with _patient(url) as connection, connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        row = connection.execute("SELECT pg_export_snapshot()").fetchone()
        yield connection, "" if row is None else row[0]


def _patient(url: str) -> Connection:
    """A connection that no timeout of the role or the database ends, however long it is idle."""
    connection = database.connect(url, statement_timeout_seconds=0)
    connection.execute(sql.SET_NO_TIMEOUTS)
    return connection


@contextlib.contextmanager
def _new_database(url: str, *, keep: bool) -> Iterator[None]:
    """Make the database of a URL; drop it afterwards unless it is to be kept and nothing failed."""
    name = _name_of(url)
    with _ended_by_signals() as ignore_signals, _server_of(url) as server:
        # Held by this session, so that what a verify that goes on has made is no leftover.
        if server.execute(sql.TRY_LOCK, [name]).fetchone() != (True,):
            raise BackupError(f"the database {name} is being made or compared by another run")
        _create(server, name, is_scratch=not keep)
        done = False
        try:
            yield
            done = True
        finally:
            ignore_signals()
            if not (keep and done):
                # The other connection may have been dropped meanwhile.
                with _server_of(url) as another:
                    another.execute(sql.DROP_DATABASE.format(Identifier(name)))


def _create(server: Connection, name: str, *, is_scratch: bool) -> None:
    identifier = Identifier(name)
    try:
        server.execute(SQL("CREATE DATABASE {} TEMPLATE template0").format(identifier))
    except psycopg.errors.DuplicateDatabase:
        if (mark := _mark_of(server, name)) is not None:
            raise Leftover(
                f"the database {name} is a full copy that a verify left when it was killed "
                f"({mark}). Drop it with: stashjobs backup verify --drop-leftover"
            ) from None
        raise BackupError(
            f"the database {name} exists, and nothing is restored over it. Drop it if it is "
            "left from an earlier run, or give another with --into"
        ) from None
    except psycopg.errors.InsufficientPrivilege as error:
        raise BackupError(
            f"this role may not create the database {name}; give it CREATEDB, or another "
            "server with --into"
        ) from error
    if is_scratch:
        mark = f"{MARK}, begun at {datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
        server.execute(SQL("COMMENT ON DATABASE {} IS {}").format(identifier, mark))


def _drop_leftover(url: str) -> None:
    """Drop the database if it is a verify's; never another."""
    name = _name_of(url)
    with _server_of(url) as server:
        is_free = server.execute(sql.TRY_LOCK, [name]).fetchone() == (True,)
        if is_free and _mark_of(server, name) is not None:
            server.execute(sql.DROP_DATABASE.format(Identifier(name)))


def _mark_of(server: Connection, name: str) -> str | None:
    row = server.execute(sql.READ_COMMENT, [name]).fetchone()
    comment = "" if row is None else row[0] or ""
    return comment if comment.startswith(MARK) else None


def _server_of(url: str) -> Connection:
    # `postgres` is the database that is there to be connected to (Postgres docs, "initdb").
    return _patient(make_conninfo(url, dbname="postgres"))


def _name_of(url: str) -> str:
    name = str(database.read_url(url).get("dbname") or "")
    if not name:
        raise BackupError("the URL names no database: .../name at its end")
    return name


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[Callable[[], None]]:
    """Let SIGTERM and SIGHUP end the block as an error does, so that it tidies up. Yields what
    makes them ignored until the block has ended, for the tidying up itself."""
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None  # signals are not this thread's
        return

    def end(number: int, _frame: Any) -> None:
        raise SystemExit(128 + number)

    def ignore() -> None:
        for number in before:
            signal.signal(number, signal.SIG_IGN)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield ignore
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
