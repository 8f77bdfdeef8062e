"""The lifecycle's functions in the schema `stashjobs` of the database, each a file of `store/sql`
with its name.

They are repeatable, where migrations are not: a function whose file changed is created anew, and
one without a file is dropped. `schema_functions` keeps the checksum of each file, and of what
Postgres made of it, so that a function changed outside `migrate` is noticed too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stashjobs.errors import MigrationError
from stashjobs.store.migrations import sql

if TYPE_CHECKING:
    from stashjobs.store.database import Connection

FOLDER = Path(__file__).parent.parent / "sql"


@dataclass(frozen=True, slots=True)
class Function:
    """One file. `checksum` is the SHA-256 of its text, in hex."""

    name: str
    sql: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def available(folder: Path = FOLDER) -> list[Function]:
    """The functions on disk, by name; none where the folder is not there."""
    files = sorted(folder.glob("*.sql"))
    return [Function(file.stem, file.read_text(encoding="utf-8")) for file in files]


@dataclass(frozen=True, slots=True)
class Difference:
    """How the database's functions differ from the files: which are to be created or replaced, and
    the names of those to be dropped."""

    create: list[Function]
    drop: list[str]

    @property
    def told(self) -> list[str]:
        """Each as `migrate` tells it: `function claim`, `function old (dropped)`."""
        return [f"function {each.name}" for each in self.create] + [
            f"function {name} (dropped)" for name in self.drop
        ]


def difference(connection: Connection, folder: Path = FOLDER) -> Difference:
    """Compare the database with the files. Changes nothing."""
    known: dict[str, tuple[str, bool]] = {}
    if connection.execute(sql.FUNCTIONS_EXIST).fetchone() == (True,):
        rows = connection.execute(sql.READ_FUNCTIONS).fetchall()
        known = {name: (checksum, is_ours) for name, checksum, is_ours in rows}
    functions = available(folder)
    return Difference(
        create=[each for each in functions if known.get(each.name) != (each.checksum, True)],
        drop=sorted(known.keys() - {each.name for each in functions}),
    )


def renew(connection: Connection, folder: Path = FOLDER) -> list[str]:
    """Bring the database's functions to what the files say, within the caller's transaction.

    Returns:
        What was done, as `Difference.told`.

    Raises:
        MigrationError: One cannot be created or dropped. None of them was.
    """
    import psycopg

    found = difference(connection, folder)
    if not found.told:
        return []
    name = "the schema stashjobs"
    try:
        with connection.transaction():
            if connection.execute(sql.SCHEMA_EXISTS).fetchone() != (True,):
                connection.execute(sql.CREATE_SCHEMA)
            connection.execute(sql.CREATE_FUNCTIONS)
            for name in found.drop:
                _drop(connection, _signatures(connection, name))
                connection.execute(sql.FORGET_FUNCTION, [name])
            for each in found.create:
                name = each.name
                _create(connection, each)
    except psycopg.Error as error:
        raise MigrationError(
            f"{name}: the database's functions could not be renewed, and are as before: {error}"
        ) from error
    return found.told


def _create(connection: Connection, function: Function) -> None:
    """Replaced where that is possible, so that calls that are under way find it; made anew where
    its arguments or its columns are others."""
    import psycopg

    before = _signatures(connection, function.name)
    try:
        with connection.transaction():
            connection.execute(function.sql.encode())
    except psycopg.errors.InvalidFunctionDefinition:
        _drop(connection, before)
        connection.execute(function.sql.encode())
    else:
        if _signatures(connection, function.name) != before:
            _drop(connection, before)
    connection.execute(sql.RECORD_FUNCTION, {"name": function.name, "checksum": function.checksum})


def _signatures(connection: Connection, name: str) -> list[str]:
    return sorted(each for (each,) in connection.execute(sql.READ_SIGNATURES, [name]))


def _drop(connection: Connection, signatures: list[str]) -> None:
    for signature in signatures:
        connection.execute(f"DROP FUNCTION {signature}".encode())
