"""QStash or Postgres goes away and comes back: everything enqueued completes, once."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

import psycopg
import pytest

from infra.local.qstash import DeliveryResponse
from stashjobs.producer import publish
from stashjobs.recovery import relay
from stashjobs.store import database, outbox
from tests.faults.jobs import faulty

if TYPE_CHECKING:
    from tests.faults.conftest import Faults

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_what_is_enqueued_while_qstash_is_away_is_published_when_it_is_back(
    faults: Faults,
) -> None:
    await faults.system.stop_qstash()
    ids = await faults.enqueue(50)
    assert (await faults.relay()).published == 0
    await faults.system.start_qstash()
    assert (await faults.relay()).published == 50
    assert {row["status"] for row in await faults.ended()} == {"completed"}
    assert await faults.effects() == dict.fromkeys(ids, 1)


async def test_the_relay_publishes_the_oldest_first_and_at_the_configured_rate(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "BATCH", 10)
    monkeypatch.setenv("RELAY_MESSAGES_PER_SECOND", "40")
    ids = [await asyncio.to_thread(_enqueue_and_die, faults.system.postgres.url) for _ in range(50)]
    began = time.monotonic()
    await faults.relay()
    # Four pauses of a quarter of a second between five batches; how much longer is the machine's.
    assert time.monotonic() - began > 0.9
    published = await faults.query(
        "SELECT job_id FROM job_executions ORDER BY published_at, job_id"
    )
    assert [row["job_id"] for row in published] == ids
    await faults.ended()


async def test_a_message_that_qstash_refuses_does_not_hold_up_the_others(faults: Faults) -> None:
    await faults.system.stop_qstash()
    ids = await faults.enqueue(20)
    poison = ids[7]
    await faults.query(
        "UPDATE job_executions SET delivery = jsonb_build_object('callback', 'no URL')"
        " WHERE job_id = %s",
        poison,
    )
    await faults.system.start_qstash()
    report = await faults.relay()
    assert (report.published, report.refused) == (19, 1)
    row = await faults.row(poison)
    assert (row["status"], row["published_at"]) == ("pending", None)
    assert row["error"].startswith("QStash refuses this job's message: ")
    await faults.query("UPDATE job_executions SET delivery = '{}' WHERE job_id = %s", poison)
    assert {row["status"] for row in await faults.ended()} == {"completed"}


async def test_a_job_whose_message_qstash_refuses_for_a_day_has_failed_and_says_why(
    faults: Faults,
) -> None:
    await faults.system.stop_qstash()
    [job_id] = await faults.enqueue(1)
    await faults.query(
        "UPDATE job_executions SET delivery = jsonb_build_object('callback', 'no URL'),"
        " created_at = now() - interval '2 days', available_at = now() - interval '25 hours'"
        " WHERE job_id = %s",
        job_id,
    )
    await faults.system.start_qstash()
    await faults.relay()
    row = await faults.row(job_id)
    assert row["status"] == "failed"
    assert row["error"].startswith("QStash refuses this job's message: ")


async def test_several_relays_at_once_publish_each_job_once(faults: Faults) -> None:
    await faults.system.stop_qstash()
    ids = await faults.enqueue(60)
    await faults.system.start_qstash()
    # Processes of their own have connections of their own; threads here stand for them.
    urls = [faults.system.postgres.url] * 4
    reports = await asyncio.gather(*(asyncio.to_thread(_relay_alone, url) for url in urls))
    assert sum(reports) == 60
    await faults.ended(relaying=False)
    assert await faults.effects() == dict.fromkeys(ids, 1)
    messages = {request.message_id for request in faults.network.requests}
    assert len(messages) == 60


def _enqueue_and_die(url: str) -> str:
    """An app that committed and could not publish any more."""
    with psycopg.connect(url) as connection:
        return faulty.enqueue({}, connection=connection).job_id


_one_at_a_time = threading.Lock()


def _relay_alone(url: str) -> int:
    """What `publish_unpublished` does, on a connection of this relay alone."""

    published = 0
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            with connection.transaction():
                batch = outbox.take_unpublished(
                    connection,
                    job_types=[faulty.type],
                    limit=7,
                    quiet_seconds=0,
                    horizon_seconds=3600,
                    after=None,
                )
                with _one_at_a_time:
                    told = publish.send(batch) if batch else {}
                if told:
                    outbox.confirm_published(connection, told)
            published += len(told)
            if not batch:
                return published


async def test_an_enqueue_that_was_rolled_back_is_never_delivered(faults: Faults) -> None:
    def enqueue() -> str:
        with psycopg.connect(faults.system.postgres.url) as connection:
            rolled_back = faulty.enqueue({}, connection=connection)
            connection.rollback()
            faulty.enqueue({}, connection=connection)
            connection.commit()
        return rolled_back.job_id

    rolled_back = await asyncio.to_thread(enqueue)
    [row] = await faults.ended()
    assert row["status"] == "completed"
    assert row["job_id"] != rolled_back
    assert all(rolled_back.encode() not in request.body for request in faults.network.requests)


async def test_deliveries_while_postgres_is_away_are_asked_to_come_again_and_all_complete(
    faults: Faults,
) -> None:
    ids = await faults.enqueue(30, seconds=0.05)
    await faults.until(lambda: faults.network.answers)
    answered = len(faults.network.answers)
    await faults.system.stop_postgres("immediate")
    await faults.until(lambda: faults.network.answers[answered:].count(503) >= 10)
    database.close()
    await faults.system.start_postgres()
    rows = await faults.ended()
    assert {row["status"] for row in rows} == {"completed"}
    assert await faults.effects() == dict.fromkeys(ids, 1)


async def test_an_outage_longer_than_all_retries_of_a_message_loses_no_attempt(
    faults: Faults,
) -> None:
    """Jobs that never ran are dead-lettered; the relay publishes them again."""
    await faults.system.stop_qstash()
    ids = await faults.enqueue(5)
    await faults.query("UPDATE job_executions SET max_attempts = 1")
    await faults.system.start_qstash()
    unavailable = DeliveryResponse(503, {"Retry-After": ["1"]}, b"")
    faults.network.answer = lambda request: unavailable
    await faults.relay()
    await faults.until(lambda: len(faults.network.answers) >= 5)
    faults.network.answer = lambda request: None
    rows = await faults.ended()
    assert {(row["status"], row["attempt"]) for row in rows} == {("completed", 1)}
    assert await faults.effects() == dict.fromkeys(ids, 1)
