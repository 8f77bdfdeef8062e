"""The relay, and what one type, one row or one setting must not do to the others."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from psycopg.errors import CheckViolation

from stashjobs.producer import qstash_client
from stashjobs.recovery import dead_letters, relay
from stashjobs.store import outbox
from stashjobs.testing.qstash import BATCH, Received, Server, serving
from tests.deliveries import probe
from tests.qstash_servers import qstash_running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stashjobs.job import Job
    from tests.deliveries import Table
    from tests.integration.conftest import Log

MANY = """
INSERT INTO job_executions (job_id, job_type, payload, max_attempts, created_at, available_at)
SELECT 'busy-' || n, 'busy', '{}', 3, now() - interval '1 h', now() - interval '1 h'
  FROM generate_series(1, 40) AS n
"""


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> dict[str, Job[Any, Any]]:
    """Two types that this process knows how to publish."""
    declared = {name: probe(type=name) for name in ("busy", "quiet")}
    monkeypatch.setattr(relay, "declared", lambda: list(declared.values()))
    monkeypatch.setattr("stashjobs.producer.publish.find", declared.__getitem__)
    monkeypatch.setattr(relay, "BATCH", 10)
    monkeypatch.setattr(dead_letters, "_looked_at", None)
    monkeypatch.setenv("RELAY_MESSAGES_PER_SECOND", "0")
    return declared


@pytest.fixture
def qstash(use_qstash: Callable[..., None]) -> Iterator[Server]:
    with serving() as server:
        use_qstash(server.url)
        yield server


def publish() -> relay.Report:
    report = relay.Report()
    relay.publish_unpublished(report, time.time() + 60, quiet_seconds=0)
    return report


def published_types(qstash: Server) -> list[str]:
    return [message["headers"]["Upstash-Label"] for message in qstash.messages]


def test_types_take_turns_so_that_none_waits_for_another_s_thousands(
    table: Table, jobs: dict[str, Job[Any, Any]], qstash: Server
) -> None:
    table.run(MANY)
    table.add(jobs["quiet"])

    assert publish().published == 41

    assert published_types(qstash).index("quiet") == 10  # behind one batch of the other's


def test_what_comes_while_another_type_is_busy_is_published_in_the_next_turn(
    table: Table, jobs: dict[str, Job[Any, Any]], qstash: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    table.run(MANY)
    handle = Server.handle

    def handle_and_add(self: Server, request: Received) -> tuple[int, Any]:
        if request.path == BATCH and len(self.received) == 1:
            table.add(jobs["quiet"])
        return handle(self, request)

    monkeypatch.setattr(Server, "handle", handle_and_add)

    assert publish().published == 41

    assert published_types(qstash).index("quiet") == 20


def test_leases_and_dead_letters_are_looked_at_while_much_is_published(
    table: Table, jobs: dict[str, Job[Any, Any]], qstash: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "LOOK_SECONDS", 0)
    looked: list[int] = []  # so many messages had been published by then

    def reconcile(_deadline: float) -> int:
        looked.append(len(qstash.messages))
        return 0

    monkeypatch.setattr(dead_letters, "reconcile", reconcile)
    table.run(MANY)
    running = table.add(jobs["quiet"])
    table.run(
        "UPDATE job_executions SET status = 'processing', attempt = 1, started_at = now(),"
        " published_at = now(), lease_expires_at = now() - interval '1 s' WHERE job_id = %s",
        running,
    )

    report = publish()

    assert report.leases_freed == 1
    assert published_types(qstash).index("quiet") == 10  # the lease was freed in between
    assert looked[0] < 41


def test_every_page_of_the_dead_letter_queue_is_read(
    table: Table, jobs: dict[str, Job[Any, Any]], monkeypatch: pytest.MonkeyPatch, use_qstash: Any
) -> None:
    monkeypatch.setattr(dead_letters, "PAGE", 2)
    ids = [table.add(jobs["quiet"], max_attempts=1) for _ in range(5)]
    with qstash_running() as server:
        use_qstash(server.url, server.token)
        monkeypatch.setenv("BASE_URL", "http://127.0.0.1:9")  # nobody listens there
        assert publish().published == 5
        patience = time.monotonic() + 60
        while len(qstash_client.qstash().dlq.list().messages) < 5 and time.monotonic() < patience:
            time.sleep(0.05)

        assert dead_letters.reconcile(time.time() + 60) == 5

    assert all(table.row(job_id)["dlq_id"] for job_id in ids)


def test_a_row_whose_message_cannot_be_made_is_set_aside_with_the_reason(
    table: Table,
    jobs: dict[str, Job[Any, Any]],
    qstash: Server,
    monkeypatch: pytest.MonkeyPatch,
    log: Log,
) -> None:
    table.run(MANY)
    unlike = "ALTER TABLE job_executions DISABLE TRIGGER job_executions_check_job"
    table.run(unlike)  # as before there was one
    table.run(
        """UPDATE job_executions SET delivery = '{"headers": ["a"]}' WHERE job_id = 'busy-7'"""
    )

    report = publish()

    assert (report.published, report.refused) == (39, 1)
    row = table.row("busy-7")
    assert row["published_at"] is None
    assert row["error"].startswith("QStash refuses this job's message: ")
    assert "busy-7" in log.text


def test_a_row_of_a_type_that_no_function_has_gets_the_reason_and_fails_after_a_day(
    table: Table, jobs: dict[str, Job[Any, Any]], monkeypatch: pytest.MonkeyPatch, log: Log
) -> None:
    table.run(MANY)
    for job_type in ("qiuet", "quiiet", "unlike"):
        table.run(
            "INSERT INTO job_executions (job_id, job_type, payload, max_attempts, created_at,"
            " available_at) VALUES (%s, %s, '{}', 3, now(), now())",
            f"{job_type}-1",
            job_type,
        )

    def refuse(job_id: str, age: str) -> tuple[str, str | None]:
        table.run(
            "UPDATE job_executions SET created_at = now() - %s::interval,"
            " available_at = now() - %s::interval WHERE job_id = %s",
            age,
            age,
            job_id,
        )
        relay.refuse_unknown_types(relay.Report(), time.time() + 60)
        row = table.row(job_id)
        return row["status"], row["error"]

    reason = "no function has the job type 'qiuet'. Did you mean quiet?"
    assert refuse("qiuet-1", "30 s") == ("pending", None)
    assert refuse("qiuet-1", "2 min") == ("pending", reason)
    assert "qiuet-1" in log.text
    told = len(log.text)
    assert refuse("qiuet-1", "3 min") == ("pending", reason)
    assert len(log.text) == told  # once
    assert refuse("unlike-1", "3 min") == ("pending", "no function has the job type 'unlike'")
    assert refuse("qiuet-1", "25 h") == ("failed", reason)
    assert table.row("quiiet-1")["error"] is None
    assert table.row("busy-1")["error"] is None
    assert outbox.read_unpublished_types(table.connection, but=[]) == [
        "busy",
        "quiiet",
        "unlike",
    ]
    monkeypatch.setattr(relay, "broken", lambda: ["functions/quiiet/handler.py cannot be imported"])
    assert refuse("quiiet-1", "25 h") == ("pending", None)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("delivery", '{"headers": ["a"]}'),
        ("delivery", '{"headers": {"X-A": ["a"]}}'),
        ("delivery", '{"headers": {"X-A": null}}'),
        ("delivery", '{"callback": 7}'),
        ("delivery", '{"failureCallback": null}'),
        ("delivery", "[]"),
        ("delivery", f'{{"callback": "{"x" * 100_000}"}}'),
        ("metadata", "[]"),
        ("errors", "{}"),
        ("errors", '["a"]'),
        ("available_at", "0044-03-15 BC"),
        ("available_at", "infinity"),
        ("created_at", "-infinity"),
        ("updated_at", "10000-01-01"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_the_database_refuses_what_no_program_can_read(
    table: Table, column: str, value: str
) -> None:
    with pytest.raises(CheckViolation):
        table.run(
            f"INSERT INTO job_executions (job_id, job_type, payload, max_attempts, {column})"
            " VALUES ('odd', 'probe', '{}', 3, %s)",
            value,
        )
