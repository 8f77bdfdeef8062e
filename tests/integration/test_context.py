"""What a job does in the database happens if and only if the job completes."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import stashjobs
from stashjobs import Context, DeadlineNear, PermanentError
from stashjobs.store import database
from stashjobs.testing.qstash import Received, serving
from tests.deliveries import Table, deliver, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


PAST = datetime(2020, 1, 1, tzinfo=UTC)


@stashjobs.job("context-child", endpoint="/api/jobs/child")
def child(payload: dict[str, Any], _context: Context) -> None:
    """What a parent enqueues."""


@pytest.fixture
def effects(table: Table) -> Iterator[Callable[[], list[str]]]:
    """A table of the app's, and what is committed in it."""
    table.run("CREATE TABLE effects (what text NOT NULL)")
    yield lambda: [row["what"] for row in table.run("SELECT what FROM effects ORDER BY what")]
    database.close()
    table.run("DROP TABLE effects")


def write(context: Context, what: str = "written") -> None:
    context.connection.execute("INSERT INTO effects VALUES (%s)", [what])


def test_effects_commit_with_the_completion(table: Table, effects: Callable[[], list[str]]) -> None:
    before: list[Any] = []

    def work(_payload: Any, context: Context) -> str:
        write(context)
        before.append(effects())
        return "done"

    job = probe(work)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 200
    assert before == [[]]
    assert effects() == ["written"]
    assert table.row(job_id)["result"] == "done"


@pytest.mark.parametrize(
    ("error", "status"),
    [(OSError("no"), "retrying"), (PermanentError("no"), "failed"), (SystemExit(1), "retrying")],
)
def test_effects_are_undone_by_an_error(
    table: Table, effects: Callable[[], list[str]], error: BaseException, status: str
) -> None:
    def work(_payload: Any, context: Context) -> None:
        write(context)
        raise error

    job = probe(work)
    job_id = table.add(job)
    deliver(job, job_id)
    assert effects() == []
    row = table.row(job_id)
    assert (row["status"], row["errors"][0]["type"]) == (status, type(error).__name__)


def test_effects_are_undone_by_a_result_that_is_not_json(
    table: Table, effects: Callable[[], list[str]]
) -> None:
    def work(_payload: Any, context: Context) -> object:
        write(context)
        return object()

    job = probe(work)
    assert deliver(job, table.add(job)).stops_qstash
    assert effects() == []


def test_effects_are_undone_when_the_lease_was_lost(
    table: Table, effects: Callable[[], list[str]]
) -> None:
    def work(_payload: Any, context: Context) -> None:
        write(context)
        table.run("UPDATE job_executions SET attempt = attempt + 1")

    job = probe(work)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 409
    assert effects() == []
    assert table.status(job_id) == "processing"


def test_effects_are_undone_when_the_deadline_interrupts_a_statement(
    table: Table, effects: Callable[[], list[str]]
) -> None:
    def work(_payload: Any, context: Context) -> None:
        write(context)
        context.connection.execute("SELECT pg_sleep(60)")

    job = probe(work, timeout=0.3)
    job_id = table.add(job)
    began = time.monotonic()
    answer = deliver(job, job_id)
    assert time.monotonic() - began < 30
    assert answer.status == 503
    assert table.status(job_id) == "retrying"
    assert effects() == []
    table.make_due(job_id)
    assert deliver(probe(), job_id).status == 200


def test_a_statement_that_the_deadline_interrupted_holds_no_lock_any_more(
    table: Table, effects: Callable[[], list[str]]
) -> None:
    def work(_payload: Any, context: Context) -> None:
        context.connection.execute("LOCK TABLE effects")
        context.connection.execute("SELECT pg_sleep(60)")

    job = probe(work, timeout=0.3)
    deliver(job, table.add(job))
    table.run("SET lock_timeout = '1s'")
    assert effects() == []


def test_an_sql_error_that_the_job_swallowed_is_not_a_completion(
    table: Table, effects: Callable[[], list[str]]
) -> None:
    def work(_payload: Any, context: Context) -> str:
        write(context)
        try:
            context.connection.execute("SELECT 1 / 0")
        except psycopg.Error:
            return "nothing happened"
        return ""

    job = probe(work)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 500
    row = table.row(job_id)
    assert (row["status"], row["errors"][0]["type"]) == ("retrying", "InFailedSqlTransaction")
    assert effects() == []


def test_a_savepoint_lets_a_job_survive_an_sql_error(
    table: Table, effects: Callable[[], list[str]]
) -> None:
    def work(_payload: Any, context: Context) -> None:
        write(context, "kept")
        with contextlib.suppress(psycopg.Error), context.connection.transaction():
            write(context, "undone")
            context.connection.execute("SELECT 1 / 0")

    job = probe(work)
    assert deliver(job, table.add(job)).status == 200
    assert effects() == ["kept"]


def test_a_constraint_that_is_checked_at_the_commit_fails_the_attempt(
    table: Table, effects: Callable[[], list[str]]
) -> None:
    table.run("ALTER TABLE effects ADD UNIQUE (what) DEFERRABLE INITIALLY DEFERRED")

    def work(_payload: Any, context: Context) -> None:
        write(context)
        write(context)

    job = probe(work)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 500
    row = table.row(job_id)
    assert (row["status"], row["result"]) == ("retrying", None)
    assert row["errors"][0]["type"] == "UniqueViolation"
    assert effects() == []


def test_a_connection_that_breaks_before_the_commit_fails_the_attempt(
    table: Table, effects: Callable[[], list[str]]
) -> None:
    def work(_payload: Any, context: Context) -> str:
        write(context)
        assert table.end_sessions() == 1
        return "done"

    job = probe(work)
    job_id = table.add(job)
    answer = deliver(job, job_id)
    assert answer.status == 500
    assert effects() == []
    row = table.row(job_id)
    assert (row["status"], row["result"]) == ("retrying", None)


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PermanentError("no such customer"), "failed"),
        (stashjobs.Cancelled("unsubscribed"), "cancelled"),
        (KeyError("x"), "retrying"),
    ],
)
def test_a_broken_connection_does_not_change_what_the_job_said(
    table: Table, effects: Callable[[], list[str]], error: Exception, status: str
) -> None:
    def work(_payload: Any, context: Context) -> None:
        write(context)
        table.end_sessions()
        raise error

    job = probe(work)
    job_id = table.add(job)
    deliver(job, job_id)
    row = table.row(job_id)
    assert (row["status"], row["errors"][0]["type"]) == (status, type(error).__name__)
    assert effects() == []


def test_one_delivery_leaves_no_transaction_to_the_next(
    table: Table, effects: Callable[[], list[str]]
) -> None:
    def work(_payload: Any, context: Context) -> None:
        write(context)
        raise OSError

    deliver(probe(work), table.add(probe()))
    job_id = table.add(probe())
    deliver(probe(), job_id)
    assert table.status(job_id) == "completed"
    assert database.connection().info.transaction_status.name == "IDLE"


def test_a_machine_that_vanished_holds_its_locks_no_longer_than_its_lease(table: Table) -> None:
    statement = (
        "SELECT setting::int FROM pg_settings WHERE name = 'idle_in_transaction_session_timeout'"
    )

    def work(_payload: Any, context: Context) -> list[Any]:
        [(milliseconds,)] = context.connection.execute(statement).fetchall()
        return [milliseconds, context.lease_seconds]

    job = probe(work)
    job_id = table.add(job)
    deliver(job, job_id)
    milliseconds, lease_seconds = table.row(job_id)["result"]
    assert milliseconds == int(lease_seconds * 1000)
    assert database.connection().execute(statement).fetchall() == [(0,)]


def test_a_deadline_right_after_the_begin_leaves_no_transaction_open(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    execute = psycopg.Connection.execute

    def execute_and_stop(connection: Any, query: Any, *rest: Any, **options: Any) -> Any:
        cursor = execute(connection, query, *rest, **options)
        if query[:5] == b"BEGIN":
            raise DeadlineNear("in this very moment")
        return cursor

    monkeypatch.setattr(psycopg.Connection, "execute", execute_and_stop)
    job = probe(lambda _payload, context: context.connection)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 503
    assert table.status(job_id) == "retrying"


def test_a_job_that_leaves_a_transaction_open_is_told_so(
    table: Table, effects: Callable[[], list[str]]
) -> None:
    """On the worker's connection, but not by `context.connection`: its record would be lost with
    the transaction."""

    def work(_payload: Any, _context: Context) -> None:
        database.connection().execute("BEGIN")
        database.connection().execute("INSERT INTO effects VALUES ('lost')")

    job = probe(work)
    job_id = table.add(job)
    assert deliver(job, job_id).stops_qstash
    row = table.row(job_id)
    assert row["status"] == "failed"
    assert "left a transaction open" in row["error"]
    assert effects() == []


# ------------------------------------------------------------------ enqueue


def children(table: Table) -> list[dict[str, Any]]:
    return table.run("SELECT * FROM job_executions WHERE job_type = 'context-child'")


@pytest.fixture
def unreachable_qstash(use_qstash: Callable[[str], None]) -> None:
    use_qstash("http://127.0.0.1:9")


@pytest.mark.usefixtures("unreachable_qstash")
def test_a_child_exists_once_its_parent_completes(table: Table) -> None:
    before: list[Any] = []

    def work(_payload: Any, context: Context) -> str:
        enqueued = context.enqueue(child, {"n": 1}, organization_id="o_2")
        before.extend(children(table))
        return enqueued.job_id

    job = probe(work)
    job_id = table.add(job, user_id="u_1", organization_id="o_1")
    assert deliver(job, job_id).status == 200
    assert before == []
    [row] = children(table)
    assert row["job_id"] == table.row(job_id)["result"]
    assert (row["status"], row["payload"]) == ("pending", {"n": 1})
    assert (row["user_id"], row["organization_id"]) == ("u_1", "o_2")


def test_a_child_is_published_after_its_parents_commit(
    table: Table, use_qstash: Callable[[str], None]
) -> None:
    told_during_the_job: list[int] = []
    visible_when_told: list[int] = []
    with serving() as qstash:
        use_qstash(qstash.url)
        answer = qstash.handle

        def handle(request: Received) -> tuple[int, Any]:
            visible_when_told.append(len(children(table)))
            return answer(request)

        qstash.handle = handle  # type: ignore[method-assign]

        def work(_payload: Any, context: Context) -> None:
            context.enqueue(child, {})
            told_during_the_job.append(len(qstash.received))

        job = probe(work)
        assert deliver(job, table.add(job)).status == 200
    assert told_during_the_job == [0]
    assert visible_when_told == [1]
    [row] = children(table)
    assert (row["message_id"], row["published_at"] is not None) == ("msg_0", True)


def test_a_child_whose_key_exists_is_not_published_under_an_id_that_no_row_has(
    table: Table, use_qstash: Callable[[str], None]
) -> None:
    with serving() as qstash:
        use_qstash(qstash.url)
        first = child.enqueue({}, idempotency_key="once")
        job = probe(lambda _, context: context.enqueue(child, {}, idempotency_key="once").job_id)
        job_id = table.add(job)
        assert deliver(job, job_id).status == 200
    assert table.row(job_id)["result"] == first.job_id
    assert len(qstash.messages) == 1


@pytest.mark.usefixtures("unreachable_qstash")
def test_the_child_of_a_failed_attempt_never_was(table: Table) -> None:
    def work(_payload: Any, context: Context) -> None:
        context.enqueue(child, {})
        if context.attempt == 1:
            raise OSError

    job = probe(work)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 500
    assert children(table) == []
    assert deliver(job, job_id).status == 200
    assert len(children(table)) == 1


@pytest.mark.usefixtures("unreachable_qstash")
def test_an_invalid_child_fails_its_parent_and_writes_nothing(table: Table) -> None:
    def work(_payload: Any, context: Context) -> None:
        context.enqueue(child, {"x": float("nan")})

    job = probe(work)
    job_id = table.add(job)
    assert deliver(job, job_id).stops_qstash
    assert children(table) == []


# ------------------------------------------------------------------ time


def test_remaining_seconds_run_down_to_zero(table: Table) -> None:
    seen: list[float] = []

    def work(_payload: Any, context: Context) -> None:
        seen.append(context.remaining_seconds())
        time.sleep(0.05)
        seen.append(context.remaining_seconds())

    job = probe(work, timeout=5)
    deliver(job, table.add(job))
    assert 4.8 < seen[0] <= 5
    assert seen[1] <= seen[0] - 0.05
    assert stashjobs.Context("j", "t", 1, 1, deadline=PAST).remaining_seconds() == 0
