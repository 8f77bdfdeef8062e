"""A job that puts itself off: no attempt is used, and a new message is published for that time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from stashjobs import Snooze
from stashjobs.operators import retry_and_cancel, search, story
from stashjobs.store import database
from tests.deliveries import deliver, probe

if TYPE_CHECKING:
    from stashjobs import Context
    from tests.deliveries import Table


def put_off(payload: Any, context: Context) -> None:
    context.connection.execute("CREATE TABLE undone (number int)")
    raise Snooze("the file is not there", seconds=payload["seconds"])


JOB = probe(put_off, retries=0)


def test_a_snooze_uses_no_attempt_and_undoes_the_work(table: Table) -> None:
    job_id = table.add(JOB, {"seconds": 600})
    answer = deliver(JOB, job_id)
    assert (answer.status, answer.document["status"]) == (200, "snoozed")
    row = table.row(job_id)
    assert (row["status"], row["attempt"], row["max_attempts"]) == ("retrying", 1, 2)
    assert (row["snoozes"], row["error"], row["published_at"]) == (1, None, None)
    assert (row["available_at"] - row["updated_at"]).total_seconds() == pytest.approx(600, abs=30)
    assert table.run("SELECT to_regclass('undone') AS it") == [{"it": None}]
    assert deliver(JOB, job_id).document["reason"] == "not due yet"


def test_a_snooze_is_in_the_story_with_its_reason(table: Table) -> None:
    job_id = table.add(JOB, {"seconds": 600})
    deliver(JOB, job_id)
    found = search.find(database.connection(), job_id)
    assert found is not None
    notes = [event.note for event in story.tell(found)]
    assert notes[-2].endswith("Snooze: the file is not there")
    assert notes[-1] == "due"


def test_a_snooze_goes_on_after_others_until_the_bound(table: Table) -> None:
    job_id = table.add(JOB, {"seconds": 0})
    for _ in range(3):
        deliver(JOB, job_id)
    assert table.row(job_id)["snoozes"] == 3
    table.run("UPDATE job_executions SET snoozes = 300 WHERE job_id = %s", job_id)
    assert deliver(JOB, job_id).stops_qstash
    row = table.row(job_id)
    assert row["status"] == "failed"
    assert row["error"] == "SnoozedTooOften: put off 300 times in one run"
    retry_and_cancel.retry(job_id, actor="ada")
    assert table.row(job_id)["snoozes"] == 0


def test_a_snooze_beyond_qstash_s_horizon_is_left_to_the_relay(table: Table) -> None:
    until = datetime.now(UTC) + timedelta(days=400)

    def next_year(_payload: Any, _context: Context) -> None:
        raise Snooze("next year", until=until)

    job_id = table.add(probe(next_year))
    deliver(probe(next_year), job_id)
    row = table.row(job_id)
    assert row["published_at"] is None
    assert abs(row["available_at"] - until) < timedelta(seconds=30)


def test_a_snooze_in_a_group_is_the_latest_of_them(table: Table) -> None:
    def both(_payload: Any, _context: Context) -> None:
        raise ExceptionGroup("both", [Snooze(seconds=60), Snooze(seconds=6000)])

    job_id = table.add(probe(both))
    deliver(probe(both), job_id)
    row = table.row(job_id)
    assert (row["available_at"] - row["updated_at"]).total_seconds() > 5000


def test_a_snoozed_job_can_be_cancelled(table: Table) -> None:
    job_id = table.add(JOB, {"seconds": 600})
    deliver(JOB, job_id)
    retry_and_cancel.cancel(job_id, actor="ada")
    assert table.status(job_id) == "cancelled"


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"seconds": 1, "until": datetime(2099, 1, 1, tzinfo=UTC)},
        {"seconds": -1},
        {"seconds": float("nan")},
        {"seconds": 1e12},
        {"until": datetime(2099, 1, 1)},  # noqa: DTZ001 - the point
        {"until": datetime(9000, 1, 1, tzinfo=UTC)},
    ],
)
def test_a_snooze_that_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Snooze: "):
        Snooze("why", **given)


def test_a_dead_letter_ends_qstash_s_backoff(table: Table) -> None:
    def fail(_payload: Any, _context: Context) -> None:
        raise ValueError("why")

    job_id = table.add(probe(fail))
    deliver(probe(fail), job_id)
    table.run(
        "SELECT stashjobs.record_dead_letters(ARRAY[%s], ARRAY['msg_1'], ARRAY['dlq_1'],"
        " ARRAY['why'], ARRAY[3600]::float8[])",
        job_id,
    )
    row = table.row(job_id)
    assert (row["status"], row["published_at"], row["backoff"]) == ("retrying", None, False)
    assert row["available_at"] <= row["updated_at"]
