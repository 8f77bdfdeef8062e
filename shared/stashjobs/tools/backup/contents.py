"""What a database holds, small enough to compare: rows and a checksum per table, and what else is
there by its name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from psycopg import sql

if TYPE_CHECKING:
    from stashjobs.store.database import Connection

# How values are written is the session's to say; both sessions say the same.
WRITE_ALIKE = """
SELECT set_config('timezone', 'UTC', true), set_config('datestyle', 'ISO, YMD', true),
       set_config('intervalstyle', 'iso_8601', true), set_config('bytea_output', 'hex', true),
       set_config('extra_float_digits', '1', true)
"""
_OURS = """
nspname NOT LIKE 'pg\\_%' AND nspname <> 'information_schema'
   AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
"""
READ_TABLES = f"""
SELECT nspname, relname FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
 WHERE relkind = 'r' AND {_OURS}
 ORDER BY nspname, relname
"""  # noqa: S608 - put together from constants
READ_OBJECTS = f"""
SELECT 'index ' || nspname || '.' || relname FROM pg_class
  JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE relkind = 'i' AND {_OURS}
UNION ALL
SELECT 'sequence ' || nspname || '.' || relname FROM pg_class
  JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE relkind = 'S' AND {_OURS}
UNION ALL
SELECT 'trigger ' || tgname || ' of ' || nspname || '.' || relname FROM pg_trigger
  JOIN pg_class ON pg_class.oid = tgrelid
  JOIN pg_namespace ON pg_namespace.oid = relnamespace WHERE NOT tgisinternal AND {_OURS}
"""  # noqa: S608
# The sum of the rows' hashes does not depend on their order, and counts a doubled row twice.
READ_ROWS = """
SELECT count(*), coalesce(sum(hashtextextended(whole::text, 0)::numeric), 0)::text
  FROM ONLY {} AS whole
"""


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
    connection.execute(WRITE_ALIKE)
    tables = {}
    for schema, name in connection.execute(READ_TABLES).fetchall():
        statement = sql.SQL(READ_ROWS).format(sql.Identifier(schema, name))
        rows, checksum = connection.execute(statement).fetchone() or (0, "0")
        tables[f"{schema}.{name}"] = Table(rows, checksum)
    objects = frozenset(name for (name,) in connection.execute(READ_OBJECTS))
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
