"""What an operator can do: retry and cancel, one or many, recorded and idempotent."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from infra.local.qstash import QStashOptions, QStashServer
from stashjobs import Cancelled, Context, PermanentError, job
from stashjobs.config.settings import postgres_url
from stashjobs.errors import NotPossible
from stashjobs.operators import retry_and_cancel
from stashjobs.operators.retry_and_cancel import CANCELLABLE, RETRYABLE, Changed
from stashjobs.operators.search import Filter
from stashjobs.producer import qstash_client
from tests.deliveries import deliver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.deliveries import Table


@job("operated", endpoint="/api/jobs/operated", retries=1)
def operated(payload: dict[str, Any], context: Context) -> dict[str, Any]:
    """Does what its payload says."""
    if payload.get("fail"):
        raise PermanentError(payload["fail"])
    if payload.get("cancel"):
        raise Cancelled("not wanted")
    return {"run": context.run, "key": context.idempotency_key}


@pytest.fixture
async def qstash(table: Table, settings: pytest.MonkeyPatch) -> AsyncIterator[QStashServer]:
    """QStash, which gets everything that is published; nothing answers at the jobs' URL."""
    async with QStashServer(QStashOptions()) as server:
        settings.setenv("QSTASH_URL", server.url)
        settings.setenv("QSTASH_TOKEN", server.token)
        settings.setenv("BASE_URL", "http://127.0.0.1:9")
        yield server


def ended(table: Table, payload: dict[str, Any], **fields: Any) -> str:
    """A job that was delivered once."""
    job_id = table.add(operated, payload, **fields)
    deliver(operated, job_id)
    return job_id


def test_a_failed_job_is_retried_from_its_first_attempt_with_its_history_kept(table: Table) -> None:
    job_id = ended(table, {"fail": "no such customer"})

    retry_and_cancel.retry(job_id, actor="ada")

    row = table.row(job_id)
    assert (row["status"], row["run"], row["attempt"], row["max_attempts"]) == ("pending", 2, 1, 3)
    assert row["error"] is None
    assert [error["message"] for error in row["errors"]] == ["no such customer"]


def test_a_retried_job_has_as_many_attempts_as_at_first_each_time(table: Table) -> None:
    job_id = ended(table, {"fail": "again"})
    for _ in range(3):
        retry_and_cancel.retry(job_id, actor="ada")
        row = table.row(job_id)
        assert row["max_attempts"] - row["attempt"] == operated.retries + 1
        deliver(operated, job_id)


def test_a_retried_job_runs_with_another_idempotency_key(table: Table) -> None:
    job_id = ended(table, {})
    retry_and_cancel.retry(job_id, actor="ada")
    deliver(operated, job_id)

    assert table.row(job_id)["result"] == {"run": 2, "key": f"{job_id}-2"}


def test_a_job_can_be_retried_with_an_edited_payload(table: Table) -> None:
    job_id = ended(table, {"fail": "typo"})
    retry_and_cancel.retry(job_id, actor="ada", payload={"fail": ""})

    assert deliver(operated, job_id).status == 200


@pytest.mark.parametrize("payload", [{}, {"fail": "x"}, {"cancel": True}])
def test_every_job_that_has_ended_can_be_retried(table: Table, payload: dict[str, Any]) -> None:
    job_id = ended(table, payload)
    retry_and_cancel.retry(job_id, actor="ada")
    assert table.status(job_id) == "pending"


def test_a_second_retry_changes_nothing_and_says_why(table: Table) -> None:
    job_id = ended(table, {"fail": "x"})
    retry_and_cancel.retry(job_id, actor="ada")
    before = table.row(job_id)

    with pytest.raises(NotPossible, match="is pending and cannot be retried"):
        retry_and_cancel.retry(job_id, actor="ada")
    assert table.row(job_id) == before


def test_what_does_not_exist_is_named(table: Table) -> None:
    with pytest.raises(NotPossible, match="there is no job nowhere"):
        retry_and_cancel.retry("nowhere", actor="ada")
    with pytest.raises(NotPossible, match="there is no job nowhere"):
        retry_and_cancel.cancel("nowhere", actor="ada")


def test_who_retried_what_and_when_is_recorded_with_what_the_job_was(table: Table) -> None:
    job_id = ended(table, {})
    retry_and_cancel.retry(job_id, actor="ada")

    [action] = table.run("SELECT * FROM job_actions WHERE job_id = %s", job_id)
    assert (action["actor"], action["action"]) == ("ada", "retry")
    assert datetime.now(UTC) - action["at"] < timedelta(minutes=1)
    assert action["before"]["status"] == "completed"
    assert action["before"]["result"] == {"run": 1, "key": job_id}


def test_a_waiting_job_is_cancelled_and_never_runs(table: Table) -> None:
    job_id = table.add(operated, {})
    retry_and_cancel.cancel(job_id, actor="ada")

    answer = deliver(operated, job_id)
    assert (answer.status, answer.document["status"]) == (200, "cancelled")
    row = table.row(job_id)
    assert (row["status"], row["error"], row["attempt"]) == ("cancelled", "cancelled by ada", 0)


def test_a_job_that_has_ended_is_not_cancelled(table: Table) -> None:
    job_id = ended(table, {})
    with pytest.raises(NotPossible, match="is completed and cannot be cancelled"):
        retry_and_cancel.cancel(job_id, actor="ada")
    assert table.status(job_id) == "completed"


async def test_a_retry_is_published_at_once_although_qstash_remembers_the_job(
    table: Table, qstash: QStashServer
) -> None:
    enqueued = await asyncio.to_thread(operated.enqueue, {"fail": "x"}, delay=3600)
    await asyncio.to_thread(retry_and_cancel.cancel, enqueued.job_id, actor="ada")
    await asyncio.to_thread(retry_and_cancel.retry, enqueued.job_id, actor="ada")

    row = table.row(enqueued.job_id)
    assert row["published_at"] is not None
    assert qstash.pending == 1


async def test_a_cancelled_job_is_cancelled_at_qstash_too(
    table: Table, qstash: QStashServer
) -> None:
    enqueued = await asyncio.to_thread(operated.enqueue, {}, delay=3600)
    assert qstash.pending == 1
    await asyncio.to_thread(retry_and_cancel.cancel, enqueued.job_id, actor="ada")
    assert qstash.pending == 0


async def test_many_are_cancelled_at_qstash_in_one_call(
    table: Table, qstash: QStashServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    await asyncio.to_thread(operated.enqueue_many, [{}] * 5, user_id="u_1", delay=3600)
    assert qstash.pending == 5
    http = qstash_client.qstash().http
    calls: list[str] = []
    request = http.request

    def counted(**asked: Any) -> Any:
        calls.append(asked["method"])
        return request(**asked)

    monkeypatch.setattr(http, "request", counted)
    await asyncio.to_thread(retry_and_cancel.cancel_all, Filter(user_id="u_1"), actor="ada")
    assert (qstash.pending, calls) == (0, ["DELETE"])


def test_a_job_is_cancelled_here_also_when_qstash_is_away(
    table: Table, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("QSTASH_URL", "http://127.0.0.1:9")
    settings.setenv("QSTASH_TOKEN", "token-of-a-test")
    job_id = table.add(operated, {})
    table.run("UPDATE job_executions SET message_id = 'msg_1' WHERE job_id = %s", job_id)
    retry_and_cancel.cancel(job_id, actor="ada")
    assert table.status(job_id) == "cancelled"


@pytest.mark.parametrize(
    ("which", "expected"),
    [
        (Filter(job_type="operated"), {"a", "b", "c"}),
        (Filter(job_type="another"), set()),
        (Filter(status="failed"), {"a", "b"}),
        (Filter(user_id="u_1"), {"a"}),
        (Filter(organization_id="o_1"), {"b"}),
        (Filter(error_contains="CARD"), {"a"}),
        (Filter(error_contains="100%"), {"b"}),
        (Filter(error_contains="_"), set()),
        (Filter(created_before=datetime(2000, 1, 1, tzinfo=UTC)), set()),
        (Filter(created_after=datetime(2000, 1, 1, tzinfo=UTC)), {"a", "b", "c"}),
        (Filter(status="failed", user_id="u_1"), {"a"}),
    ],
)
def test_a_filter_counts_first_and_then_retries_just_what_it_counted(
    table: Table, which: Filter, expected: set[str]
) -> None:
    ids = {
        ended(table, {"fail": "the card was declined"}, user_id="u_1"): "a",
        ended(table, {"fail": "disk 100% full"}, organization_id="o_1"): "b",
        ended(table, {}): "c",
        table.add(operated, {}): "waiting",
    }

    assert retry_and_cancel.count(RETRYABLE, which) == len(expected)
    assert retry_and_cancel.retry_all(which, actor="ada") == Changed(len(expected), complete=True)

    changed = {ids[row["job_id"]] for row in table.rows() if row["run"] == 2}
    assert changed == expected


def test_waiting_jobs_are_cancelled_by_a_filter(table: Table) -> None:
    for user in ("u_1", "u_1", "u_2"):
        table.add(operated, {}, user_id=user)
    which = Filter(user_id="u_1")
    assert retry_and_cancel.count(CANCELLABLE, which) == 2
    assert retry_and_cancel.cancel_all(which, actor="ada").count == 2
    assert retry_and_cancel.cancel_all(which, actor="ada").count == 0
    assert [row["status"] for row in table.rows()].count("cancelled") == 2


def test_an_operation_on_many_ends_when_its_time_is_over_and_the_next_goes_on(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [table.add(operated, {}, user_id="u_1") for _ in range(4)]
    monkeypatch.setattr(retry_and_cancel, "BATCH", 2)
    clock = iter([0.0, 1.0, 21.0, 0.0, 1.0])  # of its begin and of that of each batch
    monkeypatch.setattr(retry_and_cancel, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    which = Filter(user_id="u_1")
    assert retry_and_cancel.cancel_all(which, actor="ada", seconds=20) == Changed(2, complete=False)
    assert [table.status(each) for each in ids] == ["cancelled"] * 2 + ["pending"] * 2
    assert retry_and_cancel.cancel_all(which, actor="ada", seconds=20) == Changed(2, complete=True)
    assert {table.status(each) for each in ids} == {"cancelled"}


def test_an_operation_on_more_than_fit_into_memory_says_that_there_are_more(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        table.add(operated, {}, user_id="u_1")
    monkeypatch.setattr(retry_and_cancel, "MAX_IN_TIME", 2)
    which = Filter(user_id="u_1")
    assert retry_and_cancel.cancel_all(which, actor="ada", seconds=20) == Changed(2, complete=False)
    assert retry_and_cancel.cancel_all(which, actor="ada", seconds=20) == Changed(1, complete=True)


@pytest.mark.parametrize("work", [retry_and_cancel.count, retry_and_cancel.cancel_all])
def test_a_search_that_takes_too_long_is_given_up_and_changes_nothing(
    table: Table, work: Callable[..., Any]
) -> None:
    job_id = table.add(operated, {}, user_id="u_1")
    arguments: Any = (CANCELLABLE,) if work is retry_and_cancel.count else ()
    options = {} if work is retry_and_cancel.count else {"actor": "ada"}
    with psycopg.connect(postgres_url()) as other:
        other.execute("LOCK TABLE job_executions IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(psycopg.errors.QueryCanceled):
            work(*arguments, Filter(user_id="u_1"), seconds=0.05, **options)
    assert table.status(job_id) == "pending"


def test_an_empty_filter_is_refused(table: Table) -> None:
    job_id = ended(table, {"fail": "x"})
    with pytest.raises(NotPossible, match="say at least one thing"):
        retry_and_cancel.retry_all(Filter(), actor="ada")
    assert table.status(job_id) == "failed"
