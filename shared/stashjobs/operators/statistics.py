"""The numbers of the dashboard, each one statement whose cost does not grow with the table.

What lies within a window is read up to `SAMPLE` rows, the newest first; a day is counted in slices,
of which a busy day has only a part read; a status that is larger than `CAP` is estimated from the
planner's statistics. Where a number is not exact, it says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from stashjobs.observability import redaction
from stashjobs.operators import sql

if TYPE_CHECKING:
    from stashjobs.operators.search import Filter
    from stashjobs.store.database import Connection

SAMPLE = 5_000
CAP = 1_000
WAITING_CAP = 10_000
SERIES_ROWS = 40_000
SERIES_HOURS = 24
DURATIONS = 25
FAILURES = 2_000
ENDED = ("completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Recent:
    """One job type, or all together (`job_type` None), among the newest jobs of a window.

    Attributes:
        total: Jobs created since `since`, whatever became of them.
        failed: Those that are failed.
        retried: Failed runs of those that were retried since: a failure counts, whatever became of
            the job.
        average_seconds: Of the attempts that completed. None: none did.
        p50_seconds: Likewise.
        p95_seconds: Likewise.
        since: Where the window begins: later than asked for where it has more than `SAMPLE` jobs.
    """

    job_type: str | None
    total: int
    completed: int
    failed: int
    cancelled: int
    retried: int
    average_seconds: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    since: datetime
    minutes: float

    @property
    def failure_rate(self) -> float | None:
        """Failed of the runs that completed or failed, from 0 to 1. None: none has ended."""
        failures = self.failed + self.retried
        ended = self.completed + failures
        return failures / ended if ended else None

    @property
    def per_minute(self) -> float:
        """How many ended in a minute."""
        ended = self.completed + self.failed + self.retried
        return ended / self.minutes if self.minutes else 0.0


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is due and waits for an attempt, and what is wrong without an error.

    Attributes:
        depth: Jobs that are due; `capped` where there are more than were looked at.
        oldest_seconds: For how long the one that waits longest has been due; 0 where none waits.
        running: Attempts under way.
        stuck: Those of them that have run for longer than the threshold.
        unpublished: Jobs that QStash should have heard of three minutes ago, up to `CAP`.
        moving: Whether any job has ended within the hour.
    """

    depth: int
    capped: bool
    oldest_seconds: float
    running: int
    stuck: int
    unpublished: int
    moving: bool


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are; `exact` is False where it is an estimate."""

    number: int
    exact: bool


@dataclass(frozen=True, slots=True)
class Upcoming:
    """What is due later.

    Attributes:
        scheduled: Pending jobs that are; counted up to `CAP`.
        next_scheduled: When the first of them is due. None: there is none.
        next_retry: When the next attempt of a retrying job is due. None: none is to come.
    """

    scheduled: Count
    next_scheduled: datetime | None
    next_retry: datetime | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """The jobs created within one hour, by what became of them; `failed` has the failed runs of
    those that were retried since, too."""

    start: datetime
    completed: int
    failed: int
    cancelled: int

    @property
    def failure_rate(self) -> float | None:
        ended = self.completed + self.failed
        return self.failed / ended if ended else None


@dataclass(frozen=True, slots=True)
class Series:
    """A day by the hour; `exact` is False where only a part of each slice was counted."""

    buckets: list[Bucket]
    exact: bool


@dataclass(frozen=True, slots=True)
class Durations:
    """How long the attempts took that completed, of the jobs created within one hour, in seconds.
    None: none completed."""

    start: datetime
    p50_seconds: float | None
    p95_seconds: float | None


@dataclass(frozen=True, slots=True)
class TypeDay:
    """A day of one job type: all of it together, and by the hour in which jobs were created."""

    together: Recent
    buckets: list[Bucket]
    durations: list[Durations]


@dataclass(frozen=True, slots=True)
class Failing:
    """Failures of one type that have the same kind of error, of jobs that were created within a
    day; `retried` of them are of jobs that were retried since."""

    job_type: str
    kind: str
    jobs: int
    retried: int
    latest: datetime
    example: str
    job_id: str


def read_recent(connection: Connection, window: timedelta) -> list[Recent]:
    """The newest jobs of a window: all together, first, and each type that is among them."""
    parameters = {"seconds": window.total_seconds(), "sample": SAMPLE}
    return [Recent(*row) for row in connection.execute(sql.READ_RECENT, parameters)]


def read_waiting(connection: Connection, stuck_seconds: int) -> Waiting:
    """What waits, runs and is stuck just now."""
    parameters = {
        "cap": WAITING_CAP,
        "ended_cap": CAP,
        "stuck_seconds": stuck_seconds,
    }
    row = connection.execute(sql.READ_WAITING, parameters).fetchone()
    return Waiting(*row) if row else Waiting(0, False, 0.0, 0, 0, 0, False)  # noqa: FBT003


def read_upcoming(connection: Connection) -> Upcoming:
    """What is due later, just now."""
    jobs, first, retry = connection.execute(sql.READ_UPCOMING, {"cap": CAP}).fetchone() or (
        0,
        None,
        None,
    )
    return Upcoming(Count(min(jobs, CAP), exact=jobs <= CAP), first, retry)


def read_statuses(connection: Connection, statuses: tuple[str, ...]) -> dict[str, Count]:
    """How many jobs there are in each status, in the order given."""
    rows = connection.execute(sql.READ_STATUSES, {"statuses": list(statuses), "cap": CAP})
    counts = {
        status: Count(counted, exact=True)
        if counted <= CAP
        else Count(max(estimated, counted), exact=False)
        for status, counted, estimated in rows
    }
    return {status: counts[status] for status in statuses}


def read_series(connection: Connection) -> Series:
    """The last 24 hours, by the hour in which jobs were created."""
    part = min(1.0, SERIES_ROWS / max(1.0, _estimated_day(connection)))
    parameters = {
        "hours": SERIES_HOURS,
        "part": part,
        "statuses": list(ENDED),
        "rows": SERIES_ROWS,
    }
    rows = connection.execute(sql.READ_SERIES, parameters)
    return Series([Bucket(*row) for row in rows], exact=part == 1.0)


def _estimated_day(connection: Connection) -> float:
    row = connection.execute(sql.ESTIMATE_DAY, {"hours": SERIES_HOURS}).fetchone()
    return float(row[0][0]["Plan"]["Plan Rows"]) if row else 0.0


def read_durations(connection: Connection) -> list[Durations]:
    """The last 24 hours, by the hour in which jobs were created; of up to `DURATIONS` completed
    jobs of each ten minutes."""
    parameters = {"hours": SERIES_HOURS, "part": DURATIONS}
    return [Durations(*row) for row in connection.execute(sql.READ_DURATIONS, parameters)]


def read_failing(
    connection: Connection, limit: int = 8, *, job_type: str | None = None
) -> list[Failing]:
    """What fails most within a day, by type and kind of error; of the newest `FAILURES` that are
    failed and as many that were retried. Where `job_type` is given, of that type alone."""
    parameters = {"sample": FAILURES, "limit": limit, "job_type": job_type}
    failing = [Failing(*row) for row in connection.execute(sql.READ_FAILING, parameters)]
    return [replace(each, example=redaction.shortened(each.example)) for each in failing]


def read_type_day(connection: Connection, job_type: str) -> TypeDay:
    """The last 24 hours of one job type: of its newest `SAMPLE` jobs."""
    parameters = {"job_type": job_type, "hours": SERIES_HOURS, "sample": SAMPLE}
    first, *hours = connection.execute(sql.READ_TYPE_DAY, parameters).fetchall()
    this_hour, now, since = first[1], first[2], first[-1]
    by_hour = {row[0]: row for row in hours}
    together = Recent(*[job_type, *first[3:], (now - since) / timedelta(minutes=1)])
    day = TypeDay(together, [], [])
    for ago in range(SERIES_HOURS - 1, -1, -1):
        hour = this_hour - timedelta(hours=ago)
        row = by_hour.get(hour)
        completed, failed, cancelled, retried = row[4:8] if row else (0, 0, 0, 0)
        day.buckets.append(Bucket(hour, completed, failed + retried, cancelled))
        day.durations.append(Durations(hour, *(row[9:11] if row else (None, None))))
    return day


def read_type_waiting(connection: Connection, job_type: str) -> dict[str, Count]:
    """How many jobs of a type are pending, retrying and processing just now. Not exact: there are
    more jobs in that status than were looked at."""
    parameters = {"job_type": job_type, "cap": SAMPLE}
    rows = connection.execute(sql.READ_TYPE_WAITING, parameters)
    return {status: Count(number, exact=not capped) for status, number, capped in rows}


def read_type_series(connection: Connection) -> dict[str, list[tuple[int, int]]]:
    """Per type: jobs and failed ones of each of the last 24 hours, the oldest first."""
    series: dict[str, list[tuple[int, int]]] = {}
    for job_type, ago, jobs, failed in connection.execute(sql.READ_TYPE_SERIES, {"sample": SAMPLE}):
        hours = series.setdefault(job_type, [(0, 0)] * SERIES_HOURS)
        hours[max(0, SERIES_HOURS - 1 - ago)] = (jobs, failed)
    return series


def count_up_to(
    connection: Connection, which: Filter, statuses: tuple[str, ...], limit: int
) -> int:
    """How many jobs fit and have one of the statuses; `limit` where there are as many or more."""
    conditions, parameters = which.conditions()
    parameters |= {"statuses": list(statuses), "limit": limit}
    text = sql.COUNT_UP_TO.format(conditions=conditions)
    row = connection.execute(text.encode(), parameters).fetchone()
    return int(row[0]) if row else 0
