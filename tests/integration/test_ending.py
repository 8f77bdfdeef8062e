"""Waiting for the end of a job."""

from __future__ import annotations

import asyncio
import math
import threading
from typing import TYPE_CHECKING, Any

import pytest

from stashjobs import NoSuchJob, encryption
from stashjobs.producer import ending
from stashjobs.store import database
from tests.deliveries import deliver, probe

if TYPE_CHECKING:
    from tests.deliveries import Table

job = probe(retries=0)
PATIENCE = 60


def _deliver_meanwhile(job_id: str) -> threading.Thread:
    def work() -> None:
        deliver(job, job_id)
        database.close()

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_waiting_ends_when_the_job_does(table: Table) -> None:
    enqueued = job.enqueue({"n": 1}, connection=table.other)
    worker = _deliver_meanwhile(enqueued.job_id)
    state = enqueued.wait(PATIENCE)
    worker.join()
    assert (state.status, state.ended, state.result, state.error) == (
        "completed",
        True,
        {"n": 1},
        None,
    )


def test_waiting_beside_an_event_loop_ends_when_the_job_does(table: Table) -> None:
    enqueued = job.enqueue({"n": 1}, connection=table.other)
    worker = _deliver_meanwhile(enqueued.job_id)
    state = asyncio.run(enqueued.wait_async(PATIENCE))
    worker.join()
    assert (state.status, state.result) == ("completed", {"n": 1})


def test_after_its_time_waiting_says_how_the_job_stands(table: Table) -> None:
    state = job.enqueue({}, connection=table.other).wait(0.1)
    assert (state.status, state.ended, state.result) == ("pending", False, None)


def test_an_encrypted_result_is_decrypted(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAYLOAD_KEYS", encryption.new_entry("k1"))
    enqueued = job.enqueue({"n": 1}, connection=table.other, encrypted=True)
    deliver(job, enqueued.job_id)
    assert "$sealed" in table.row(enqueued.job_id)["result"]
    assert enqueued.wait(0).result == {"n": 1}


def test_a_job_whose_transaction_was_undone_is_no_job(table: Table) -> None:
    with table.other.transaction(force_rollback=True):
        enqueued = job.enqueue({}, connection=table.other)
    with pytest.raises(NoSuchJob, match=f"there is no job {enqueued.job_id}"):
        enqueued.wait(0.1)


@pytest.mark.parametrize("seconds", [-1, math.nan, math.inf, True, "20", None])
def test_a_time_that_makes_no_sense_is_refused(seconds: Any) -> None:
    with pytest.raises(ValueError, match=r"seconds is .*, it must be 0 or more"):
        ending.wait("any", seconds)


def test_no_connection_is_held_while_it_waits(
    table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between two looks the thread's connection is idle, in no transaction."""
    states: list[str] = []

    def look(_seconds: float) -> None:
        states.append(database.connection().info.transaction_status.name)

    monkeypatch.setattr("stashjobs.producer.ending.time.sleep", look)
    job.enqueue({}, connection=table.other).wait(0.05)
    assert set(states) == {"IDLE"}
