"""Cancelling what runs: the attempt hears of it, and unless it completes it is the last."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from stashjobs import Cancelled, Snooze
from stashjobs.operators import retry_and_cancel, search, story
from stashjobs.recovery import relay
from stashjobs.store import database
from tests.deliveries import deliver, probe

if TYPE_CHECKING:
    from collections.abc import Callable

    from stashjobs import Context
    from tests.deliveries import Table


def cancelled_while(then: Callable[[Context], Any]) -> Callable[[Any, Context], Any]:
    """A job that an operator cancels while it runs, and what it does next."""

    def function(_payload: Any, context: Context) -> Any:
        context.connection.execute("CREATE TABLE IF NOT EXISTS effects (number int)")
        before = context.cancelled
        retry_and_cancel.cancel(context.job_id, actor="ada")
        assert (before, context.cancelled) == (False, True)
        return then(context)

    return function


def _raise(error: BaseException) -> Callable[[Context], Any]:
    def function(_context: Context) -> Any:
        raise error

    return function


@pytest.mark.parametrize(
    "then",
    [
        lambda context: context.progress(0.5, "half"),
        lambda context: context.heartbeat(),
        _raise(ValueError("stopped")),
        _raise(Snooze("later", seconds=60)),
        _raise(Cancelled("as asked")),
    ],
    ids=["progress", "heartbeat", "error", "snooze", "cancelled"],
)
def test_an_attempt_that_does_not_complete_ends_the_job_as_cancelled(
    table: Table, then: Callable[[Context], Any]
) -> None:
    job = probe(cancelled_while(then))
    job_id = table.add(job)
    answer = deliver(job, job_id)
    assert (answer.status, answer.document["status"]) == (200, "cancelled")
    row = table.row(job_id)
    assert (row["status"], row["error"]) == ("cancelled", "cancelled by ada")
    assert row["completed_at"] is not None
    assert table.run("SELECT to_regclass('effects') AS it") == [{"it": None}]


def test_an_attempt_that_completes_all_the_same_has_completed(table: Table) -> None:
    job = probe(cancelled_while(lambda _context: "done"))
    job_id = table.add(job)
    assert deliver(job, job_id).document["status"] == "completed"
    assert table.status(job_id) == "completed"


def test_it_is_in_the_story_and_a_retry_runs_it_again(table: Table) -> None:
    job = probe(cancelled_while(lambda context: context.heartbeat()))
    job_id = table.add(job)
    deliver(job, job_id)
    found = search.find(database.connection(), job_id)
    assert found is not None
    events = story.tell(found, story.read_actions(database.connection(), job_id))
    assert ("processing", "asked to stop by ada") in [(each.state, each.note) for each in events]
    assert events[-1].state == "cancelled"
    retry_and_cancel.retry(job_id, actor="ada")
    assert table.row(job_id)["cancel_requested_by"] is None
    assert deliver(probe(), job_id).document["status"] == "completed"


def test_an_attempt_that_never_came_back_is_cancelled_by_the_relay(table: Table) -> None:
    job_id = table.add(probe())
    table.run(
        "SELECT stashjobs.claim(job_id => %s, type => 'probe', lease_seconds => 60)",
        job_id,
    )
    retry_and_cancel.cancel(job_id, actor="ada")
    table.expire_lease(job_id)
    assert deliver(probe(), job_id).status == 409
    relay.free_leases(relay.Report(), time.time() + 60)
    row = table.row(job_id)
    assert (row["status"], row["error"]) == ("cancelled", "cancelled by ada")
