"""A statement that a warm Lambda repeats with every delivery.

There are three of them, and they are most of what a delivery does. So they go straight to libpq:
psycopg's cursor would cost the process as much again as libpq does, and it is what everything else
here uses. And the server is made to keep their plans, since most of what such a statement costs it
is to be planned.

Plans are kept once the connection has proven to be used again, to lead to the server itself (a
pooler may give every transaction another session, whose prepared statements are not ours), and to a
table of a size whose plans stay good.
"""

from __future__ import annotations

import re
import weakref
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ConnStatus, DiagnosticField, ExecStatus, TransactionStatus

from stashjobs import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from psycopg.pq.abc import PGresult

    from stashjobs.database import Connection

# Whether plans may be kept is asked of a connection that was used so often, and then at each power
# of two, together with the statement itself: in the same round trip.
USES_BEFORE_ASKING = 4
# A plan that is kept for a table as small as this may read all of it, and is not made anew until
# the table was analyzed. Of a larger one Postgres reads an index, however large it grows.
KEEPING_FROM_BYTES = 1_000_000
SESSION_AND_TABLE = b"SELECT pg_backend_pid(), pg_relation_size('job_executions')"
# FeatureNotSupported: a migration changed the type of a column. InvalidSqlStatementName: the job's
# own code undid the preparing. In both cases the statement has not run.
PLAN_LOST = frozenset({"0A000", "26000"})

_PARAMETER = re.compile(r"%\((\w+)\)s|%%")

Row = TypeVar("Row")


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
        name: Of the plan that the server keeps.
        text: The statement. Each parameter needs a context from which Postgres can tell its type.
    """

    def __init__(self, name: str, text: str) -> None:
        self.text = text.encode()
        self._name = f"stashjobs_{name}".encode()
        self._names = tuple(filter(None, dict.fromkeys(_PARAMETER.findall(text))))
        numbers = {each: f"${number}" for number, each in enumerate(self._names, 1)}
        self._numbered = _PARAMETER.sub(lambda it: numbers[it[1]] if it[1] else "%", text).encode()
        self._texts = [PyFormat.TEXT] * len(self._names)

    def fetch_one(
        self,
        connection: Connection,
        parameters: Mapping[str, Any],
        make: Callable[[Sequence[Any]], Row],
    ) -> Row | None:
        """Execute it, and make something of its first row. None: there is no row.

        Raises:
            psycopg.Error: As `connection.execute` would.
        """
        session = _session_of(connection)
        along = self._to_be_sent_along(session)
        if along is not None:
            return self._execute_with(along, connection, session, parameters, make)
        transformer = Transformer(connection)
        values = transformer.dump_sequence([parameters[name] for name in self._names], self._texts)
        if connection.cursor_factory is tracing.TracedCursor:
            with tracing.statement(self.text):
                result = self._execute(connection, session, values, transformer.types)
        else:
            result = self._execute(connection, session, values, transformer.types)
        if not result.ntuples:
            return None
        transformer.set_pgresult(result)
        return transformer.load_row(0, make)

    def _execute(
        self, connection: Connection, session: _Session, values: Any, types: Any
    ) -> PGresult:
        pgconn = connection.pgconn
        if session.keeps_plans:
            result = pgconn.exec_prepared(self._name, values)
            if _sqlstate(result) in PLAN_LOST:
                # Once is enough: what undid one plan may undo the next.
                session.keeps_plans = False
                if pgconn.transaction_status == TransactionStatus.IDLE:
                    return self._execute(connection, session, values, types)
        else:
            result = pgconn.exec_params(self._numbered, values, types)
        if result.status != ExecStatus.TUPLES_OK:
            raise _error(connection, result)
        return result

    def _to_be_sent_along(self, session: _Session) -> bytes | None:
        """What is to be learnt or prepared in the round trip of this execution."""
        if session.keeps_plans is None:
            session.uses += 1
            if session.uses >= USES_BEFORE_ASKING and session.uses.bit_count() == 1:
                return SESSION_AND_TABLE
        elif session.keeps_plans and self._name not in session.prepared:
            return b"PREPARE %b AS %b" % (self._name, self._numbered)
        return None

    def _execute_with(
        self,
        along: bytes,
        connection: Connection,
        session: _Session,
        parameters: Mapping[str, Any],
        make: Callable[[Sequence[Any]], Row],
    ) -> Row | None:
        session.prepared.add(self._name)  # PREPARE outlasts a transaction that fails
        with connection.pipeline():
            first = connection.execute(along)
            cursor = connection.execute(self.text, parameters)
        if along is SESSION_AND_TABLE:
            session.prepared.clear()
            session.keeps_plans = _may_keep_plans(connection, first.fetchone()) or None
        row = cursor.fetchone()
        return None if row is None else make(row)


def _session_of(connection: Connection) -> _Session:
    known = _sessions.get(connection)
    if known is None:
        known = _sessions[connection] = _Session()
    return known


def _may_keep_plans(connection: Connection, answer: Any) -> bool:
    """A pooler hands out process ids of its own, since it has to know for which of its clients a
    statement is to be cancelled (PostgreSQL docs, "Canceling Requests in Progress")."""
    process, size = answer
    return bool(process == connection.info.backend_pid and size >= KEEPING_FROM_BYTES)


def _sqlstate(result: PGresult) -> str | None:
    if result.status == ExecStatus.TUPLES_OK:
        return None
    state = result.error_field(DiagnosticField.SQLSTATE)
    return None if state is None else bytes(state).decode()


def _error(connection: Connection, result: PGresult) -> psycopg.Error:
    if connection.pgconn.status == ConnStatus.BAD and _sqlstate(result) is None:
        return psycopg.OperationalError(result.get_error_message())
    return psycopg.errors.error_from_result(result, encoding=connection.info.encoding)
