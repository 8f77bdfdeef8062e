"""Jobs that are one of a kind while they wait: kept, replaced, debounced."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

import stashjobs
from stashjobs import Context
from stashjobs.operators import retry_and_cancel
from stashjobs.producer import message
from stashjobs.store import database, outbox
from stashjobs.testing.qstash import Server, serving
from tests.deliveries import Table, deliver

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@stashjobs.job("unique-rebuild", endpoint="/api/jobs/rebuild", retries=2)
def rebuild(payload: dict[str, Any], _context: Context) -> Any:
    if payload.get("fails"):
        raise OSError("no")
    return payload


@pytest.fixture(autouse=True)
def qstash(use_qstash: Callable[..., None]) -> Iterator[Server]:
    with serving() as server:
        use_qstash(server.url)
        yield server


def test_while_a_job_waits_it_is_the_answer_to_its_unique_key(table: Table, qstash: Server) -> None:
    first = rebuild.enqueue({"n": 1}, unique="u")
    second = rebuild.enqueue({"n": 2}, unique="u")
    other = rebuild.enqueue({"n": 3}, unique="v")
    assert (second.job_id, second.created) == (first.job_id, False)
    assert other.created
    assert sorted(row["payload"]["n"] for row in table.rows()) == [1, 3]
    assert len(qstash.messages) == 2

    deliver(rebuild, first.job_id)
    assert rebuild.enqueue({"n": 4}, unique="u").created


def test_fields_of_the_payload_may_be_the_key(table: Table) -> None:
    first = rebuild.enqueue({"n": 1, "user": "a"}, unique=["user"])
    assert rebuild.enqueue({"n": 2, "user": "a"}, unique=["user"]).job_id == first.job_id
    assert rebuild.enqueue({"n": 1, "user": "b"}, unique=["user"]).created
    with pytest.raises(ValueError, match="unique names 'missing', which the payload does not"):
        rebuild.enqueue({"n": 1}, unique=["missing"])
    assert len(table.rows()) == 2


def test_a_job_that_runs_counts_where_both_ask_for_it(table: Table) -> None:
    running = rebuild.enqueue({}, unique="r", unique_while="running").job_id
    free = rebuild.enqueue({}, unique="f", unique_while="running").job_id
    table.run(
        "UPDATE job_executions SET status = 'processing', attempt = 1, started_at = now(),"
        " lease_expires_at = now() + interval '1 minute' WHERE job_id = ANY(%s)",
        [running, free],
    )
    assert rebuild.enqueue({}, unique="r", unique_while="running").job_id == running
    assert rebuild.enqueue({}, unique="f").created


def test_many_with_the_same_key_are_one(table: Table) -> None:
    many = rebuild.enqueue_many([{"n": n} for n in range(3)], unique="u")
    assert len({each.job_id for each in many}) == 1
    assert [each.created for each in many].count(True) == 1
    assert len(table.rows()) == 1


def test_a_job_is_replaced_with_its_payload_and_time(table: Table) -> None:
    first = rebuild.enqueue({"n": 1}, unique="u", delay=60)
    later = datetime.now(UTC) + timedelta(hours=1)
    second = rebuild.enqueue({"n": 2}, unique="u", at=later, replace=True, metadata={"m": 1})
    assert (second.job_id, second.created) == (first.job_id, False)
    row = table.row(first.job_id)
    assert (row["payload"], row["metadata"], row["available_at"]) == ({"n": 2}, {"m": 1}, later)
    # Its message comes too early, is told the new time, and uses no attempt.
    assert row["published_at"] is not None
    answer = deliver(rebuild, first.job_id)
    assert (answer.status, answer.document["reason"]) == (503, "not due yet")
    assert answer.retry_after is not None
    assert answer.retry_after > 3000
    assert table.row(first.job_id)["attempt"] == 0


def test_a_job_that_is_moved_to_an_earlier_time_gets_another_message(table: Table) -> None:
    first = rebuild.enqueue({"n": 1}, unique="u", delay=3600)
    rebuild.enqueue({"n": 2}, unique="u", replace=True)
    assert table.row(first.job_id)["published_at"] is None
    with database.connection().transaction():
        [unpublished] = outbox.take_unpublished(
            database.connection(),
            job_types=["unique-rebuild"],
            limit=9,
            quiet_seconds=0,
            horizon_seconds=60,
            after=None,
        )
    # QStash, which remembers the first one, takes it.
    assert message.deduplication_id(unpublished) == f"{first.job_id}-moved-1"
    assert deliver(rebuild, first.job_id).status == 200
    assert table.row(first.job_id)["result"] == {"n": 2}


def test_a_debounced_job_is_due_after_the_last_enqueue_and_at_the_latest_after_max_wait(
    table: Table,
) -> None:
    [job_id] = {
        rebuild.enqueue({"n": n}, unique="u", debounce=30, max_wait=300).job_id for n in range(3)
    }
    row = table.row(job_id)
    assert row["payload"] == {"n": 2}
    assert timedelta(seconds=0) < row["available_at"] - row["updated_at"] <= timedelta(seconds=30)
    table.run("UPDATE job_executions SET created_at = created_at - interval '290 s'")
    rebuild.enqueue({"n": 3}, unique="u", debounce=30, max_wait=300)
    row = table.row(job_id)
    assert row["available_at"] - row["created_at"] == timedelta(seconds=300)


def test_a_job_that_comes_back_to_wait_gives_its_key_up_and_is_not_lost(table: Table) -> None:
    ended = rebuild.enqueue({"n": 1}, unique="u").job_id
    assert deliver(rebuild, ended).status == 200
    failing = rebuild.enqueue({"fails": True}, unique="u").job_id
    # Another is enqueued while that one runs.
    table.run(
        "UPDATE job_executions SET status = 'processing', attempt = 1, started_at = now(),"
        " lease_expires_at = now() - interval '1 second' WHERE job_id = %s",
        failing,
    )
    waiting = rebuild.enqueue({"n": 2}, unique="u")
    assert waiting.created
    assert deliver(rebuild, failing).status == 500
    retry_and_cancel.retry(ended, actor="test")
    rows = {row["job_id"]: (row["status"], row["unique_key"]) for row in table.rows()}
    assert rows == {
        ended: ("pending", None),
        failing: ("retrying", None),
        waiting.job_id: ("pending", "u"),
    }
    assert rebuild.enqueue({"n": 3}, unique="u").job_id == waiting.job_id


def test_of_many_threads_one_enqueues(table: Table, database_url: str) -> None:
    def enqueue(number: int) -> tuple[str, bool]:
        with psycopg.connect(database_url) as connection:
            key = f"k{number % 2}"
            made = rebuild.enqueue({}, unique=key, connection=connection, replace=number % 3 == 0)
            return made.job_id, made.created

    with ThreadPoolExecutor(32) as threads:
        found = list(threads.map(enqueue, range(64)))
    assert sum(created for _, created in found) == 2
    assert len({job_id for job_id, _ in found}) == len(table.rows()) == 2


def test_by_sql_it_is_the_same(table: Table) -> None:
    statement = (
        "SELECT * FROM stashjobs.enqueue('unique-rebuild', %s, unique_key => 'u',"
        " debounce => interval '30 s', max_wait => interval '5 min')"
    )
    [first] = table.run(statement, json.dumps({"n": 1}))
    [second] = table.run(statement, json.dumps({"n": 2}))
    assert (first["created"], second["created"]) == (True, False)
    assert second["job_id"] == first["job_id"]
    assert table.row(first["job_id"])["payload"] == {"n": 2}
    with pytest.raises(psycopg.Error, match="max_wait is for debounce"):
        table.run(
            "SELECT stashjobs.enqueue('unique-rebuild', '1', unique_key => 'u',"
            " max_wait => interval '1 s')"
        )


def test_what_makes_no_sense_is_refused_before_anything_is_written(table: Table) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"replace": True}, "need unique"),
        ({"debounce": 1}, "need unique"),
        ({"unique": ""}, "unique is empty"),
        ({"unique": "u" * 1001}, "unique is longer than 1000 bytes"),
        ({"unique": "u", "unique_while": "ended"}, "must be waiting or running"),
        ({"unique": "u", "debounce": -1}, "debounce is -1"),
        ({"unique": "u", "debounce": 1, "delay": 1}, "debounce is a delay itself"),
        ({"unique": "u", "debounce": 9, "max_wait": 8}, "at least as long"),
        ({"unique": "u", "max_wait": 8}, "max_wait is for debounce"),
        ({"unique": "u", "replace": True, "encrypted": True}, "cannot replace another"),
        ({"unique": ["n"], "encrypted": True}, "would show its fields"),
        ({"unique": "u", "replace": True, "after": ["a"]}, "cannot wait for others"),
    ]
    for options, reason in wrong:
        with pytest.raises(ValueError, match=reason):
            rebuild.enqueue({"n": 1}, **options)
    assert table.rows() == []
