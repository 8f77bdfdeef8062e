"""What a database holds, small enough to compare: rows and a checksum per table, and what else is
there by its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg.sql import SQL, Identifier

from stashjobs.tools.backup import sql

if TYPE_CHECKING:
    from stashjobs.store.database import Connection


@dataclass(frozen=True, slots=True)
class Table:
    """How many rows, and the sum of their hashes."""

    rows: int
    checksum: str


@dataclass(frozen=True, slots=True)
class Contents:
    """All tables by name, and the names of indexes, sequences and triggers."""

    tables: dict[str, Table]
    objects: frozenset[str]


def read(connection: Connection) -> Contents:
    """What is there. The connection must be in a transaction that sees one moment."""
    connection.execute(sql.WRITE_ALIKE)
    tables = {}
    for schema, name in connection.execute(sql.READ_TABLES).fetchall():
        statement = SQL(sql.READ_ROWS).format(Identifier(schema, name))
        rows, checksum = connection.execute(statement).fetchone() or (0, "0")
        tables[f"{schema}.{name}"] = Table(rows, checksum)
    objects = frozenset(name for (name,) in connection.execute(sql.READ_OBJECTS))
    return Contents(tables, objects)


def differences(original: Contents, restored: Contents) -> list[str]:
    """What the restored one has otherwise, a line each; no row's content is shown."""
    told = []
    for name in sorted(original.tables.keys() | restored.tables.keys()):
        before, after = original.tables.get(name), restored.tables.get(name)
        if before is None or after is None:
            told.append(f"{name} is {'new' if before is None else 'missing'}")
        elif before.rows != after.rows:
            told.append(f"{name} has {after.rows} rows, not {before.rows}")
        elif before != after:
            told.append(f"{name} has other content in its {after.rows} rows")
    told += [f"{name} is missing" for name in sorted(original.objects - restored.objects)]
    told += [f"{name} is new" for name in sorted(restored.objects - original.objects)]
    return told
