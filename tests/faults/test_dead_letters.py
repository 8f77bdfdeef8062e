"""Dead letters reach the row, by the callback or without it."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import TYPE_CHECKING

import pytest

from infra.local.qstash import DeliveryError, DeliveryResponse
from stashjobs.operators import retry_and_cancel
from tests.faults.jobs import faulty

if TYPE_CHECKING:
    from infra.local.qstash import DeliveryRequest
    from tests.faults.conftest import Faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

STOPPED = DeliveryResponse(489, {"Upstash-Nonretryable-Error": ["true"]}, b"")


def refusing_jobs(request: DeliveryRequest) -> DeliveryResponse | None:
    """A route that is gone; QStash need not try again."""
    return STOPPED if request.url.endswith("/faulty") else None


async def test_the_failure_callback_fails_the_job_at_once(faults: Faults) -> None:
    faults.network.answer = refusing_jobs
    [job_id] = await faults.enqueue()
    await faults.ended(relaying=False)
    row = await faults.row(job_id)
    assert (row["status"], row["attempt"]) == ("failed", 0)
    assert row["error"].startswith("DeliveryFailed: dead-lettered by QStash")
    assert row["dlq_id"]


async def test_the_relay_fails_the_job_when_the_callback_was_lost(faults: Faults) -> None:
    faults.network.lose_callbacks()
    lost = faults.network.answer
    faults.network.answer = lambda request: refusing_jobs(request) or lost(request)
    ids = await faults.enqueue(3)
    rows = await faults.ended()
    assert {row["job_id"] for row in rows} == set(ids)
    assert all(row["status"] == "failed" and row["dlq_id"] for row in rows)


@pytest.mark.parametrize("lost", [False, True])
async def test_the_caller_is_told_once_whether_the_callback_was_lost_or_not(
    faults: Faults, *, lost: bool
) -> None:
    def answer(request: DeliveryRequest) -> DeliveryResponse | DeliveryError | None:
        if request.url.endswith("/mine"):
            return DeliveryResponse(200, {}, b"")
        if lost and request.url.endswith("/delivery-failed"):
            return DeliveryError("lost")
        return refusing_jobs(request)

    def told() -> list[DeliveryRequest]:
        return [each for each in faults.network.requests if each.url.endswith("/mine")]

    faults.network.answer = answer
    mine = "http://app.example/mine"
    enqueued = await asyncio.to_thread(faulty.enqueue, {}, failure_callback=mine)
    await faults.ended()
    for _ in range(600):
        if told():
            break
        await asyncio.sleep(0.1)
    [request] = told()
    said = json.loads(request.body)
    assert json.loads(base64.b64decode(said["sourceBody"]))["jobId"] == enqueued.job_id
    assert said["dlqId"] == (await faults.row(enqueued.job_id))["dlq_id"]
    assert (said["status"], said["method"]) == (489, "POST")


async def test_a_manually_retried_job_is_not_failed_by_its_old_message(
    faults: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its dead letter is still there, and the new message is not out yet."""
    faults.network.answer = refusing_jobs
    [job_id] = await faults.enqueue()
    await faults.ended(relaying=False)
    faults.network.answer = lambda request: None
    with monkeypatch.context() as without_base_url:
        without_base_url.delenv("BASE_URL")  # nothing can be published, and all else can be done
        await asyncio.to_thread(retry_and_cancel.retry, job_id, actor="ada")
        await faults.relay()
        assert (await faults.row(job_id))["status"] == "pending"
    rows = await faults.ended()
    assert [(row["status"], row["run"]) for row in rows] == [("completed", 2)]
    assert await faults.effects() == {job_id: 1}


async def test_a_job_has_all_its_attempts_although_qstash_allows_fewer_retries(
    faults: Faults,
) -> None:
    """Its plan allows 5; what more the job asks for comes with further messages."""
    await asyncio.to_thread(faulty.enqueue, {"failures": 13}, retries=13)
    [row] = await faults.ended()
    assert (row["status"], row["attempt"], row["max_attempts"]) == ("completed", 14, 14)
    deliveries = [each for each in faults.network.requests if each.url.endswith("/faulty")]
    assert len({each.message_id for each in deliveries}) == 3
    assert await faults.effects() == {row["job_id"]: 1}


async def test_a_message_that_qstash_lost_is_sent_again(faults: Faults) -> None:
    """Whether it was QStash, or somebody who deleted it there."""
    await faults.system.stop_qstash()
    [job_id] = await faults.enqueue()
    await faults.system.start_qstash()
    await faults.query(
        "UPDATE job_executions SET message_id = 'msg_lost', published_at = now() - interval '2 h',"
        " updated_at = now() - interval '2 h', available_at = now() - interval '2 h'"
    )
    report = await faults.relay()
    assert (report.published, report.vanished) == (0, 1)
    await faults.ended()
    assert (await faults.row(job_id))["status"] == "completed"


async def test_a_message_that_still_waits_at_qstash_is_not_sent_again(faults: Faults) -> None:
    faults.network.answer = lambda _request: DeliveryResponse(503, {"Retry-After": ["9999"]}, b"")
    [job_id] = await faults.enqueue()
    await faults.until(lambda: faults.network.answers)
    await faults.query(
        "UPDATE job_executions SET published_at = now() - interval '2 h',"
        " updated_at = now() - interval '2 h', available_at = now() - interval '2 h'"
    )
    report = await faults.relay()
    assert (report.published, report.vanished) == (0, 0)
    assert (await faults.row(job_id))["published_at"] is not None
