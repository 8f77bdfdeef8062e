"""The statements of every delivery: what psycopg's cursor would have given, and plans that are kept
where they stay good."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import hypothesis
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg.rows import dict_row
from psycopg.types.json import Jsonb

from stashjobs.store import database, statement
from stashjobs.store.statement import Statement
from tests.deliveries import Table, deliver, probe
from tests.integration.test_round_trips import counted_round_trips

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stashjobs import Context
    from stashjobs.tools.servers.postgres import Postgres

PREPARED = "SELECT count(*) FROM pg_prepared_statements"


def test_a_new_connection_prepares_nothing(table: Table) -> None:
    deliver(probe(), table.add(probe()))
    assert database.connection().execute(PREPARED).fetchone() == (0,)


def test_a_warm_worker_has_the_server_keep_the_plans_of_its_two_statements(table: Table) -> None:
    """Of no other statement; and through PgBouncer of none (test_pgbouncer.py)."""
    table.grow()
    for _ in range(10):
        deliver(probe(), table.add(probe()))
        database.connection().execute("SELECT %s", [1])
    assert database.connection().execute(PREPARED).fetchone() == (2,)


def test_no_plan_is_kept_for_a_small_table_which_may_grow(table: Table) -> None:
    """It would read all of the table, also once that is large."""
    table.run("TRUNCATE job_executions CASCADE")
    for _ in range(10):
        deliver(probe(), table.add(probe()))
    assert database.connection().execute(PREPARED).fetchone() == (0,)


def test_a_delivery_goes_on_where_the_plans_were_lost(table: Table) -> None:
    table.grow()
    for _ in range(10):
        deliver(probe(), table.add(probe()))
    assert database.connection().execute(PREPARED).fetchone() == (2,)
    database.connection().pgconn.exec_(b"DEALLOCATE ALL")  # unseen by psycopg
    for _ in range(2):
        assert deliver(probe(), table.add(probe())).status == 200
    assert database.connection().execute(PREPARED).fetchone() == (0,)


def test_to_have_plans_kept_costs_three_round_trips_in_the_life_of_a_connection(
    table: Table,
) -> None:
    """One to ask, one for each of the two plans."""
    table.grow()
    database.connection()
    trips_of_each = []
    for _ in range(20):
        job_id = table.add(probe())
        with counted_round_trips() as trips:
            assert deliver(probe(), job_id).status == 200
        trips_of_each.append(len(trips))
    assert sorted(trips_of_each) == [2] * 18 + [3, 4]


def test_a_plan_that_a_migration_undid_is_not_kept_again(table: Table) -> None:
    table.grow()
    for _ in range(10):
        deliver(probe(), table.add(probe()))
    table.run("ALTER TABLE job_executions ALTER COLUMN user_id TYPE varchar(90)")
    try:
        trips_of_each = []
        for _ in range(40):
            job_id = table.add(probe())
            with counted_round_trips() as trips:
                assert deliver(probe(), job_id).status == 200
            trips_of_each.append(len(trips))
    finally:
        table.run("ALTER TABLE job_executions ALTER COLUMN user_id TYPE text")
    assert trips_of_each == [3] + [2] * 39


def test_a_plan_that_is_lost_within_the_jobs_transaction_costs_one_attempt(table: Table) -> None:
    def work(_payload: Any, context: Context) -> None:
        context.connection.execute("SELECT 1")
        if context.attempt == 1:
            context.connection.pgconn.exec_(b"DEALLOCATE ALL")

    table.grow()
    for _ in range(10):
        deliver(probe(), table.add(probe()))
    job_id = table.add(probe(work))
    assert deliver(probe(work), job_id).status == 500
    assert deliver(probe(work), job_id).status == 200
    assert table.status(job_id) == "completed"


# ------------------------------------------------------------------ as psycopg's cursor

VALUES = """
SELECT %(text)s::text, %(json)s::jsonb, %(text)s::text, %(number)s::float, %(count)s::int,
       %(at)s::timestamptz, %(flag)s::bool, '%%'
"""
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0")) | st.none()
values = st.fixed_dictionaries(
    {
        "text": texts,
        "json": st.dictionaries(texts.filter(bool), texts | st.integers(), max_size=3).map(Jsonb),
        "number": st.floats(allow_nan=False) | st.none(),
        "count": st.integers(-(2**31), 2**31 - 1) | st.none(),
        "at": st.datetimes(datetime(1, 1, 2), datetime(9999, 1, 1)).map(  # noqa: DTZ001
            lambda at: at.replace(tzinfo=UTC)
        ),
        "flag": st.booleans() | st.none(),
    }
)


@pytest.fixture(scope="module")
def connection(postgres: Postgres) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(postgres.url, autocommit=True, prepare_threshold=None) as opened:
        yield opened


# How a statement is executed: without a plan that is kept; after the question whether one may be;
# after PREPARE; by the plan.
WAYS: list[Callable[[statement._Session], None]] = [
    lambda session: vars(session).update(keeps_plans=None, uses=0),
    lambda session: vars(session).update(keeps_plans=None, uses=statement.USES_BEFORE_ASKING - 1),
    lambda session: vars(session).update(keeps_plans=True, prepared=set()),
    lambda session: vars(session).update(keeps_plans=True),
]


@pytest.mark.parametrize("number", range(len(WAYS)))
@given(values=values)
@hypothesis.settings(
    max_examples=60, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
def test_a_row_is_what_psycopgs_cursor_would_have_given(
    connection: psycopg.Connection[Any], number: int, values: dict[str, Any]
) -> None:
    connection.execute("DEALLOCATE ALL")
    tested = Statement("tested", VALUES)
    rows = []
    for way in WAYS[: number + 1]:
        way(statement._session_of(connection))
        rows.append(tested.fetch_one(connection, values))
    assert rows[-1] == connection.execute(VALUES, values).fetchone()


@pytest.mark.parametrize("number", range(len(WAYS)))
def test_an_error_is_what_psycopgs_cursor_would_have_raised(
    connection: psycopg.Connection[Any], number: int
) -> None:
    connection.execute("DEALLOCATE ALL")
    tested = Statement("tested", "SELECT 1 / %(count)s::int")
    for way in WAYS[:number]:
        way(statement._session_of(connection))
        assert tested.fetch_one(connection, {"count": 1}) == (1,)
    WAYS[number](statement._session_of(connection))
    with pytest.raises(psycopg.errors.DivisionByZero, match="division by zero") as caught:
        tested.fetch_one(connection, {"count": 0})
    assert caught.value.sqlstate == "22012"
    assert tested.fetch_one(connection, {"count": 1}) == (1,)


def test_a_name_that_is_taken_is_left_alone(connection: psycopg.Connection[Any]) -> None:
    connection.execute("DEALLOCATE ALL")
    tested = Statement("tested", "SELECT %(count)s::int")
    connection.execute(b"PREPARE %b AS SELECT 0" % tested._name)
    WAYS[2](statement._session_of(connection))
    for count in (1, 2):
        assert tested.fetch_one(connection, {"count": count}) == (count,)


@pytest.mark.parametrize("number", range(len(WAYS)))
def test_no_row_is_none(connection: psycopg.Connection[Any], number: int) -> None:
    connection.execute("DEALLOCATE ALL")
    tested = Statement("tested", "SELECT 1 WHERE %(flag)s::bool")
    for way in WAYS[: number + 1]:
        way(statement._session_of(connection))
        assert tested.fetch_one(connection, {"flag": False}) is None


@pytest.mark.parametrize("number", range(len(WAYS)))
def test_a_connection_that_breaks_is_an_operational_error(
    postgres: Postgres, connection: psycopg.Connection[Any], number: int
) -> None:
    tested = Statement("tested", "SELECT pg_sleep(%(seconds)s::float)")
    with psycopg.connect(postgres.url, autocommit=True) as broken:
        for way in WAYS[:number]:
            way(statement._session_of(broken))
            tested.fetch_one(broken, {"seconds": 0})
        WAYS[number](statement._session_of(broken))
        connection.execute("SELECT pg_terminate_backend(%s, 5000)", [broken.info.backend_pid])
        with pytest.raises(psycopg.OperationalError):
            tested.fetch_one(broken, {"seconds": 0})
        assert broken.closed


@pytest.mark.parametrize("number", range(len(WAYS)))
def test_what_a_job_makes_of_its_cursors_changes_nothing(postgres: Postgres, number: int) -> None:
    tested = Statement("tested", "SELECT %(count)s::int AS name")
    with psycopg.connect(postgres.url, autocommit=True, row_factory=dict_row) as changed:
        for way in WAYS[: number + 1]:
            way(statement._session_of(changed))
            assert tested.fetch_one(changed, {"count": 7}) == (7,)


def test_two_threads_on_one_connection_take_turns(connection: psycopg.Connection[Any]) -> None:
    WAYS[0](statement._session_of(connection))
    tested = Statement("tested", "SELECT %(count)s::int")
    over = threading.Event()

    def busy() -> int:
        times = 0
        while not over.is_set():
            assert connection.execute("SELECT 1").fetchone() == (1,)
            times += 1
        return times

    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(busy)
        for count in range(200):
            assert tested.fetch_one(connection, {"count": count}) == (count,)
        over.set()
        assert other.result(5) > 0


def test_a_statement_can_be_interrupted(postgres: Postgres) -> None:
    """By an application's own signal, or a test's time limit."""
    tested = Statement("tested", "SELECT pg_sleep(%(seconds)s::float)")

    def stop(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    began = time.monotonic()
    try:
        with (
            contextlib.closing(psycopg.connect(postgres.url, autocommit=True)) as interrupted,
            pytest.raises(TimeoutError),
        ):
            tested.fetch_one(interrupted, {"seconds": 20})
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - began < 10


# ------------------------------------------------------------------ what a job may leave behind


def test_a_statement_that_still_runs_is_not_waited_for(table: Table) -> None:
    """The job has swallowed its deadline; its completion must not be."""

    def work(_payload: Any, context: Context) -> None:
        with contextlib.suppress(BaseException):
            context.connection.execute("SELECT pg_sleep(15)")

    job = probe(work, timeout=1)
    job_id = table.add(job)
    began = time.monotonic()
    assert deliver(job, job_id).status == 500
    assert time.monotonic() - began < 10
    assert table.status(job_id) == "retrying"


def test_a_connection_that_was_left_without_autocommit_is_replaced(table: Table) -> None:
    """Otherwise what is recorded would be acknowledged, and not be committed."""

    def work(_payload: Any, _context: Context) -> None:
        database.connection().autocommit = False

    table.grow()
    for _ in range(6):
        job_id = table.add(probe(work))
        assert deliver(probe(work), job_id).status == 200
        assert table.status(job_id) == "completed"


def test_a_pipeline_that_was_left_open_does_no_harm(table: Table) -> None:
    def work(_payload: Any, context: Context) -> None:
        context.connection.pipeline().__enter__()
        context.connection.execute("SELECT 1")

    job_id = table.add(probe(work))
    assert deliver(probe(work), job_id).status == 200
    assert table.status(job_id) == "completed"
