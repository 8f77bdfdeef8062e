"""The process's one connection to Postgres.

A warm Lambda handles one delivery at a time, so it needs one connection: opened at the first
delivery, kept while the server keeps it, and opened anew when the server dropped it or
`POSTGRES_URL` was rotated.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import TransactionStatus

from stashjobs import settings

Connection = psycopg.Connection[Any]

CONNECT_TIMEOUT_SECONDS = 2
CANCEL_TIMEOUT_SECONDS = 1.0
STATEMENT_TIMEOUT_SECONDS = 30.0
LOCK_TIMEOUT_SECONDS = 5.0

_lock = threading.RLock()
_current: tuple[Connection, str, int] | None = None  # connection, its URL, the process it is of


def connection() -> Connection:
    """The connection, in autocommit mode, ready for the next statement.

    Raises:
        SettingError: `POSTGRES_URL` is missing or malformed.
        psycopg.OperationalError: Postgres cannot be reached.
    """
    global _current  # noqa: PLW0603 - this module is the connection's one owner
    with _lock:
        url = settings.postgres_url()
        if _current is not None:
            existing, its_url, its_process = _current
            if its_process != os.getpid():
                _current = None  # a fork's copy of the socket is the parent's to close
            elif its_url == url and not is_dropped(existing):
                return existing
            else:
                close()
        opened = connect(url)
        _current = (opened, url, os.getpid())
        return opened


def connect(
    url: str,
    *,
    statement_timeout_seconds: float = STATEMENT_TIMEOUT_SECONDS,
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
) -> Connection:
    """A new connection in autocommit mode: each statement is its own transaction and one round
    trip. Prepared statements are off, since PgBouncer in transaction mode may give every statement
    another server connection.

    Args:
        url: A Postgres URL.
        statement_timeout_seconds: The server gives up on a statement after this; 0 is never.
        lock_timeout_seconds: The server gives up waiting for a lock after this; 0 is never.

    Raises:
        psycopg.OperationalError: Postgres cannot be reached.
    """
    timeouts = (
        f"-c statement_timeout={int(statement_timeout_seconds * 1000)} "
        f"-c lock_timeout={int(lock_timeout_seconds * 1000)}"
    )
    options = str(conninfo_to_dict(url).get("options") or "")
    return psycopg.connect(
        url,
        autocommit=True,
        prepare_threshold=None,
        connect_timeout=CONNECT_TIMEOUT_SECONDS,
        options=f"{timeouts} {options}".strip(),  # what the URL asks for comes last, so it wins
        application_name="stashjobs",
        keepalives_idle=30,
    )


def close() -> None:
    """Close the connection, if there is one. The next use opens a new one."""
    global _current  # noqa: PLW0603
    with _lock:
        if _current is not None:
            existing = _current[0]
            if existing.pgconn.transaction_status == TransactionStatus.ACTIVE:
                # Closing alone does not end the statement, and its locks would be in the way of
                # the next attempt.
                with contextlib.suppress(psycopg.Error):
                    existing.cancel_safe(timeout=CANCEL_TIMEOUT_SECONDS)
            existing.close()
            _current = None


def is_dropped(existing: Connection) -> bool:
    """True when the connection cannot be used any more. Costs no round trip: on an idle
    connection the server says nothing, so a readable socket means that it hung up."""
    if existing.closed or existing.broken:
        return True
    status = existing.pgconn.transaction_status
    if status == TransactionStatus.ACTIVE:
        return True  # a statement was interrupted half-way, by a deadline; its answer may yet come
    if status != TransactionStatus.IDLE:
        return False
    poll = select.poll()
    poll.register(existing.fileno(), select.POLLIN)
    return bool(poll.poll(0))
