"""Forward-only migrations: numbered SQL files, each applied once, in order.

`schema_migrations` keeps the checksum of each file that was applied, so that an edit of one that
is already in a database is an error and not a surprise.

A file that says CONCURRENTLY or VALIDATE CONSTRAINT changes the table while jobs go on. The first
takes no part in a transaction, the second would hold the locks of the statements before it; so the
file is applied statement by statement, and each must be safe to repeat: what was interrupted is
begun again. Where the tables are small nobody would wait for long; there the word CONCURRENTLY is
left out, and the file is applied like any other.

The database's functions come last, in the transaction of the last file (`functions`).
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from pathlib import Path

from stashjobs.errors import MigrationError
from stashjobs.store import database
from stashjobs.store.migrations import functions, worker_role

FOLDER = Path(__file__).parent
# Any constant will do, as long as every version of stashjobs takes the same one.
ADVISORY_LOCK = 7_829_174_600_134
POLL_SECONDS = 0.1
# The oldest major version of Postgres that runs every statement of stashjobs.
OLDEST_POSTGRES = 15
# An index of so much is built within a second.
SMALL_BYTES = 64 * 2**20

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")
_CONCURRENTLY = re.compile(r"\bCONCURRENTLY\b")
# What does not take effect beside jobs that go on unless it is in no transaction with the rest.
_CONCURRENT = re.compile(r"\bCONCURRENTLY\b|\bVALIDATE CONSTRAINT\b")

CREATE_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name        text PRIMARY KEY,
    checksum    text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
)
"""
# Also where the role has timeouts of its own.
WAIT_AS_LONG_AS_IT_TAKES = """
SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true),
       set_config('idle_in_transaction_session_timeout', '0', true)
"""
# Never waits within a statement: a waiting statement has a snapshot, and CREATE INDEX CONCURRENTLY
# waits for all older snapshots, while they would wait for it.
TRY_LOCK = "SELECT pg_try_advisory_xact_lock(%s)"
# The tables' schema. A role of the name stashjobs finds the schema of the functions before it
# (Postgres docs, "The Schema Search Path"), and no table belongs there.
KEEP_TO_THE_SCHEMA_OF_THE_TABLES = """
SELECT set_config('search_path', quote_ident(coalesce(
    (SELECT nspname FROM pg_class JOIN pg_namespace AS schema ON schema.oid = relnamespace
      WHERE pg_class.oid = to_regclass('schema_migrations')),
    (SELECT name FROM unnest(current_schemas(false)) WITH ORDINALITY AS path (name, place)
      WHERE name <> 'stashjobs' ORDER BY place LIMIT 1),
    'public')) || ', pg_temp', true)
"""
READ_BYTES = """
SELECT coalesce(max(pg_table_size(oid)), 0) FROM pg_class
 WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace
"""
HISTORY_EXISTS = "SELECT to_regclass('schema_migrations') IS NOT NULL"
READ_HISTORY = "SELECT name, checksum FROM schema_migrations ORDER BY name"
RECORD_APPLIED = "INSERT INTO schema_migrations (name, checksum) VALUES (%s, %s)"


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
    sql: Path | None = None,
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
        sql: Where the functions' files are; None is `sql` beside `folder`.

    Returns:
        The names of the files that were (or would be) applied, and then of the functions.

    Raises:
        MigrationError: There is no such role. Or Postgres is too old, or an applied file was
            edited or is missing: nothing is changed. Or a file fails; those before it stay applied.
        psycopg.OperationalError: Postgres cannot be reached.
    """
    migrations = available(folder)
    sql = sql or folder.parent / "sql"
    applied: list[str] = []
    with database.connect(url) as connection:
        _refuse_old_postgres(connection.info.server_version // 10_000)
        if dry_run:
            pending = [migration.name for migration in _pending(connection, migrations)]
            return pending + functions.difference(connection, sql).told
        while True:
            names, failure = _apply_what_comes_next(connection, migrations, url, sql)
            applied += names
            if failure is not None:
                raise failure
            if not names:
                _grant(connection, role)
                return applied


def _grant(connection: database.Connection, role: str | None) -> None:
    with connection.transaction():
        connection.execute(KEEP_TO_THE_SCHEMA_OF_THE_TABLES)
        if role is not None:
            worker_role.remember(connection, role)
        worker_role.grant(connection)


def _refuse_old_postgres(version: int) -> None:
    if version < OLDEST_POSTGRES:
        raise MigrationError(
            f"this is Postgres {version}, and stashjobs needs {OLDEST_POSTGRES} or newer; nothing "
            "was changed. Upgrade it, then migrate"
        )


def _apply_what_comes_next(
    connection: database.Connection, migrations: list[Migration], url: str, sql: Path
) -> tuple[list[str], MigrationError | None]:
    """Apply those that fit into one transaction, or the one concurrent file that comes first.
    An error is told, not raised, so that those before it are committed."""
    done: list[str] = []
    while True:
        with connection.transaction():
            connection.execute(WAIT_AS_LONG_AS_IT_TAKES)
            if connection.execute(TRY_LOCK, [ADVISORY_LOCK]).fetchone() == (True,):
                connection.execute(KEEP_TO_THE_SCHEMA_OF_THE_TABLES)
                connection.execute(CREATE_HISTORY)
                try:
                    for migration in _pending(connection, migrations):
                        if migration.concurrent and not _is_small(connection):
                            if not done:
                                _apply_concurrently(url, migration)
                                done.append(migration.name)
                            break
                        _apply(connection, migration)
                        done.append(migration.name)
                    else:
                        done += functions.renew(connection, sql)
                except MigrationError as error:
                    return done, error
                return done, None
        time.sleep(POLL_SECONDS)


def _is_small(connection: database.Connection) -> bool:
    row = connection.execute(READ_BYTES).fetchone()
    return row is None or int(row[0]) <= SMALL_BYTES


def _pending(connection: database.Connection, migrations: list[Migration]) -> list[Migration]:
    applied: dict[str, str] = {}
    exists = connection.execute(HISTORY_EXISTS).fetchone()
    if exists is not None and exists[0]:
        applied = dict(connection.execute(READ_HISTORY).fetchall())
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


def _apply(connection: database.Connection, migration: Migration) -> None:
    import psycopg

    try:
        with connection.transaction():
            connection.execute(migration.in_one_go.encode())
            connection.execute(RECORD_APPLIED, [migration.name, migration.checksum])
    except psycopg.Error as error:
        raise MigrationError(f"{migration.name} failed and was undone: {error}") from error


def _apply_concurrently(url: str, migration: Migration) -> None:
    """Over a connection of its own, while the caller's transaction holds the lock."""
    import psycopg

    try:
        with database.connect(
            url, statement_timeout_seconds=0, lock_timeout_seconds=0
        ) as connection:
            for statement in migration.statements:
                connection.execute(statement.encode())
            connection.execute(RECORD_APPLIED, [migration.name, migration.checksum])
    except psycopg.Error as error:
        raise MigrationError(
            f"{migration.name} was interrupted half-way; migrate again to go on, and give it "
            f"Postgres's own URL where a pooler or the role sets a statement_timeout: {error}"
        ) from error
