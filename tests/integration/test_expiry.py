"""`expires=`: no attempt of a job begins after that; what waits then is cancelled."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from stashjobs.operators import retry_and_cancel
from stashjobs.producer import enqueue
from stashjobs.producer.options import Options
from stashjobs.producer.schedules import Schedule
from stashjobs.recovery import relay
from stashjobs.testing.qstash import Server, serving
from tests.deliveries import deliver, delivery, handle, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.deliveries import Table

TOMORROW = datetime.now(UTC) + timedelta(days=1)


@pytest.fixture(autouse=True)
def qstash(use_qstash: Callable[..., None]) -> Iterator[Server]:
    with serving() as server:
        use_qstash(server.url)
        yield server


def recorded(table: Table, **options: Any) -> str:
    new = enqueue.prepare(probe(), {}, Options.of(options))
    return enqueue.enqueue_prepared([new], table.other)[0].job_id


def let_expire(table: Table, job_id: str) -> None:
    table.run(
        "UPDATE job_executions SET expires_at = now() - interval '1 s' WHERE job_id = %s", job_id
    )


def test_a_job_that_begins_too_late_is_cancelled_in_place_of_being_run(table: Table) -> None:
    job_id = recorded(table, expires=3600)
    let_expire(table, job_id)
    answer = deliver(probe(), job_id)
    assert (answer.status, answer.document["status"]) == (200, "cancelled")
    assert answer.document["ran"] is False
    row = table.row(job_id)
    assert (row["status"], row["attempt"], row["started_at"]) == ("cancelled", 0, None)
    assert row["error"].startswith("Expired: no attempt was to begin after 2")
    assert row["completed_at"] is not None
    retry_and_cancel.retry(job_id, actor="ada")
    assert deliver(probe(), job_id).document["status"] == "completed"


@pytest.mark.parametrize("expires", [86_400, timedelta(days=1), TOMORROW])
def test_it_is_seconds_a_timedelta_or_a_moment(table: Table, expires: Any) -> None:
    job_id = recorded(table, expires=expires)
    assert abs(table.row(job_id)["expires_at"] - TOMORROW) < timedelta(hours=1)
    assert deliver(probe(), job_id).document["status"] == "completed"


def test_an_attempt_that_failed_in_time_is_not_repeated_after_it(table: Table) -> None:
    def fail(_payload: Any, _context: Any) -> None:
        raise OSError("no")

    job_id = recorded(table, expires=3600)
    assert deliver(probe(fail), job_id).status == 500
    let_expire(table, job_id)
    table.make_due(job_id)
    assert deliver(probe(fail), job_id).document["status"] == "cancelled"
    row = table.row(job_id)
    assert (row["attempt"], len(row["errors"])) == (1, 1)
    assert row["error"].startswith("Expired: ")


def test_what_waits_for_it_is_cancelled_or_released(table: Table) -> None:
    parent = recorded(table, expires=TOMORROW)
    child, after_all = (
        recorded(table, after=[parent]),
        recorded(table, after=[parent], when="ended"),
    )
    let_expire(table, parent)
    deliver(probe(), parent)
    assert (table.status(child), table.status(after_all)) == ("cancelled", "pending")


def test_the_relay_cancels_what_nobody_delivers_and_its_message(
    table: Table, qstash: Server
) -> None:
    job = probe()
    late = recorded(table, expires=TOMORROW)
    waits = recorded(table, expires=TOMORROW, after=[recorded(table)])
    in_time, child = recorded(table, expires=TOMORROW), recorded(table, after=[late])
    table.run("UPDATE job_executions SET message_id = %s WHERE job_id = %s", "msg_late", late)
    let_expire(table, late)
    let_expire(table, waits)
    report = relay.Report()
    relay.cancel_expired(report, time.time() + 60)
    assert report.expired == 2
    statuses = [table.status(each) for each in (late, waits, in_time, child)]
    assert statuses == ["cancelled", "cancelled", "pending", "cancelled"]
    assert deliver(job, late).document["ran"] is False


def test_a_firing_of_a_schedule_has_it_too(table: Table) -> None:
    job = probe()
    schedule = Schedule("often", job, "* * * * *", "UTC", {}, 600)
    assert handle(job, delivery(schedule.message()["body"])).document["status"] == "completed"
    [row] = table.rows()
    assert abs(row["expires_at"] - row["created_at"] - timedelta(minutes=10)) < timedelta(minutes=1)
    wrong = {"type": "probe", "payload": {}, "expires": "soon"}
    assert handle(job, delivery(wrong, message_id="msg_2")).status == 489
    with pytest.raises(ValueError, match="often-2: expires is 0"):
        job.schedule("* * * * *", {}, name="often-2", expires=0)


def test_sql_gives_it_too(table: Table) -> None:
    [row] = table.run("SELECT * FROM stashjobs.enqueue('probe', '{}', expires_at => %s)", TOMORROW)
    assert table.row(row["job_id"])["expires_at"] == TOMORROW
    with pytest.raises(psycopg.Error, match=r"expires_at is .*, which is before the job is due"):
        table.run("SELECT stashjobs.enqueue('probe', '{}', expires_at => now() - interval '1 s')")


def test_many_may_have_their_own(table: Table) -> None:
    made = enqueue.enqueue_many(
        probe(), [{}, {}], {"expires": TOMORROW}, [{}, {"expires": 60}], table.other
    )
    first, second = (table.row(each.job_id)["expires_at"] for each in made)
    assert first == TOMORROW
    assert second < TOMORROW


@pytest.mark.parametrize(
    "options",
    [
        {"expires": 0},
        {"expires": float("inf")},
        {"expires": timedelta(days=-1)},
        {"expires": datetime(2099, 1, 1)},  # noqa: DTZ001 - the point
        {"expires": datetime(2020, 1, 1, tzinfo=UTC)},
        {"expires": 60, "delay": 120},
        {"expires": 60, "at": TOMORROW},
        {"expires": datetime(9999, 1, 1, tzinfo=UTC)},
        {"expires": 1e300},
    ],
)
def test_an_expiry_that_makes_no_sense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expires "):
        enqueue.prepare(probe(), {}, Options.of(options))
