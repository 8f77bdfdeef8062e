"""The connection that an app gives to `enqueue(connection=)`: psycopg's own, or what SQLAlchemy and
Django have around it. Neither is imported here."""

from __future__ import annotations

import inspect
from typing import Any, Protocol, TypeAlias

import psycopg


class Wrapped(Protocol):
    """SQLAlchemy's `Connection`, `Session` or `scoped_session`, or Django's `connection`: each has
    a member of this name."""

    @property
    def connection(self) -> Any:
        """What is inside, or what returns it."""


AppConnection: TypeAlias = psycopg.Connection[Any] | Wrapped
AsyncAppConnection: TypeAlias = psycopg.AsyncConnection[Any] | Any


def psycopg_of(connection: AppConnection) -> psycopg.Connection[Any]:
    """The psycopg connection of an app's connection, in the app's transaction.

    Raises:
        TypeError: It is nothing of the kind, or its driver is another.
    """
    if isinstance(connection, psycopg.Connection):
        return connection
    inside: Any = connection
    if callable(getattr(connection, "ensure_connection", None)):  # Django's, which connects late
        inside.ensure_connection()
        inside = inside.connection
    else:
        if callable(getattr(connection, "connection", None)):  # SQLAlchemy's Session
            inside = inside.connection()
        if callable(getattr(inside, "begin", None)) and not inside.in_transaction():
            inside.begin()  # as its first statement would: else a rollback does nothing
        inside = getattr(inside, "connection", inside)
        inside = getattr(inside, "driver_connection", inside)
    if isinstance(inside, psycopg.Connection):
        return inside
    raise _refusal(
        inside, "psycopg 3's, SQLAlchemy's Connection or Session, or Django's, over psycopg 3"
    )


async def psycopg_of_async(connection: AsyncAppConnection) -> psycopg.AsyncConnection[Any]:
    """The same of an async connection: psycopg's, or SQLAlchemy's `AsyncConnection` or
    `AsyncSession`.

    Raises:
        TypeError: It is nothing of the kind, or its driver is another.
    """
    if isinstance(connection, psycopg.AsyncConnection):
        return connection
    inside: Any = connection
    if not hasattr(type(connection), "get_raw_connection") and hasattr(connection, "connection"):
        inside = inside.connection()  # AsyncSession's
        inside = await inside if inspect.isawaitable(inside) else inside
    if hasattr(inside, "get_raw_connection"):
        if not inside.in_transaction():
            await inside.begin()
        inside = (await inside.get_raw_connection()).driver_connection
    if isinstance(inside, psycopg.AsyncConnection):
        return inside
    raise _refusal(
        inside, "psycopg 3's AsyncConnection, or SQLAlchemy's async one or session, over it"
    )


def _refusal(found: object, wanted: str) -> TypeError:
    kind = type(found)
    return TypeError(f"connection is a {kind.__module__}.{kind.__qualname__}; it must be {wanted}")
