"""What an app may give to `connection=` besides psycopg's own (Django's: tests/docs)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker

from stashjobs import batch
from stashjobs.store.app_connection import psycopg_of
from tests.deliveries import probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Engine

    from tests.deliveries import Table

PROBE = probe()


def for_sqlalchemy(url: str) -> str:
    return url.replace("postgresql:", "postgresql+psycopg:", 1)


@pytest.fixture
def engine(table: Table, database_url: str) -> Iterator[Engine]:
    del table
    made = create_engine(for_sqlalchemy(database_url))
    yield made
    made.dispose()


@pytest.mark.parametrize(
    "kind", [Session, lambda engine: scoped_session(sessionmaker(engine)), lambda it: it.connect()]
)
def test_a_job_shares_the_fate_of_sqlalchemys_transaction(
    table: Table, engine: Engine, kind: Callable[[Any], Any]
) -> None:
    own = kind(engine)
    PROBE.enqueue({}, connection=own)
    with batch("a batch", connection=own) as two:
        two.enqueue(PROBE, {})
    assert table.rows() == []
    own.rollback()
    own.execute(text("SELECT 1"))
    kept = PROBE.enqueue({}, connection=own)
    own.commit()
    assert table.status(kept.job_id) == "pending"
    assert len(table.rows()) == 1
    own.close()


async def test_a_job_shares_the_fate_of_an_async_session(table: Table, database_url: str) -> None:
    engine = create_async_engine(for_sqlalchemy(database_url))
    async with AsyncSession(engine) as session:
        await PROBE.enqueue_async({}, connection=session)
        await session.rollback()
        kept = await PROBE.enqueue_async({}, connection=await session.connection())
        await session.commit()
    async with engine.connect() as own:
        await PROBE.enqueue_async({}, connection=own)
        await own.rollback()
    await engine.dispose()
    assert len(table.rows()) == 1
    assert table.status(kept.job_id) == "pending"


@pytest.mark.parametrize("given", ["postgresql://", object(), 7])
async def test_anything_else_is_refused(table: Table, given: Any) -> None:
    with pytest.raises(TypeError, match=r"^connection is a builtins\.\w+; it must be psycopg 3's"):
        PROBE.enqueue({}, connection=given)
    with pytest.raises(TypeError, match=r"^connection is a builtins\.\w+; it must be psycopg 3's"):
        await PROBE.enqueue_async({}, connection=given)
    assert table.rows() == []


async def test_an_async_connection_is_for_enqueue_async(table: Table, database_url: str) -> None:
    del table
    async with await psycopg.AsyncConnection.connect(database_url) as own:
        given: Any = own
        with pytest.raises(
            TypeError, match=r"connection is a psycopg.*AsyncConnection; it must be"
        ):
            PROBE.enqueue({}, connection=given)


def test_another_driver_is_named() -> None:
    class Pooled:
        driver_connection = 1.5

    class OfAnotherDriver:
        connection = Pooled()

    with pytest.raises(TypeError, match=r"connection is a builtins\.float; it must be"):
        psycopg_of(OfAnotherDriver())
