"""Calls functions at their times, as EventBridge Scheduler does.

AWS docs, "Schedule types in EventBridge Scheduler" and "Cron expressions reference": six fields,
minute hour day-of-month month day-of-week year; days of the week are 1-7 from Sunday; one of the
two day fields is `?`. A missed time is not made up for, and a failed call is not repeated.
"""

import asyncio
import calendar
import json
import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from infra.local.template import ACCOUNT, REGION, ScheduleEvent, Template

MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
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
        return Cron.parse(found[1]).next_time(after, ZoneInfo(schedule.timezone))
    if found := re.fullmatch(r"at\((.*)\)", expression):
        moment = datetime.fromisoformat(found[1]).replace(tzinfo=ZoneInfo(schedule.timezone))
        return moment if moment > after else None
    raise ScheduleError(f"{expression!r} is neither rate(...) nor cron(...) nor at(...)")


@dataclass(frozen=True)
class Cron:
    """A parsed cron expression."""

    minutes: list[int]
    hours: list[int]
    days: str
    months: list[int]
    weekdays: str
    years: list[int]

    @classmethod
    def parse(cls, text: str) -> "Cron":
        """Read the six fields."""
        fields = text.upper().split()
        if len(fields) != 6:
            raise ScheduleError(f"cron({text}) must have six fields")
        minute, hour, days, month, weekdays, year = fields
        if (days == "?") == (weekdays == "?"):
            raise ScheduleError(f"cron({text}): exactly one of the two day fields must be ?")
        return cls(
            minutes=_numbers(minute, 0, 59),
            hours=_numbers(hour, 0, 23),
            days=days,
            months=_numbers(_named(month, MONTHS), 1, 12),
            weekdays=_named(weekdays, WEEKDAYS),
            years=_numbers(year, 1970, 2199),
        )

    def next_time(self, after: datetime, zone: ZoneInfo) -> datetime | None:
        """The first firing later than `after`."""
        local = after.astimezone(zone)
        day = local.date()
        for _ in range(366 * 30):  # 29 February on a given weekday comes within 28 years
            if self.fires_on(day):
                for hour in self.hours:
                    for minute in self.minutes:
                        moment = datetime.combine(day, time(hour, minute), zone).astimezone(UTC)
                        if moment > after:
                            return moment
            day += timedelta(days=1)
        return None

    def fires_on(self, day: date) -> bool:
        """True where `day` fits the four fields that are about days."""
        if day.month not in self.months or day.year not in self.years:
            return False
        if self.days != "?":
            return _is_day_of_month(self.days, day)
        return _is_weekday(self.weekdays, day)


def _is_day_of_month(text: str, day: date) -> bool:
    last = calendar.monthrange(day.year, day.month)[1]
    if text == "L":
        return day.day == last
    if text == "LW":
        return day == _nearest_weekday(day.replace(day=last))
    if found := re.fullmatch(r"(\d+)W", text):
        return int(found[1]) <= last and day == _nearest_weekday(day.replace(day=int(found[1])))
    return day.day in _numbers(text, 1, 31)


def _nearest_weekday(day: date) -> date:
    """Monday to Friday, in the same month."""
    shift = {5: -1, 6: 1}.get(day.weekday(), 0)
    near = day + timedelta(days=shift)
    return near if near.month == day.month else day + timedelta(days=-2 if shift > 0 else 2)


def _is_weekday(text: str, day: date) -> bool:
    number = day.isoweekday() % 7 + 1
    if found := re.fullmatch(r"(\d)#(\d)", text):
        return number == int(found[1]) and (day.day - 1) // 7 + 1 == int(found[2])
    if found := re.fullmatch(r"(\d)L", text):
        return number == int(found[1]) and (day + timedelta(days=7)).month != day.month
    if text == "L":
        return number == 7
    return number in _numbers(text, 1, 7)


def _named(text: str, names: list[str]) -> str:
    for number, name in enumerate(names, start=1):
        text = text.replace(name, str(number))
    return text


def _numbers(text: str, low: int, high: int) -> list[int]:
    """`*`, `5`, `1-5`, `0/15`, `*/15`, and lists of these."""
    chosen: set[int] = set()
    for part in text.split(","):
        found = re.fullmatch(r"(\*|\d+)(?:-(\d+))?(?:/(\d+))?", part)
        if not found:
            raise ScheduleError(f"{text!r} is not a cron field")
        first, last, step = found.groups()
        start = low if first == "*" else int(first)
        end = int(last) if last else high if first == "*" or step else start
        # 6-2 goes around the end, as SAT-TUE does.
        span = (
            range(start, end + 1)
            if start <= end
            else [*range(start, high + 1), *range(low, end + 1)]
        )
        if not low <= start <= high or not low <= end <= high or step == "0":
            raise ScheduleError(f"{part!r} is outside {low}-{high}")
        chosen.update(list(span)[:: int(step or 1)])
    return sorted(chosen)


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
