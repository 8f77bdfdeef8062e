"""The story of a job: each attempt ended as it did, whatever an operator did afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from functions.api.dashboard import timeline
from stashjobs.errors import Cancelled, PermanentError
from stashjobs.operators import retry_and_cancel, search, story
from stashjobs.store import database, executions
from tests.deliveries import deliver, probe

if TYPE_CHECKING:
    from stashjobs import Context
    from tests.deliveries import Table

PUBLISHED = "UPDATE job_executions SET published_at = now(), message_id = 'm' WHERE job_id = %s"
DEAD_LETTER = """
UPDATE job_executions SET status = 'failed', error = 'DeliveryFailed: dead-lettered by QStash',
       completed_at = now() WHERE job_id = %s
"""


def _raise(payload: Any, _context: Context) -> Any:
    errors = {"ValueError": ValueError, "PermanentError": PermanentError, "Cancelled": Cancelled}
    if payload in errors:
        raise errors[payload]("why")
    return payload


JOB = probe(_raise)


def told(job_id: str) -> list[tuple[str, str]]:
    """State and note of each event, without the seconds that an attempt took; the dashboard's kinds
    must agree about the attempts."""
    connection = database.connection()
    job = search.find(connection, job_id)
    assert job is not None
    actions = story.read_actions(connection, job_id)
    events = story.tell(job, actions)
    ended = [
        event.state for event in events if event.note.startswith("attempt") and "s:" in event.note
    ]
    moments = timeline.moments(job, actions)
    assert [each.kind for each in moments if " failed " in each.title] == ended
    return [(each.state, each.note.split(" s: ")[-1]) for each in events]


def test_an_attempt_that_was_to_be_repeated_stays_so_when_the_job_is_cancelled(
    table: Table,
) -> None:
    job_id = table.add(JOB, "ValueError")
    deliver(JOB, job_id)
    retry_and_cancel.cancel(job_id, actor="ada")
    assert told(job_id)[-2:] == [("retrying", "ValueError: why"), ("cancelled", "by ada")]


def test_an_attempt_that_failed_stays_failed_when_the_job_is_retried(table: Table) -> None:
    job_id = table.add(JOB, "PermanentError")
    table.run(PUBLISHED, job_id)
    deliver(JOB, job_id)
    retry_and_cancel.retry(job_id, actor="ada")
    table.run(PUBLISHED, job_id)
    assert told(job_id) == [
        ("pending", "recorded"),
        ("pending", "QStash has the message"),
        ("processing", "attempt 1"),
        ("failed", "PermanentError: why"),
        ("pending", "retried by ada"),
        ("pending", "QStash has the message"),
    ]


def test_each_run_of_a_job_ends_as_it_did(table: Table) -> None:
    job_id = table.add(JOB, "ValueError")
    for _ in range(3):
        deliver(JOB, job_id)
    retry_and_cancel.retry(job_id, actor="ada", payload="Cancelled")
    deliver(JOB, job_id)
    retry_and_cancel.retry(job_id, actor="ada", payload="ValueError")
    deliver(JOB, job_id)
    retry_and_cancel.cancel(job_id, actor="ada")
    retry_and_cancel.retry(job_id, actor="ada", payload="well")
    deliver(JOB, job_id)
    ends = [each for each in told(job_id) if each[0] not in {"pending", "processing"}]
    assert ends[:-1] == [
        ("retrying", "ValueError: why"),
        ("retrying", "ValueError: why"),
        ("failed", "ValueError: why"),
        ("cancelled", "Cancelled: why"),
        ("retrying", "ValueError: why"),
        ("cancelled", "by ada"),
    ]
    assert ends[-1][0] == "completed"


def test_a_dead_letter_is_shown_also_after_a_retry(table: Table) -> None:
    job_id = table.add(JOB, "ValueError")
    deliver(JOB, job_id)
    table.run(DEAD_LETTER, job_id)
    dead_lettered = ("failed", "DeliveryFailed: dead-lettered by QStash")
    assert told(job_id)[-2:] == [("retrying", "ValueError: why"), dead_lettered]
    retry_and_cancel.retry(job_id, actor="ada")
    table.run(DEAD_LETTER, job_id)
    assert told(job_id)[-4:] == [
        ("retrying", "ValueError: why"),
        dead_lettered,
        ("pending", "retried by ada"),
        dead_lettered,
    ]


def test_a_lease_that_ran_out_on_the_last_attempt_ends_the_job(table: Table) -> None:
    once = probe(_raise, retries=0)
    job_id = table.add(once, "well")
    table.run(
        "UPDATE job_executions SET status = 'processing', attempt = 1, started_at = now(),"
        " lease_expires_at = now() - interval '1 second' WHERE job_id = %s",
        job_id,
    )
    deliver(once, job_id)
    assert ("failed", "LeaseExpired: the attempt ended without a word") in told(job_id)


def test_an_attempt_that_died_is_told_by_what_is_known_of_its_end(table: Table) -> None:
    job_id = table.add(probe(_raise))
    table.run(
        "UPDATE job_executions SET status = 'processing', attempt = 1, lease_expires_at = now(),"
        " started_at = now() - interval '75 s', created_at = now() - interval '80 s'"
        " WHERE job_id = %s",
        job_id,
    )
    executions.free_expired_leases(table.other, 10)
    note = (
        "attempt 1, ended at an unknown time within 75.000 s: "
        "LeaseExpired: the attempt ended without a word"
    )
    job = search.find(table.other, job_id)
    assert job is not None
    assert ("retrying", note) in [(each.state, each.note) for each in story.tell(job)]
    titles = [each.title for each in timeline.moments(job, [])]
    assert "Attempt 1 failed at an unknown time within 1 min 15 s" in titles


def test_an_error_that_another_hand_wrote_has_no_beginning_and_is_told(table: Table) -> None:
    job_id = table.add(JOB)
    table.run(
        """UPDATE job_executions SET errors = '[{"type": "Odd"}]' WHERE job_id = %s""", job_id
    )
    assert ("retrying", "attempt None: Odd: ") in told(job_id)


def test_a_cancelled_delayed_job_does_not_end_in_the_future(table: Table) -> None:
    job_id = table.add(JOB, "x", available_at=datetime.now(UTC) + timedelta(hours=1))
    assert told(job_id)[-1] == ("pending", "due")
    retry_and_cancel.cancel(job_id, actor="ada")
    assert told(job_id)[-1] == ("cancelled", "by ada")


def test_a_job_in_backoff_says_when_its_next_attempt_is(table: Table) -> None:
    job_id = table.add(JOB, "ValueError")
    deliver(JOB, job_id)
    assert told(job_id)[-1] == ("retrying", "due")
    job = search.find(database.connection(), job_id)
    assert job is not None
    assert job.due_at == job.available_at
