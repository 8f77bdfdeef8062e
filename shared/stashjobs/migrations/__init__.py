"""Forward-only migrations: numbered SQL files, each applied once, in order.

`schema_migrations` keeps the checksum of each file that was applied, so that an edit of one that
is already in a database is an error and not a surprise.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from stashjobs import database
from stashjobs.errors import MigrationError

FOLDER = Path(__file__).parent
# Any constant will do, as long as every version of stashjobs takes the same one.
ADVISORY_LOCK = 7_829_174_600_134

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9_]+\.sql")

CREATE_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name        text PRIMARY KEY,
    checksum    text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT now()
)
"""
# Also where the role has timeouts of its own.
WAIT_AS_LONG_AS_IT_TAKES = """
SELECT set_config('statement_timeout', '0', true), set_config('lock_timeout', '0', true)
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


def migrate(url: str, *, dry_run: bool = False, folder: Path = FOLDER) -> list[str]:
    """Apply the migrations that this database lacks, in one transaction; a file that fails is
    undone alone.

    Safe to run twice at once: the second waits for the first and finds nothing to do. Safe through
    a pooler in transaction mode too, since lock and timeouts are the transaction's.

    Args:
        url: The database.
        dry_run: Only tell what would be applied.
        folder: Where the files are.

    Returns:
        The names of the files that were (or would be) applied.

    Raises:
        MigrationError: An applied file was edited or is missing, or a file fails; those before it
            stay applied.
        psycopg.OperationalError: Postgres cannot be reached.
    """
    migrations = available(folder)
    with database.connect(url) as connection:
        if dry_run:
            return [migration.name for migration in _pending(connection, migrations)]
        failure: MigrationError | None = None
        with connection.transaction():
            connection.execute(WAIT_AS_LONG_AS_IT_TAKES)
            connection.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
            connection.execute(CREATE_HISTORY)
            pending = _pending(connection, migrations)
            try:
                for migration in pending:
                    _apply(connection, migration)
            except MigrationError as error:
                failure = error  # raised after the commit of those before it
        if failure is not None:
            raise failure
        return [migration.name for migration in pending]


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
            connection.execute(migration.sql.encode())
            connection.execute(RECORD_APPLIED, [migration.name, migration.checksum])
    except psycopg.Error as error:
        raise MigrationError(f"{migration.name} failed and was undone: {error}") from error
