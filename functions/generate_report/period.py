"""The days that a report covers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

if TYPE_CHECKING:
    from functions.generate_report.models import ReportRequest

USUAL_DAYS = 30
# More days than this are shown by the week.
DAYS_SHOWN_SINGLY = 92

MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]


@dataclass(frozen=True)
class Period:
    """Whole days of a time zone, the first and the last included."""

    first_day: date
    last_day: date
    timezone: str

    @classmethod
    def of(cls, request: ReportRequest, now: datetime | None = None) -> Period:
        """The days that are asked for; those that are not said are counted back from today."""
        today = (now or datetime.now(UTC)).astimezone(ZoneInfo(request.timezone)).date()
        usual = timedelta(days=USUAL_DAYS - 1)
        last = request.last_day
        if last is None:
            first = request.first_day
            last = today if first is None or first <= today else first
        first = request.first_day or last - usual
        return cls(first, last, request.timezone)

    @property
    def days(self) -> int:
        return (self.last_day - self.first_day).days + 1

    @property
    def start(self) -> datetime:
        """The first moment of it."""
        return datetime.combine(self.first_day, time(), ZoneInfo(self.timezone))

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return datetime.combine(self.last_day + timedelta(days=1), time(), ZoneInfo(self.timezone))

    @property
    def before(self) -> Period:
        """As many days, right before."""
        length = timedelta(days=self.days)
        return Period(self.first_day - length, self.last_day - length, self.timezone)

    @property
    def label(self) -> str:
        """`1 – 31 May 2026`, and no more of month and year than it takes."""
        first, last = self.first_day, self.last_day
        if first == last:
            return day_of_year(last)
        if first.year != last.year:
            return f"{day_of_year(first)} – {day_of_year(last)}"
        if first.month != last.month:
            return f"{day_of_month(first)} – {day_of_year(last)}"
        return f"{first.day} – {day_of_year(last)}"

    @property
    def is_by_week(self) -> bool:
        """Whether its charts have a bar a week and not a bar a day."""
        return self.days > DAYS_SHOWN_SINGLY

    @property
    def steps(self) -> list[date]:
        """The first day of each bar of a chart."""
        step = 7 if self.is_by_week else 1
        return [self.first_day + timedelta(days=n) for n in range(0, self.days, step)]

    def step_of(self, day: date) -> int:
        """Which bar a day belongs to."""
        return (day - self.first_day).days // (7 if self.is_by_week else 1)


def day_of_month(day: date) -> str:
    """`3 May`."""
    return f"{day.day} {MONTHS[day.month - 1]}"


def day_of_year(day: date) -> str:
    """`3 May 2026`."""
    return f"{day_of_month(day)} {day.year}"
