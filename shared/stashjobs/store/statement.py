"""A statement that a warm Lambda repeats with every delivery.

There are three of them, and they are most of what a delivery does. So they do without psycopg's
cursor, which costs the process as much again as libpq does, and which everything else here uses:
where a connection is in its usual state they are sent and waited for by what the cursor is made of.
And the server is made to keep their plans, since most of what such a statement costs it is to be
planned.

Plans are kept once the connection has proven to be used again, to lead to the server itself (a
pooler may give every transaction another session, whose prepared statements are not ours), and to a
table of a size whose plans stay good.
"""

from __future__ import annotations

import hashlib
import re
import weakref
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg import generators
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus, PipelineStatus, TransactionStatus
from psycopg.rows import tuple_row

from stashjobs.observability import tracing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stashjobs.store.database import Connection

# Whether plans may be kept is asked of a connection that was used so often, and, while the table is
# small, at each power of two.
USES_BEFORE_ASKING = 4
# A plan that is kept for a table as small as this may read all of it, and is not made anew until
# the table was analyzed. Of a larger one Postgres reads an index, however large it grows.
KEEPING_FROM_BYTES = 1_000_000
SESSION_AND_TABLE = b"SELECT pg_backend_pid(), pg_relation_size('job_executions')"
# FeatureNotSupported: a migration changed the type of a column. InvalidSqlStatementName: the job's
# own code undid the preparing. In both cases the statement has not run.
PLAN_LOST = frozenset({"0A000", "26000"})

_PARAMETER = re.compile(r"%\((\w+)\)s|%%")

Row = tuple[Any, ...]
_READY = frozenset({TransactionStatus.IDLE, TransactionStatus.INTRANS})


class _Session:
    """What is known of one connection."""

    def __init__(self) -> None:
        self.uses = 0
        self.keeps_plans: bool | None = None  # None: not known yet
        self.prepared: set[bytes] = set()


_sessions: weakref.WeakKeyDictionary[Connection, _Session] = weakref.WeakKeyDictionary()


class Statement:
    """One statement with named parameters, as psycopg writes them (`%(job_id)s`).

    Args:
        name: Of the plan that the server keeps; a digest of the text is added to it.
        text: The statement. Each parameter needs a context from which Postgres can tell its type.
    """

    def __init__(self, name: str, text: str) -> None:
        self.text = text.encode()
        digest = hashlib.sha256(self.text).hexdigest()[:12]
        self._name = f"stashjobs_{name}_{digest}".encode()
        self._names = tuple(filter(None, dict.fromkeys(_PARAMETER.findall(text))))
        numbers = {each: f"${number}" for number, each in enumerate(self._names, 1)}
        self._numbered = _PARAMETER.sub(lambda it: numbers[it[1]] if it[1] else "%", text).encode()
        self._texts = [PyFormat.TEXT] * len(self._names)

    def fetch_one(self, connection: Connection, parameters: Mapping[str, Any]) -> Row | None:
        """Execute it. Returns its first row, None where there is none.

        Raises:
            psycopg.Error: As `connection.execute` would.
        """
        if connection.cursor_factory is not tracing.TracedCursor:
            return self._fetch_one(connection, parameters)
        with tracing.statement(self.text):
            return self._fetch_one(connection, parameters)

    def _fetch_one(self, connection: Connection, parameters: Mapping[str, Any]) -> Row | None:
        if not _is_as_usual(connection):
            return self._by_cursor(connection, parameters)
        session = _session_of(connection)
        if connection.pgconn.transaction_status == TransactionStatus.IDLE:
            self._have_plan_kept(connection, session)
        kept = session.keeps_plans and self._name in session.prepared
        transformer = Transformer(connection)
        values = transformer.dump_sequence([parameters[name] for name in self._names], self._texts)
        with connection.lock:
            if kept:
                connection.pgconn.send_query_prepared(self._name, values)
            else:
                connection.pgconn.send_query_params(self._numbered, values, transformer.types)
            result = connection.wait(generators.execute(connection.pgconn))[-1]
        if result.status != ExecStatus.TUPLES_OK:
            error = psycopg.errors.error_from_result(result, encoding=connection.info.encoding)
            if not kept or error.sqlstate not in PLAN_LOST:
                raise error
            return self._without_plans(error, connection, session, parameters)
        if not result.ntuples:
            return None
        transformer.set_pgresult(result)
        return transformer.load_row(0, tuple)

    def _have_plan_kept(self, connection: Connection, session: _Session) -> None:
        """Where that is possible; a few times in the life of a connection it costs a round trip."""
        if session.keeps_plans is None:
            session.uses += 1
            if session.uses >= USES_BEFORE_ASKING and session.uses.bit_count() == 1:
                [answer] = _cursor(connection).execute(SESSION_AND_TABLE).fetchall()
                session.keeps_plans = _may_keep_plans(connection, *answer)
        if session.keeps_plans and self._name not in session.prepared:
            try:
                _cursor(connection).execute(b"PREPARE %b AS %b" % (self._name, self._numbered))
            except psycopg.errors.DuplicatePreparedStatement:  # somebody else's, whatever it is
                session.keeps_plans = False
            else:
                session.prepared.add(self._name)

    def _without_plans(
        self,
        error: psycopg.Error,
        connection: Connection,
        session: _Session,
        parameters: Mapping[str, Any],
    ) -> Row | None:
        """After an error that says that the statement has not run. Once is enough: what undid one
        plan may undo the next."""
        session.keeps_plans = False
        if connection.pgconn.transaction_status != TransactionStatus.IDLE:
            raise error
        return self._by_cursor(connection, parameters)

    def _by_cursor(self, connection: Connection, parameters: Mapping[str, Any]) -> Row | None:
        return _cursor(connection).execute(self.text, parameters).fetchone()


def _is_as_usual(connection: Connection) -> bool:
    """Whether there is nothing that a cursor would have to see to: a transaction to begin, results
    that are to come, a connection that is gone."""
    return (
        connection.autocommit
        and connection.pgconn.pipeline_status == PipelineStatus.OFF
        and connection.pgconn.transaction_status in _READY
    )


def _cursor(connection: Connection) -> psycopg.Cursor[Row]:
    """One of psycopg's own, whatever the job has made of the connection's."""
    return psycopg.Cursor(connection, row_factory=tuple_row)


def _session_of(connection: Connection) -> _Session:
    known = _sessions.get(connection)
    if known is None:
        known = _sessions[connection] = _Session()
    return known


def _may_keep_plans(connection: Connection, process: int, table_bytes: int) -> bool | None:
    """Whether they may be kept; None: not yet. A pooler hands out process ids of its own, since it
    has to know for which of its clients a statement is to be cancelled (PostgreSQL docs, "Canceling
    Requests in Progress")."""
    if process != connection.info.backend_pid:
        return False
    return True if table_bytes >= KEEPING_FROM_BYTES else None
