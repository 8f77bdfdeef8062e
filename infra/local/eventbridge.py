"""Calls functions at their times, as EventBridge Scheduler does.

AWS docs, "Schedule types in EventBridge Scheduler" and "Cron expressions reference": six fields,
minute hour day-of-month month day-of-week year; days of the week are 1-7 from Sunday; one of the
two day fields is `?`. CronSim reads them, all but the weekday nearest to a day (`15W`).

Where the clock goes forward, a time that it leaves out is skipped; where it goes back, a time that
it has twice fires only once, the first time. A missed time is not made up for, and a failed call is
not repeated.
"""

import asyncio
import json
import re
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from infra.local.template import ACCOUNT, REGION, ScheduleEvent, Template

WEEKDAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]
UNITS = {"minute": 60, "hour": 3600, "day": 86400}


class ScheduleError(ValueError):
    """The expression is not one that EventBridge takes."""


def next_time(schedule: ScheduleEvent, after: datetime) -> datetime | None:
    """The first firing later than `after`; None when there is none any more."""
    expression = schedule.expression.strip()
    if found := re.fullmatch(r"rate\((\d+) (minute|hour|day)s?\)", expression):
        if int(found[1]) < 1:
            raise ScheduleError(f"{expression} must be 1 or more")
        return after + timedelta(seconds=int(found[1]) * UNITS[found[2]])
    if found := re.fullmatch(r"cron\((.*)\)", expression):
        return _next_of_cron(found[1], after, ZoneInfo(schedule.timezone))
    if found := re.fullmatch(r"at\((.*)\)", expression):
        moment = datetime.fromisoformat(found[1]).replace(tzinfo=ZoneInfo(schedule.timezone))
        return moment if moment > after else None
    raise ScheduleError(f"{expression!r} is neither rate(...) nor cron(...) nor at(...)")


def _next_of_cron(text: str, after: datetime, zone: ZoneInfo) -> datetime | None:
    fields = text.upper().split()
    if len(fields) != 6:
        raise ScheduleError(f"cron({text}) must have six fields")
    minute, hour, days, month, weekdays, year = fields
    if (days == "?") == (weekdays == "?"):
        raise ScheduleError(f"cron({text}): exactly one of the two day fields must be ?")
    five = " ".join([minute, hour, days.replace("?", "*"), month, _weekdays(weekdays)])
    try:
        # On a clock that is never changed.
        times = CronSim(five, after.astimezone(zone).replace(tzinfo=UTC))
    except CronSimError as error:
        raise ScheduleError(f"{five!r} is no cron expression: {error}") from error
    years = _years(year)
    for time in times:  # CronSim ends the search after 50 years
        if time.year > max(years):
            return None
        moment = time.replace(tzinfo=zone).astimezone(UTC)
        is_on_the_clock = moment.astimezone(zone).replace(tzinfo=UTC) == time
        if time.year in years and is_on_the_clock and moment > after:
            return moment
    return None


def _weekdays(text: str) -> str:
    """As CronSim takes them: from 0 where EventBridge counts from 1, and a span that goes around
    the end of the week as a list."""
    if text == "?":
        return "*"
    if text == "L":
        return "6"
    for number, name in enumerate(WEEKDAYS, start=1):
        text = text.replace(name, str(number))
    return ",".join(map(_weekday, text.split(",")))


def _weekday(part: str) -> str:
    if found := re.fullmatch(r"([1-7])(L|#[1-5])?", part):
        return f"{int(found[1]) - 1}{found[2] or ''}"
    if found := re.fullmatch(r"([1-7])-([1-7])", part):
        first, last = int(found[1]) - 1, int(found[2]) - 1
        return ",".join(str((first + day) % 7) for day in range((last - first) % 7 + 1))
    if part.startswith("*"):
        return part
    raise ScheduleError(f"{part!r} is not a cron field")


def _years(text: str) -> range | set[int]:
    if text == "*":
        return range(1970, 2200)
    years: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"(\d{4})(?:-(\d{4}))?", part)
        if not found:
            raise ScheduleError(f"{part!r} is not a cron field")
        years.update(range(int(found[1]), int(found[2] or found[1]) + 1))
    return years or {0}


class Scheduler:
    """Calls `invoke(function name, event)` at the times of the template's schedules."""

    def __init__(self, template: Template, invoke: Callable[[str, Any], Awaitable[object]]) -> None:
        self._invoke = invoke
        self._schedules = [
            (function.name, schedule)
            for function in template.functions.values()
            for schedule in function.schedules
        ]
        for _, schedule in self._schedules:
            now = datetime.now(UTC)  # what is wrong is known at the start
            next_time(schedule, now)
            schedule_event(schedule, now)
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Begin to count."""
        for name, schedule in self._schedules:
            self._keep(self._run(name, schedule))

    async def stop(self) -> None:
        """Fire no more."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _keep(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, name: str, schedule: ScheduleEvent) -> None:
        last = datetime.now(UTC)
        while moment := next_time(schedule, last):
            await _sleep_until(moment)
            self._keep(self._invoke(name, schedule_event(schedule, moment)))
            last = max(moment, datetime.now(UTC) - timedelta(seconds=1))


async def _sleep_until(moment: datetime) -> None:
    while True:
        wait = (moment - datetime.now(UTC)).total_seconds()
        if wait <= 0:
            return
        await asyncio.sleep(min(wait, 30))  # the clock may be set, the machine may sleep


def schedule_event(schedule: ScheduleEvent, moment: datetime) -> Any:
    """The `Input` with its context attributes filled in, else Scheduler's own event.

    AWS docs, "Adding context attributes in EventBridge Scheduler".
    """
    attributes = {
        "schedule-arn": f"arn:aws:scheduler:{REGION}:{ACCOUNT}:schedule/default/{schedule.name}",
        "scheduled-time": moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "execution-id": str(uuid.uuid4()),
        "attempt-number": "1",
    }
    if schedule.input is None:
        return {
            "version": "0",
            "id": attributes["execution-id"],
            "detail-type": "Scheduled Event",
            "source": "aws.scheduler",
            "account": ACCOUNT,
            "time": attributes["scheduled-time"],
            "region": REGION,
            "resources": [attributes["schedule-arn"]],
            "detail": "{}",
        }
    text = schedule.input
    for name, value in attributes.items():
        text = text.replace(f"<aws.scheduler.{name}>", value)
    try:
        return json.loads(text)
    except ValueError as error:
        raise ScheduleError(f"the Input of {schedule.name} is not JSON: {error}") from error
