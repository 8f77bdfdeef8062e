"""Times in EventBridge's own notation."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from infra.local.eventbridge import ScheduleError, Scheduler, next_time, schedule_event
from infra.local.template import Function, ScheduleEvent, Template

NOW = datetime(2026, 11, 24, 7, 5, 26, tzinfo=UTC)  # a Tuesday


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("rate(1 minute)", "2026-11-24T07:06:26"),
        ("rate(5 hours)", "2026-11-24T12:05:26"),
        ("cron(0 3 * * ? *)", "2026-11-25T03:00:00"),
        ("cron(0/15 * * * ? *)", "2026-11-24T07:15:00"),
        ("cron(*/10 8-9,20 * * ? *)", "2026-11-24T08:00:00"),
        ("cron(0 0 1 * ? *)", "2026-12-01T00:00:00"),
        ("cron(0 0 L * ? *)", "2026-11-30T00:00:00"),
        ("cron(0 0 LW 1 ? *)", "2027-01-29T00:00:00"),
        ("cron(0 0 3 5 ? 2027-2028)", "2027-05-03T00:00:00"),
        ("cron(0 18 ? * MON-FRI *)", "2026-11-24T18:00:00"),
        ("cron(0 0 ? * 1 *)", "2026-11-29T00:00:00"),
        ("cron(0 0 ? * 6#1 *)", "2026-12-04T00:00:00"),
        ("cron(0 0 ? * 6L *)", "2026-11-27T00:00:00"),
        ("cron(0 0 ? * SAT-MON *)", "2026-11-28T00:00:00"),
        ("cron(0 0 29 FEB ? *)", "2028-02-29T00:00:00"),
        ("at(2026-12-24T18:00:00)", "2026-12-24T18:00:00"),
        ("at(2026-01-01T00:00:00)", None),
        ("cron(0 0 1 1 ? 2020)", None),
    ],
)
def test_the_next_time(expression: str, expected: str | None) -> None:
    moment = next_time(ScheduleEvent("s", expression), NOW)

    assert moment == (expected and datetime.fromisoformat(expected).replace(tzinfo=UTC))


def test_a_time_zone_moves_it_and_summer_time_with_it() -> None:
    rome = ScheduleEvent("s", "cron(0 3 ? * * *)", "Europe/Rome")
    summer = datetime(2026, 7, 1, tzinfo=UTC)

    assert next_time(rome, NOW) == datetime(2026, 11, 25, 2, tzinfo=UTC)
    assert next_time(rome, summer) == datetime(2026, 7, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("after", "times"),
    [
        # 29 March 2026 has no 02:30 in Rome.
        ("2026-03-28T12:00", ["2026-03-30T00:30", "2026-03-31T00:30"]),
        # 25 October 2026 has it twice.
        ("2026-10-24T12:00", ["2026-10-25T00:30", "2026-10-26T01:30"]),
    ],
    ids=["left out", "twice"],
)
def test_a_time_that_the_clock_leaves_out_is_skipped_and_one_that_it_has_twice_fires_once(
    after: str, times: list[str]
) -> None:
    schedule = ScheduleEvent("s", "cron(30 2 * * ? *)", "Europe/Rome")
    moment: datetime | None = datetime.fromisoformat(after).replace(tzinfo=UTC)
    for expected in times:
        assert moment is not None
        moment = next_time(schedule, moment)
        assert moment == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "expression",
    [
        "0 3 * * *",
        "cron(0 3 * * *)",
        "cron(0 3 * * * *)",
        "cron(60 3 * * ? *)",
        "cron(0 3 ? * 0 *)",
        "cron(0 3 1 * ? 27)",
        "rate(0 minutes)",
    ],
)
def test_what_eventbridge_refuses_is_refused(expression: str) -> None:
    with pytest.raises(ScheduleError):
        next_time(ScheduleEvent("s", expression), NOW)


def test_the_input_knows_its_time() -> None:
    text = '{"at": "<aws.scheduler.scheduled-time>", "id": "<aws.scheduler.execution-id>"}'

    first, second = (schedule_event(ScheduleEvent("s", "", input=text), NOW) for _ in range(2))

    assert first["at"] == "2026-11-24T07:05:26Z"
    assert first["id"] != second["id"]


async def test_a_function_is_called_at_its_time_until_the_scheduler_stops() -> None:
    calls: list[tuple[str, Any]] = []
    called = asyncio.Event()

    async def invoke(name: str, event: Any) -> None:
        calls.append((name, event))
        called.set()

    soon = datetime.fromtimestamp(datetime.now(UTC).timestamp() + 1, UTC).replace(tzinfo=None)
    schedule = ScheduleEvent("s", f"at({soon.isoformat()})", input='{"a": 1}')
    minutely = ScheduleEvent("m", "rate(1 minute)")
    function = Function("Job", "x.y", schedules=(schedule, minutely))
    scheduler = Scheduler(Template({"Job": function}), invoke)

    scheduler.start()
    async with asyncio.timeout(60):
        await called.wait()
    await scheduler.stop()

    assert calls == [("Job", {"a": 1})]
