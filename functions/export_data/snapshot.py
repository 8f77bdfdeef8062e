"""The rows of an export: one snapshot, read through a server-side cursor, so that a million rows
are never in memory at once."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from psycopg import IsolationLevel
from psycopg.sql import SQL, Composed, Identifier

from functions.export_data import sql
from functions.export_data.entities import ENTITIES, Column
from stashjobs.config import settings
from stashjobs.store import database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from functions.export_data.models import Export

ROWS_AT_ONCE = 2_000


class Snapshot:
    """The rows that an export asks for, as they were when it began."""

    def __init__(self, connection: database.Connection, export: Export) -> None:
        entity = ENTITIES[export.entity]
        self._connection = connection
        self._parameters = list(export.filters.values())
        chosen = [SQL(entity.filters[name].condition) for name in export.filters]
        source = {
            "table": Identifier(entity.table),
            "conditions": SQL(" AND ").join([SQL("true"), *chosen]),
        }
        names = export.chosen_columns
        as_json = export.format == "jsonl"
        columns = [_selected(name, entity.columns[name], as_json=as_json) for name in names]
        rows = sql.READ_ROWS.format(
            columns=SQL(", ").join(columns), order=SQL(entity.order), **source
        )
        self._count = sql.COUNT_ROWS.format(**source)
        self._rows = sql.READ_JSON_LINES.format(rows=rows) if as_json else rows

    def count(self) -> int:
        """How many rows there are."""
        found = self._connection.execute(self._count, self._parameters).fetchone()
        return 0 if found is None else int(found[0])

    def batches(self) -> Iterator[list[tuple[Any, ...]]]:
        """All rows, `ROWS_AT_ONCE` at a time. For JSON Lines a row is one text."""
        with self._connection.cursor(name="export") as cursor:
            cursor.execute(self._rows, self._parameters)
            while rows := cursor.fetchmany(ROWS_AT_ONCE):
                yield rows


@contextmanager
def snapshot(export: Export, seconds: float) -> Iterator[Snapshot]:
    """Open a connection of the export's own, at `POSTGRES_READ_URL` where that is set: the cursor
    needs a transaction that lasts, and the worker's connection shows the progress meanwhile.

    Args:
        export: What to read.
        seconds: How long one statement may take.

    Raises:
        psycopg.OperationalError: Postgres cannot be reached.
    """
    url = settings.optional("POSTGRES_READ_URL") or settings.postgres_url()
    with database.connect(url, statement_timeout_seconds=seconds) as connection:
        connection.isolation_level = IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        with connection.transaction():
            connection.execute(sql.SET_TIMES_IN_UTC)
            yield Snapshot(connection, export)


def _selected(name: str, column: Column, *, as_json: bool) -> Composed:
    # JSON that goes into a cell stays the text that it is: no need to take it apart here.
    cast = SQL("::text" if column.kind == "json" and not as_json else "")
    return SQL("({}){} AS {}").format(SQL(column.expression), cast, Identifier(name))
