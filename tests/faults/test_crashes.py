"""A worker that dies, at every step of a delivery: the job completes, once, and the row says why it
took two attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.faults.conftest import Faults

pytestmark = pytest.mark.asyncio(loop_scope="module")

# step: the attempts that the job needs, and the errors of those that did not complete
STEPS = {
    "before verify": (1, []),
    "before claim": (1, []),
    "before run": (2, [(1, "LeaseExpired")]),
    "during run": (2, [(1, "LeaseExpired")]),
    "before record": (2, [(1, "LeaseExpired")]),
    "before answer": (1, []),
}


@pytest.mark.parametrize("relaying", [False, True], ids=["qstash-alone", "with-the-relay"])
async def test_a_job_whose_worker_is_killed_completes_exactly_once(
    faults: Faults, relaying: bool
) -> None:
    for step, (attempts, errors) in STEPS.items():
        (faults.crashes / step).touch()
        [job_id] = await faults.enqueue()
        await faults.until(lambda step=step: not (faults.crashes / step).exists())  # type: ignore[misc]
        await faults.ended(relaying=relaying)
        row = await faults.row(job_id)
        assert (row["status"], row["attempt"]) == ("completed", attempts), step
        assert [(error["attempt"], error["type"]) for error in row["errors"]] == errors, step
    rows = await faults.rows()
    assert await faults.effects() == {row["job_id"]: 1 for row in rows}


async def test_many_jobs_complete_exactly_once_while_workers_are_killed(faults: Faults) -> None:
    ids = await faults.enqueue(30)
    for step in [*STEPS, *STEPS]:
        (faults.crashes / step).touch()
        await faults.until(lambda step=step: not (faults.crashes / step).exists())  # type: ignore[misc]
        if not [row for row in await faults.rows() if row["status"] == "pending"]:
            ids += await faults.enqueue(10)
    assert {row["status"] for row in await faults.ended()} == {"completed"}
    assert await faults.effects() == dict.fromkeys(ids, 1)


async def test_a_repeated_call_elsewhere_has_the_same_idempotency_key(faults: Faults) -> None:
    (faults.crashes / "before record").touch()
    [job_id] = await faults.enqueue()
    await faults.ended()
    assert await faults.query("SELECT * FROM external_effects") == [{"key": job_id, "calls": 2}]


async def test_the_last_attempt_that_dies_fails_the_job(faults: Faults) -> None:
    (faults.crashes / "during run").touch()
    [job_id] = await faults.enqueue()
    await faults.query("UPDATE job_executions SET max_attempts = 1")
    await faults.ended()
    row = await faults.row(job_id)
    assert (row["status"], row["attempt"]) == ("failed", 1)
    assert row["error"] == "LeaseExpired: the attempt ended without a word"
    assert await faults.effects() == {}
