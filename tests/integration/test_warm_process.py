"""What a job makes of its warm process is not the next delivery's, and never changes how its own
attempt is recorded."""

from __future__ import annotations

import contextvars
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.rows import dict_row, namedtuple_row, scalar_row
from psycopg.types.json import set_json_dumps, set_json_loads
from psycopg.types.string import TextLoader

from stashjobs import RetryLater
from stashjobs.store import database
from tests.deliveries import Table, deliver, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stashjobs import Context

OF_A_SESSION = [
    "SET default_transaction_read_only = on",
    "SET TimeZone = 'Pacific/Kiritimati'",
    "SET client_encoding = 'LATIN1'",
    "SET statement_timeout = 29000",
    "SET search_path = pg_catalog",
    "SET ROLE pg_monitor",
    "SET SESSION AUTHORIZATION pg_monitor",
    "SET DateStyle = 'German, DMY'",
    "SELECT set_config('app.tenant', 'acme', false)",
    "SELECT pg_advisory_lock(18)",
    "CREATE TEMP TABLE job_executions (id int)",
    "PREPARE mine AS SELECT 1",
    "DECLARE kept CURSOR WITH HOLD FOR SELECT 1",
    "LISTEN something",
]
KEEPS_THE_COMPLETION_OUT = ["SET ROLE pg_monitor", "SET SESSION AUTHORIZATION pg_monitor"]
LOOK = """
SELECT current_setting('default_transaction_read_only'), current_setting('TimeZone'),
       current_setting('client_encoding'), current_setting('statement_timeout'),
       current_setting('search_path'), current_user, session_user, current_setting('DateStyle'),
       current_setting('app.tenant', true), pg_my_temp_schema() = 0 OR NOT EXISTS (
           SELECT FROM pg_catalog.pg_class WHERE relnamespace = pg_my_temp_schema()),
       (SELECT count(*) FROM pg_catalog.pg_locks
         WHERE locktype = 'advisory' AND pid = pg_backend_pid()),
       (SELECT count(*) FROM pg_catalog.pg_prepared_statements),
       (SELECT count(*) FROM pg_catalog.pg_cursors WHERE is_holdable),
       (SELECT count(*) FROM pg_listening_channels())
"""


def session() -> tuple[Any, ...]:
    row: tuple[Any, ...] | None = database.connection().execute(LOOK).fetchone()
    assert row is not None
    # A setting of an extension that was set once is empty, and no longer missing.
    return tuple(value or None for value in row)


def run(table: Table, work: Callable[[Context], Any]) -> tuple[int, dict[str, Any]]:
    """Deliver a job once: the status of the answer, and its row."""
    job = probe(lambda _payload, context: work(context))
    job_id = table.add(job)
    return deliver(job, job_id).status, table.row(job_id)


@pytest.mark.parametrize("error", [None, RetryLater(600), OSError("no")])
def test_what_a_job_makes_of_its_session_ends_with_its_attempt(
    table: Table, error: Exception | None
) -> None:
    def work(statement: str, context: Context) -> None:
        context.connection.execute(statement.encode())
        if error is not None:
            raise error

    before, pid = session(), database.connection().info.backend_pid
    job = probe(work)
    for statement in OF_A_SESSION:
        job_id = table.add(job, statement)
        answer, row = deliver(job, job_id), table.row(job_id)
        if error is not None:
            assert row["errors"][0]["type"] == type(error).__name__, statement
        elif statement in KEEPS_THE_COMPLETION_OUT:
            assert (answer.status, row["status"]) == (500, "retrying"), statement
        else:
            assert (answer.status, row["status"]) == (200, "completed"), statement
        assert session() == before, statement
        assert database.connection().info.backend_pid == pid


@pytest.mark.parametrize("rows", [dict_row, scalar_row, namedtuple_row])
def test_a_row_factory_of_a_job_changes_nothing(table: Table, rows: Any) -> None:
    def work(context: Context) -> None:
        context.connection.row_factory = rows
        context.connection.execute("SELECT 1 AS one")
        raise RetryLater(600)

    job = probe(lambda _payload, context: work(context))
    job_id = table.add(job)
    answer = deliver(job, job_id)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "600")
    assert table.status(job_id) == "retrying"
    found: list[Any] = []
    run(table, lambda context: found.append(context.connection.execute("SELECT 1").fetchone()))
    assert found == [(1,)]


def test_what_a_job_makes_of_its_connection_is_not_the_next_jobs(table: Table) -> None:
    class Shouting(TextLoader):
        def load(self, data: Any) -> str:
            return str(super().load(data)).upper()

    def work(context: Context) -> None:
        connection = context.connection
        connection.adapters.register_loader("text", Shouting)
        connection.adapters.register_loader("bool", Shouting)
        set_json_loads(lambda _text: "not this", connection)
        set_json_dumps(lambda _document: '"nor this"', connection)
        connection.prepare_threshold = 0
        connection.cursor_factory = psycopg.ClientCursor
        connection.add_notice_handler(lambda _notice: None)
        assert connection.execute("SELECT 'a'::text").fetchone() == ("A",)

    status, row = run(table, work)
    assert (status, row["status"]) == (200, "completed")

    def look(context: Context) -> Any:
        connection = context.connection
        return [
            connection.execute("SELECT 'a'::text, '{}'::jsonb").fetchone(),
            connection.prepare_threshold,
            connection.cursor_factory.__name__,
        ]

    assert run(table, look)[1]["result"] == [["a", {}], None, "Cursor"]


@pytest.fixture
def decimals() -> Iterator[None]:
    """An app whose JSON has decimals, everywhere in the process."""
    set_json_loads(lambda text: json.loads(text, parse_float=Decimal))
    set_json_dumps(lambda document: json.dumps(document, default=str).upper())
    yield
    set_json_loads(json.loads)
    set_json_dumps(json.dumps)


@pytest.mark.usefixtures("decimals")
def test_how_an_app_reads_and_writes_json_changes_no_payload_and_no_result(table: Table) -> None:
    got: list[Any] = []

    def work(payload: Any, _context: Context) -> Any:
        got.append(payload)
        return {"kept": "as it is"}

    job = probe(work)
    job_id = table.add(job, {"price": 1.5})
    assert deliver(job, job_id).status == 200
    assert (got, type(got[0]["price"])) == ([{"price": 1.5}], float)
    assert table.run("SELECT result::text FROM job_executions") == [
        {"result": '{"kept": "as it is"}'}
    ]


def test_a_context_variable_that_a_job_sets_is_not_the_next_deliverys(table: Table) -> None:
    tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")

    def work(_context: Context) -> None:
        tenant.set("acme")

    run(table, work)
    assert run(table, lambda _context: tenant.get())[1]["result"] == "none"


def test_keys_that_a_job_gives_its_logger_are_gone_with_its_delivery(
    table: Table, log: Any
) -> None:
    run(table, lambda context: context.logger.append_keys(customer="c"))
    before = len(log.lines)
    run(table, lambda context: context.logger.info("said"))
    assert "customer" in log.lines[before - 1]
    assert [line for line in log.lines[before:] if "customer" in line] == []


@pytest.mark.parametrize(
    ("literal", "reason"),
    [
        ('{"a": 1e5000}', "4300 digits"),
        ("[" * 2000 + "]" * 2000, "nested too deeply"),
        ('{"a": 1' + "0" * 400 + ".5}", "a number of 403 characters is too large"),
    ],
    ids=["integer", "levels", "float"],
)
def test_a_row_that_cannot_be_read_has_failed_and_says_why(
    table: Table, literal: str, reason: str
) -> None:
    ran: list[Any] = []
    job = probe(lambda payload, _context: ran.append(payload))
    job_id = table.add(job)
    table.run("UPDATE job_executions SET payload = %s::jsonb", literal)
    answer = deliver(job, job_id)
    row = table.run("SELECT status, error, attempt FROM job_executions")[0]
    assert (answer.status, row["status"], ran) == (489, "failed", [])
    assert "the row's payload cannot be read" in row["error"]
    assert reason in row["error"]
