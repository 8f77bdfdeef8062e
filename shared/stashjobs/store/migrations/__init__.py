"""Forward-only migrations: numbered SQL files, each applied once, in order.

`stashjobs_migrations` keeps the checksum of each file that was applied, so that an edit of one that
is already in a database is an error and not a surprise.

A file that says CONCURRENTLY or VALIDATE CONSTRAINT changes the table while jobs go on. The first
takes no part in a transaction, the second would hold the locks of the statements before it; so the
file is applied statement by statement, and each must be safe to repeat: what was interrupted is
begun again. Where the tables are small nobody would wait for long; there the word CONCURRENTLY is
left out, and the file is applied like any other.

No file waits long for a lock: all who want the table after it would wait behind it, jobs and
enqueues too. What does not get its lock at once is undone and tried again a little later.

The database's functions come last, in the transaction of the last file (`functions`).
"""

from __future__ import annotations

import hashlib
import itertools
import logging
import re
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.errors import DeadlockDetected, LockNotAvailable

from stashjobs.errors import MigrationError
from stashjobs.store import database
from stashjobs.store.migrations import functions, sql, worker_role

FOLDER = Path(__file__).parent
# Any constant will do, as long as every version of stashjobs takes the same one.
ADVISORY_LOCK = 7_829_174_600_134
POLL_SECONDS = 0.1
# The oldest major version of Postgres that runs every statement of stashjobs.
OLDEST_POSTGRES = 15
# An index of so much is built within a second.
SMALL_BYTES = 64 * 2**20

# For so long everybody waits who wants what a migration wants; then, for longer, jobs go on.
LOCK_SECONDS = 1.0
PAUSE_SECONDS = 4.0
LOCK_TRIES = 60

log = logging.getLogger("stashjobs")

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b")
# What does not take effect beside jobs that go on unless it is in no transaction with the rest.
_CONCURRENT = re.compile(r"\bCONCURRENTLY\b|\bVALIDATE CONSTRAINT\b")

IN_THE_WAY = (LockNotAvailable, DeadlockDetected)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. `checksum` is the SHA-256 of its text, in hex."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def statements(self) -> list[str]:
        """Without comments. Only for what is `concurrent`, which has no semicolon but between
        statements."""
        parts = re.sub(r"--.*", "", self.sql).split(";")
        return [part.strip() for part in parts if part.strip()]

    @property
    def concurrent(self) -> bool:
        """Whether it changes a table while jobs go on."""
        return _CONCURRENT.search(re.sub(r"--.*", "", self.sql)) is not None

    @property
    def in_one_go(self) -> str:
        """The SQL that a transaction can take."""
        return _CONCURRENTLY.sub("", self.sql)


def available(folder: Path = FOLDER) -> list[Migration]:
    """The migrations on disk, in order.

    Raises:
        MigrationError: A file's name does not fit, or two have the same number.
    """
    files = sorted(folder.glob("*.sql"))
    found = [Migration(file.name, file.read_text(encoding="utf-8")) for file in files]
    numbers = set()
    for migration in found:
        match = _FILE_NAME.fullmatch(migration.name)
        if match is None or match[1] in numbers:
            raise MigrationError(
                f"{migration.name}: a migration is named NNNN_what_it_does.sql, "
                "with a number that no other has"
            )
        numbers.add(match[1])
    return found


def migrate(
    url: str,
    *,
    dry_run: bool = False,
    role: str | None = None,
    folder: Path = FOLDER,
    functions_folder: Path | None = None,
) -> list[str]:
    """Apply this database's pending migrations and renew its functions, in one transaction; a
    file that fails is undone alone. What is `concurrent` comes between two transactions, where a
    table is large.

    Safe to run twice at once: the second waits for the first and finds nothing to do. Safe through
    a pooler in transaction mode too, since lock and timeouts are the transaction's; a concurrent
    file then needs two connections of it, and a role without `statement_timeout`.

    Args:
        url: The database.
        dry_run: Only tell what would be applied.
        role: Grant this role what workers need, now and with every later migration
            (`worker_role`).
        folder: Where the files are.
        functions_folder: Where the functions' files are; None is `sql` beside `folder`.

    Returns:
        The names of the files that were (or would be) applied, and then of the functions.

    Raises:
        MigrationError: There is no such role. Or Postgres is too old, or an applied file was
            edited or is missing: nothing is changed. Or a file fails, or does not get its locks
            within some minutes; those before it stay applied.
        psycopg.OperationalError: Postgres cannot be reached.
    """
    migrations = available(folder)
    functions_folder = functions_folder or folder.parent / "sql"
    applied: list[str] = []
    with database.connect(url) as connection:
        _refuse_old_postgres(connection.info.server_version // 10_000)
        if dry_run:
            pending = [migration.name for migration in _pending(connection, migrations)]
            return pending + functions.difference(connection, functions_folder).told
    tries = 0
    while True:
        # A connection for each try: one that is idle meanwhile may be closed by the server.
        with database.connect(url) as connection:
            names, failure = _apply_what_comes_next(connection, migrations, url, functions_folder)
            applied += names
            if failure is None and not names:
                _grant(connection, role)
                return applied
            if failure is None:
                continue
            if not isinstance(failure.__cause__, IN_THE_WAY):
                raise failure
            tries += 1
            _note_who_is_in_the_way(connection, tries, failure)
        time.sleep(PAUSE_SECONDS)


def _note_who_is_in_the_way(
    connection: database.Connection, tries: int, failure: Exception
) -> None:
    """Say once who holds the lock, and give up after the last try.

    Raises:
        MigrationError: This was the last try.
    """
    if tries in {1, LOCK_TRIES}:
        row = connection.execute(sql.READ_HOLDER).fetchone()
        holder = row[0] if row else "the session has ended meanwhile"
        reason = f"{str(failure).rstrip()}; {holder}"
        if tries == LOCK_TRIES:
            raise MigrationError(
                f"{reason}. Tried {tries} times, while jobs went on: end that transaction, then "
                "migrate again"
            ) from failure
        log.warning("%s. Tried again every %s s, while jobs go on", reason, PAUSE_SECONDS)


def _grant(connection: database.Connection, role: str | None) -> None:
    with connection.transaction():
        connection.execute(sql.KEEP_TO_THE_SCHEMA_OF_THE_TABLES)
        if role is not None:
            worker_role.remember(connection, role)
        worker_role.grant(connection)
        worker_role.revoke_from_outsiders(connection)


def _refuse_old_postgres(version: int) -> None:
    if version < OLDEST_POSTGRES:
        raise MigrationError(
            f"this is Postgres {version}, and stashjobs needs {OLDEST_POSTGRES} or newer; nothing "
            "was changed. Upgrade it, then migrate"
        )


def _apply_what_comes_next(
    connection: database.Connection,
    migrations: list[Migration],
    url: str,
    functions_folder: Path,
) -> tuple[list[str], MigrationError | None]:
    """Apply those that fit into one transaction, or the one concurrent file that comes first.
    An error is told, not raised, so that those before it are committed."""
    done: list[str] = []
    while True:
        with connection.transaction():
            connection.execute(sql.SET_TIMEOUTS, [_lock_timeout()])
            if connection.execute(sql.TRY_LOCK, [ADVISORY_LOCK]).fetchone() == (True,):
                connection.execute(sql.KEEP_TO_THE_SCHEMA_OF_THE_TABLES)
                try:
                    _prepare(connection)
                    for migration in _pending(connection, migrations):
                        if migration.concurrent and not _is_small(connection):
                            if not done:
                                _apply_concurrently(url, migration)
                                done.append(migration.name)
                            break
                        _apply(connection, migration)
                        done.append(migration.name)
                    else:
                        done += functions.renew(connection, functions_folder)
                except MigrationError as error:
                    return done, error
                return done, None
        time.sleep(POLL_SECONDS)


def _prepare(connection: database.Connection) -> None:
    """Make the table of what was applied; where it cannot be, nothing else can."""
    try:
        with connection.transaction():
            connection.execute(sql.RENAME_HISTORY.encode())
            connection.execute(sql.CREATE_HISTORY)
    except psycopg.Error as error:
        [schema] = connection.execute("SHOW search_path").fetchone() or ["public"]
        user = connection.info.user
        raise MigrationError(
            f"nothing was changed: {error.diag.message_primary or error}. Migrate where one may "
            f"write, as a role that may: GRANT USAGE, CREATE ON SCHEMA "
            f"{schema.partition(',')[0]} TO {user}; GRANT CREATE ON DATABASE "
            f"{connection.info.dbname} TO {user}"
        ) from error


def _is_small(connection: database.Connection) -> bool:
    row = connection.execute(sql.READ_BYTES).fetchone()
    return row is None or int(row[0]) <= SMALL_BYTES


def _pending(connection: database.Connection, migrations: list[Migration]) -> list[Migration]:
    applied: dict[str, str] = {}
    [history] = connection.execute(sql.FIND_HISTORY).fetchone() or [None]
    if history is not None:
        applied = dict(connection.execute(sql.READ_HISTORY.format(history).encode()).fetchall())
    by_name = {migration.name: migration for migration in migrations}
    for name, checksum in applied.items():
        if name not in by_name:
            raise MigrationError(
                f"{name} was applied to this database and is not on disk; "
                "deploy the version that has it, or a newer one"
            )
        if by_name[name].checksum != checksum:
            raise MigrationError(
                f"{name} was edited after it was applied; undo the edit and put the change "
                "into a new migration"
            )
    return [migration for migration in migrations if migration.name not in applied]


def _lock_timeout() -> str:
    return str(int(LOCK_SECONDS * 1000))


def _apply(connection: database.Connection, migration: Migration) -> None:
    try:
        with connection.transaction():
            connection.execute(migration.in_one_go.encode())
            connection.execute(sql.RECORD_APPLIED, [migration.name, migration.checksum])
    except psycopg.Error as error:
        raise MigrationError(f"{migration.name} failed and was undone: {error}") from error


def _apply_concurrently(url: str, migration: Migration) -> None:
    """Over a connection of its own, while the caller's transaction holds the lock."""
    try:
        with database.connect(
            url, statement_timeout_seconds=0, lock_timeout_seconds=0
        ) as connection:
            for statement in migration.statements:
                _apply_statement(connection, statement)
            connection.execute(sql.RECORD_APPLIED, [migration.name, migration.checksum])
    except psycopg.Error as error:
        raise MigrationError(
            f"{migration.name} was interrupted half-way; migrate again to go on, and give it "
            f"Postgres's own URL where a pooler or the role sets a statement_timeout: {error}"
        ) from error


def _apply_statement(connection: database.Connection, statement: str) -> None:
    if _CONCURRENTLY.search(statement):
        connection.execute(statement.encode())  # waits beside the jobs, however long that takes
        return
    for tries in itertools.count(1):
        try:
            with connection.transaction():
                connection.execute(sql.SET_TIMEOUTS, [_lock_timeout()])
                connection.execute(sql.KEEP_TO_THE_SCHEMA_OF_THE_TABLES)
                connection.execute(statement.encode())
        except IN_THE_WAY as error:
            _note_who_is_in_the_way(connection, tries, error)
            time.sleep(PAUSE_SECONDS)
        else:
            return
