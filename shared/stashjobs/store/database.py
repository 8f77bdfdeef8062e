"""Connections to Postgres: one per thread, or a pool for the processes that ask for one.

A warm Lambda handles one delivery at a time in one thread, so it has one connection: opened at the
first delivery, kept while the server keeps it, and opened anew when the server dropped it or
`POSTGRES_URL` was rotated. A web app has many threads; it calls `pool` once, and its enqueues
borrow from there.

Nothing here relies on what a session remembers between two transactions, so that PgBouncer in
transaction mode and its like may stand in between (docs/connections.md).
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import re
import select
import threading
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar
from urllib.parse import parse_qs

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Conninfo, TransactionStatus

from stashjobs.config import settings
from stashjobs.errors import SettingError
from stashjobs.observability import tracing
from stashjobs.store import authorities

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

    from psycopg_pool import ConnectionPool

Connection = psycopg.Connection[Any]

CONNECT_TIMEOUT_SECONDS = 2
# How long what was sent may remain unacknowledged by the peer, which may have vanished without a
# word while the Lambda was frozen.
PEER_TIMEOUT_SECONDS = 10
CANCEL_TIMEOUT_SECONDS = 1.0
STATEMENT_TIMEOUT_SECONDS = 30.0
LOCK_TIMEOUT_SECONDS = 5.0
# How long a delivery waits between its tries to claim, and to record, in seconds.
PAUSES = (0.1, 0.4, 1.0)

# The deployment guide's numbers ("Connection Pooling"), and at rest no connection at all.
POOL_MIN_CONNECTIONS = 0
POOL_MAX_CONNECTIONS = 20
POOL_IDLE_SECONDS = 30.0
POOL_TIMEOUT_SECONDS = 2.0

# What statements and what is read from their results rely on, whatever the role, the database, a
# pooler or the shell say. The first ones are reported by the server, so that a look costs nothing.
REPORTED = {"DateStyle": "ISO", "IntervalStyle": "postgres", "TimeZone": "UTC"}
RELIED_ON = {
    **REPORTED,
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
}
READ_OTHERS = """
SELECT name, setting FROM pg_settings
 WHERE name IN ('default_transaction_isolation', 'default_transaction_read_only')
   AND setting NOT IN ('read committed', 'off')
"""

# How a pooler says that it takes no `options`: PgBouncer, before 1.20 and since, and RDS Proxy.
_OPTIONS_REFUSED = re.compile(r"unsupported startup parameter|support command-line options")
MISSING_TIMEOUTS = """
SELECT name FROM unnest(ARRAY['statement_timeout', 'lock_timeout']) AS name
 WHERE current_setting(name) = '0'
"""

# What DISCARD ALL does (PostgreSQL docs), which no transaction and no other statement may be sent
# with; but for the plans, which are those of the layer's own functions.
RESET_SESSION = (
    "SET SESSION AUTHORIZATION DEFAULT; RESET ALL; DEALLOCATE ALL; CLOSE ALL; UNLISTEN *; "
    "SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES"
)

_UNREADABLE_URL = (
    "POSTGRES_URL cannot be read; in its user and password %, @ and / must be written %25, %40 and "
    "%2F"
)

log = logging.getLogger("stashjobs")

Kind = TypeVar("Kind")


class _Opened(NamedTuple, Generic[Kind]):
    """A connection or a pool, the URL it was opened with, and the process it is of: a fork's copy
    of a socket is the parent's to use and to close."""

    it: Kind
    url: str
    process: int

    @property
    def is_ours(self) -> bool:
        return self.process == os.getpid()


_by_thread: dict[threading.Thread, _Opened[Connection]] = {}
_pool: _Opened[ConnectionPool[_PooledConnection]] | None = None
_pool_lock = threading.Lock()
_refusing_options: set[str] = set()  # the URLs whose pooler does


def connection() -> Connection:
    """This thread's connection, in autocommit mode, ready for the next statement.

    Raises:
        SettingError: `POSTGRES_URL` is missing or malformed.
        psycopg.OperationalError: Postgres cannot be reached.
    """
    url = settings.postgres_url()
    existing = _by_thread.get(threading.current_thread())
    if existing is not None:
        it, usable = existing.it, existing.is_ours and existing.url == url
        # Had a job left it without autocommit, what is recorded would not be committed.
        if usable and it.autocommit and not is_dropped(it):
            return it
        close()
    _close_those_of_ended_threads()
    try:
        opened = connect(url)
    except psycopg.OperationalError:
        # The password may have been rotated, or the server moved, since the setting was read.
        tried = url
        if not settings.refresh() or (url := settings.postgres_url()) == tried:
            raise
        opened = connect(url)
    _by_thread[threading.current_thread()] = _Opened(opened, url, os.getpid())
    return opened


def has_pool() -> bool:
    """Whether this process has called `pool`."""
    return _pool is not None and _pool.is_ours


@contextlib.contextmanager
def borrowed() -> Iterator[Connection]:
    """A connection in autocommit mode that is in no transaction and in no other thread's
    hands: what is written through it is committed, whatever becomes of the caller's own work.

    It comes from the pool where the process has called `pool`; otherwise it is this thread's, or,
    while that one is in a transaction, one that is opened for the moment.

    Raises:
        SettingError: `POSTGRES_URL` is missing or malformed.
        psycopg.OperationalError: Postgres cannot be reached, or no connection of the pool became
            free within `POOL_TIMEOUT_SECONDS` (`psycopg_pool.PoolTimeout`).
    """
    if has_pool():
        with pool().connection() as pooled:
            yield pooled
        return
    own = connection()
    if own.pgconn.transaction_status == TransactionStatus.IDLE:
        yield own
        return
    with connect(settings.postgres_url()) as another:
        yield another


def connect(
    url: str,
    *,
    statement_timeout_seconds: float = STATEMENT_TIMEOUT_SECONDS,
    lock_timeout_seconds: float = LOCK_TIMEOUT_SECONDS,
) -> Connection:
    """A new connection in autocommit mode: each statement is its own transaction and one round
    trip. Prepared statements are off, since PgBouncer in transaction mode may give every statement
    another server connection.

    Timeouts and what else statements rely on travel as startup options. Where a pooler refuses
    those, the connection is made without them; then the role's own settings hold, and where it has
    no timeout a warning says so.

    Args:
        url: A Postgres URL.
        statement_timeout_seconds: The server gives up on a statement after this; 0 is never.
        lock_timeout_seconds: The server gives up waiting for a lock after this; 0 is never.

    Raises:
        SettingError: The database's encoding is not UTF8, or a pooler stands in the way of what is
            relied on; nothing was written.
        psycopg.OperationalError: Postgres cannot be reached within `CONNECT_TIMEOUT_SECONDS`.
    """
    opener = psycopg.Connection.connect
    return _connect(opener, url, statement_timeout_seconds, lock_timeout_seconds)


def begin(own: Connection, *, idle_seconds: float) -> None:
    """Begin a transaction that Postgres ends once its client has been silent for so long: a process
    that was stopped, or vanished, holds its locks no longer."""
    idle_ms = int(idle_seconds * 1000)
    own.execute(f"BEGIN; SET LOCAL idle_in_transaction_session_timeout = {idle_ms}".encode())


@contextlib.contextmanager
def transaction(own: Connection, *, idle_seconds: float) -> Iterator[None]:
    """A transaction as `begin` has it, which ends with the block.

    Raises:
        psycopg.OperationalError: It was idle for so long that Postgres has undone it.
    """
    begin(own, idle_seconds=idle_seconds)
    try:
        yield
    except BaseException:
        # What was interrupted, or is gone, can undo nothing; closing does.
        with contextlib.suppress(psycopg.Error):
            if own.pgconn.transaction_status in {
                TransactionStatus.INTRANS,
                TransactionStatus.INERROR,
            }:
                own.execute("ROLLBACK")
        raise
    own.execute("COMMIT")


@contextlib.contextmanager
def all_or_none(given: Connection) -> Iterator[None]:
    """What is written in the block is written as a whole, or, where the block raises, not at all.
    It is part of the connection's transaction, which the caller ends, unless the connection is in
    autocommit mode and in none."""
    if given.pgconn.transaction_status == TransactionStatus.IDLE and not given.autocommit:
        given.execute("SELECT")  # begins the transaction, in which the next one is a savepoint
    with given.transaction():
        yield


def lent(own: Connection) -> Connection:
    """The session of a worker's connection, for a job: what the job makes of its object (row
    factory, adapters, cursors, prepared statements) is gone with that object. Costs no round trip;
    what the job makes of the session itself is undone by `end_loan`."""
    given = _LentConnection(own.pgconn)
    given.prepare_threshold = None
    given.cursor_factory = own.cursor_factory
    return given


def end_loan(own: Connection, ending: str) -> None:
    """End the transaction of a connection that was `lent`, and reset its session in the same round
    trip.

    A pooler that takes no startup options gets no reset: to RDS Proxy it would be a reason to pin
    the session (docs/connections.md).

    Args:
        own: The worker's connection.
        ending: `COMMIT` or `ROLLBACK`.
    """
    reset = "" if settings.postgres_url() in _refusing_options else f"; {RESET_SESSION}"
    own.execute(f"{ending}{reset}".encode())
    _ask_for_what_is_relied_on(own)


def pool() -> ConnectionPool[_PooledConnection]:
    """The process's pool, opened by the first call. From then on every enqueue of this process, in
    any thread, borrows from it. It is closed when the process ends.

    For web apps with many threads, and for benchmarks. Not for a Lambda, which does one thing at a
    time and is frozen in between.

    Raises:
        SettingError: `POSTGRES_URL` is missing or malformed.
        ImportError: psycopg_pool is not installed.
    """
    global _pool  # noqa: PLW0603 - this module is the pool's one owner
    url = settings.postgres_url()
    with _pool_lock:
        outdated = _pool
        if outdated is not None and outdated.is_ours and outdated.url == url:
            return outdated.it
        opened = _open_pool(url)
        _pool = _Opened(opened, url, os.getpid())
        if outdated is None:
            atexit.register(close_pool)
    if outdated is not None and outdated.is_ours:
        outdated.it.close()  # those that are lent out close when they come back
    return opened


def close() -> None:
    """Close this thread's connection, if there is one. The next use opens a new one."""
    mine = _by_thread.pop(threading.current_thread(), None)
    if mine is not None and mine.is_ours:
        _close(mine.it)


def forget() -> None:
    """Close every connection of this process, and forget the URLs, which have passwords in them."""
    close()
    close_pool()
    _by_thread.clear()
    _refusing_options.clear()


def close_if_in_transaction() -> bool:
    """Close this thread's connection where a transaction was left open on it, which undoes that
    transaction. Returns whether there was one."""
    mine = _by_thread.get(threading.current_thread())
    if mine is None or mine.it.pgconn.transaction_status not in {
        TransactionStatus.INTRANS,
        TransactionStatus.INERROR,
    }:
        return False
    close()
    return True


def close_pool() -> None:
    """Close the process's pool, if there is one. Enqueues use their thread's connection again."""
    global _pool
    with _pool_lock:
        closing, _pool = _pool, None
    if closing is not None and closing.is_ours:
        closing.it.close()


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


def other_defaults(existing: Connection) -> list[tuple[str, str]]:
    """What statements rely on and does not hold on this connection, with its value: a pooler left
    out our options."""
    return existing.execute(READ_OTHERS).fetchall()


def missing_timeouts(existing: Connection) -> list[str]:
    """Which of `statement_timeout` and `lock_timeout` do not hold on this connection, because a
    pooler left out our options and the role sets none."""
    return [name for (name,) in existing.execute(MISSING_TIMEOUTS)]


class _LentConnection(psycopg.Connection[Any]):
    def __del__(self, *_warn: Any) -> None:
        """No warning that it is still open: it is the worker's to close."""


class _PooledConnection(psycopg.Connection[Any]):
    """What the pool opens, as `connect` does."""

    @classmethod
    def connect(cls, conninfo: str = "", **_pools_own: Any) -> Self:
        opener = super().connect
        return _connect(opener, conninfo, STATEMENT_TIMEOUT_SECONDS, LOCK_TIMEOUT_SECONDS)


def _connect(
    opener: Callable[..., Kind], url: str, statement_timeout: float, lock_timeout: float
) -> Kind:
    asked = str(read_url(url).get("options") or "")
    wanted = {
        "statement_timeout": str(int(statement_timeout * 1000)),
        "lock_timeout": str(int(lock_timeout * 1000)),
        **RELIED_ON,
    }
    ours = " ".join(
        f"-c {name}={value.replace(' ', chr(92) + ' ')}" for name, value in wanted.items()
    )

    def attempt(options: str) -> Kind:
        opened = opener(
            url,
            client_encoding="utf8",
            autocommit=True,
            prepare_threshold=None,
            connect_timeout=CONNECT_TIMEOUT_SECONDS,
            options=options,
            application_name="stashjobs",
            cursor_factory=tracing.cursor_factory(),
            keepalives_idle=30,
            tcp_user_timeout=PEER_TIMEOUT_SECONDS * 1000,
            **authorities.parameters(url),
        )
        _refuse_other_encodings(opened)
        _ask_for_what_is_relied_on(opened)
        return opened

    if url in _refusing_options:
        return attempt(asked)
    try:
        return attempt(f"{ours} {asked}".strip())  # the URL's own come last, so they win
    except psycopg.OperationalError as error:
        if not _OPTIONS_REFUSED.search(str(error)):
            raise
    opened = attempt(asked)
    _refuse_other_defaults(opened)
    _refusing_options.add(url)
    _warn_of_missing_timeouts(opened)
    return opened


def read_url(url: str) -> dict[str, Any]:
    """The parameters of a Postgres URL.

    Raises:
        SettingError: It cannot be read. What libpq says of it may quote the password.
    """
    rest, _, query = url.partition("://")[2].partition("?")
    credentials, _, place = rest.partition("@")
    if "@" in place or ("/" in credentials and place):
        raise SettingError(_UNREADABLE_URL)
    asked = parse_qs(query, keep_blank_values=True)
    known = {"ssl", *(each.keyword.decode() for each in Conninfo.get_defaults())} if asked else ()
    for name in asked:
        if name not in known:
            raise SettingError(
                f"POSTGRES_URL has the parameter {name}, which Postgres's own library does not "
                "know; other libraries may: leave it out here (docs/connections.md)"
            )
    try:
        return conninfo_to_dict(url)
    except psycopg.ProgrammingError:
        raise SettingError(_UNREADABLE_URL) from None


def _refuse_other_encodings(opened: Any) -> None:
    """In another encoding some texts have no characters, and `jsonb` no escapes (PostgreSQL docs,
    "JSON Types")."""
    encoding = (opened.pgconn.parameter_status(b"server_encoding") or b"UTF8").decode()
    if encoding != "UTF8":
        opened.close()
        raise SettingError(
            f"POSTGRES_URL leads to a database whose encoding is {encoding}; stashjobs needs UTF8: "
            "CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )


def _ask_for_what_is_relied_on(opened: Any) -> None:
    """Where the startup options did not do it: a pooler ignored them, or PGTZ is set."""
    others = [
        f"SET {name} = '{value}'"
        for name, value in REPORTED.items()
        if not (opened.pgconn.parameter_status(name.encode()) or value.encode()).startswith(
            value.encode()
        )
    ]
    if others:
        opened.execute("; ".join(others).encode())


def _refuse_other_defaults(opened: Any) -> None:
    """For the pooler's clients alone they cannot be set."""
    for name, value in other_defaults(opened):
        role = opened.info.user
        opened.close()
        raise SettingError(
            f"the pooler takes no startup options and the role {role} has {name} = {value}; give "
            f"it what stashjobs relies on: ALTER ROLE {role} SET {name} = '{RELIED_ON[name]}'"
        )


def _warn_of_missing_timeouts(opened: Any) -> None:
    missing = missing_timeouts(opened)
    if missing:
        log.warning(
            "the pooler takes no startup options and the role %s has no %s, so a statement may "
            "wait for ever; give it both with ALTER ROLE, see docs/connections.md",
            opened.info.user,
            " and no ".join(missing),
        )


def _open_pool(url: str) -> ConnectionPool[_PooledConnection]:
    try:
        from psycopg_pool import ConnectionPool
    except ImportError as error:
        raise ImportError(
            "database.pool() needs psycopg_pool; install it with pip install 'stashjobs[pool]'"
        ) from error
    return ConnectionPool(
        url,
        connection_class=_PooledConnection,
        name="stashjobs",
        min_size=POOL_MIN_CONNECTIONS,
        max_size=POOL_MAX_CONNECTIONS,
        max_idle=POOL_IDLE_SECONDS,
        timeout=POOL_TIMEOUT_SECONDS,
        check=_refuse_dropped,
        open=True,
    )


def _refuse_dropped(pooled: Connection) -> None:
    """The pool's check before it lends a connection; it costs no round trip.

    Raises:
        psycopg.OperationalError: The server hung up. The pool then opens another.
    """
    if is_dropped(pooled):
        pooled.close()  # otherwise the pool would take it back, and lend it again
        raise psycopg.OperationalError("the server closed this connection while it was idle")


def _close_those_of_ended_threads() -> None:
    for thread in [each for each in list(_by_thread) if not each.is_alive()]:
        left_behind = _by_thread.pop(thread, None)
        if left_behind is not None and left_behind.is_ours:
            _close(left_behind.it)


def _close(existing: Connection) -> None:
    if existing.pgconn.transaction_status == TransactionStatus.ACTIVE:
        # Closing alone does not end the statement, and its locks would be in the way of the next
        # attempt.
        with contextlib.suppress(psycopg.Error):
            existing.cancel_safe(timeout=CANCEL_TIMEOUT_SECONDS)
    existing.close()
