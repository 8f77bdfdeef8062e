"""The numbers of the dashboard, each one statement whose cost does not grow with the table.

What lies within a window is read up to `SAMPLE` rows, the newest first; a day is counted in slices,
of which a busy day has only a part read; a status that is larger than `CAP` is estimated from the
planner's statistics. Where a number is not exact, it says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from stashjobs.operators.health import WAITING_AND_ENDED

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
    average_seconds: float | None
    p50_seconds: float | None
    p95_seconds: float | None
    since: datetime
    minutes: float

    @property
    def failure_rate(self) -> float | None:
        """Failed of those that completed or failed, from 0 to 1. None: none has ended."""
        ended = self.completed + self.failed
        return self.failed / ended if ended else None

    @property
    def per_minute(self) -> float:
        """How many ended in a minute."""
        return (self.completed + self.failed) / self.minutes if self.minutes else 0.0


READ_RECENT = """
WITH recent AS (
    SELECT job_type, status, created_at,
           CASE WHEN status = 'completed'
                THEN extract(epoch FROM completed_at - started_at)::float END AS seconds
      FROM job_executions
     WHERE created_at > now() - make_interval(secs => %(seconds)s)
     ORDER BY created_at DESC
     LIMIT %(sample)s
), reach AS (
    SELECT CASE WHEN count(*) < %(sample)s THEN now() - make_interval(secs => %(seconds)s)
                ELSE min(created_at) END AS since
      FROM recent
), grouped AS (
    SELECT job_type, count(*) AS total,
           count(*) FILTER (WHERE status = 'completed') AS completed,
           count(*) FILTER (WHERE status = 'failed') AS failed,
           count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
           avg(seconds) AS average_seconds,
           percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY seconds) AS percentiles
      FROM recent
     GROUP BY GROUPING SETS ((job_type), ())
)
SELECT job_type, total, completed, failed, cancelled, average_seconds, percentiles[1],
       percentiles[2], since,
       (extract(epoch FROM now() - since) / 60)::float
  FROM grouped CROSS JOIN reach
 ORDER BY job_type NULLS FIRST
"""


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


READ_WAITING = f"""{WAITING_AND_ENDED}, running AS (
    SELECT started_at FROM job_executions WHERE status = 'processing' LIMIT %(cap)s
)
SELECT count(*),
       count(*) >= %(cap)s,
       greatest(0, coalesce(extract(epoch FROM now() - min(available_at)), 0))::float,
       (SELECT count(*) FROM running),
       (SELECT count(*) FROM running
         WHERE started_at < now() - make_interval(secs => %(stuck_seconds)s)),
       (SELECT count(*) FROM (
           SELECT FROM job_executions
            WHERE published_at IS NULL AND status IN ('pending', 'retrying')
              AND available_at < now() - interval '3 minutes' LIMIT %(ended_cap)s) AS late),
       EXISTS (SELECT FROM ended WHERE completed_at > now() - interval '1 hour')
  FROM waiting
"""  # noqa: S608 - both parts are constants


@dataclass(frozen=True, slots=True)
class Count:
    """How many there are; `exact` is False where it is an estimate."""

    number: int
    exact: bool


# Where there are more than the cap, the planner's statistics say about how many.
READ_STATUSES = """
WITH frequencies AS (
    SELECT value AS status, frequency * (SELECT reltuples FROM pg_class
                                          WHERE oid = 'job_executions'::regclass) AS jobs
      FROM pg_stats, unnest(most_common_vals::text::text[], most_common_freqs)
             AS common (value, frequency)
     WHERE schemaname = current_schema() AND tablename = 'job_executions' AND attname = 'status'
)
SELECT status, counted.jobs, coalesce(frequencies.jobs, 0)::bigint
  FROM unnest(%(statuses)s::text[]) AS status
  CROSS JOIN LATERAL (
      SELECT count(*) AS jobs FROM (
          SELECT FROM job_executions AS job WHERE job.status = status.status LIMIT %(cap)s + 1
      ) AS found
  ) AS counted
  LEFT JOIN frequencies USING (status)
"""


@dataclass(frozen=True, slots=True)
class Bucket:
    """The jobs created within one hour, by what became of them."""

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


ESTIMATE_DAY = """
EXPLAIN (FORMAT JSON)
SELECT FROM job_executions WHERE created_at > now() - make_interval(hours => %(hours)s)
"""

# A slice of ten minutes is one short range of the index on (status, created_at), and is read from
# there alone; a part of each is as good as a sample of the day.
READ_SERIES = """
WITH slices AS (
    SELECT start, start + interval '10 minutes' * %(part)s AS stop,
           date_trunc('hour', start) AS hour
      FROM generate_series(date_trunc('hour', now()) - make_interval(hours => %(hours)s - 1),
                           now(), interval '10 minutes') AS start
)
SELECT hour,
       round(sum(jobs) FILTER (WHERE status = 'completed') / %(part)s)::int,
       round(sum(jobs) FILTER (WHERE status = 'failed') / %(part)s)::int,
       round(sum(jobs) FILTER (WHERE status = 'cancelled') / %(part)s)::int
  FROM slices
  CROSS JOIN unnest(%(statuses)s::text[]) AS status
  CROSS JOIN LATERAL (
      SELECT count(*) AS jobs FROM job_executions AS job
       WHERE job.status = status.status AND job.created_at >= start AND job.created_at < stop
  ) AS counted
 GROUP BY hour
 ORDER BY hour
"""


@dataclass(frozen=True, slots=True)
class Durations:
    """How long the attempts took that completed, of the jobs created within one hour, in seconds.
    None: none completed."""

    start: datetime
    p50_seconds: float | None
    p95_seconds: float | None


# The newest of each ten minutes, by the index on (status, created_at): a fair sample of the hour,
# and all of it on a quiet day.
READ_DURATIONS = """
WITH slices AS (
    SELECT start, start + interval '10 minutes' AS stop, date_trunc('hour', start) AS hour
      FROM generate_series(date_trunc('hour', now()) - make_interval(hours => %(hours)s - 1),
                           now(), interval '10 minutes') AS start
), sampled AS (
    SELECT hour,
           percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY seconds) AS percentiles
      FROM slices
      LEFT JOIN LATERAL (
          SELECT extract(epoch FROM completed_at - started_at)::float AS seconds
            FROM job_executions
           WHERE status = 'completed' AND created_at >= start AND created_at < stop
           ORDER BY created_at DESC
           LIMIT %(part)s
      ) AS newest ON true
     GROUP BY hour
)
SELECT hour, percentiles[1], percentiles[2] FROM sampled ORDER BY hour
"""


@dataclass(frozen=True, slots=True)
class TypeDay:
    """A day of one job type: all of it together, and by the hour in which jobs were created."""

    together: Recent
    buckets: list[Bucket]
    durations: list[Durations]


READ_TYPE_DAY = """
WITH recent AS (
    SELECT status, created_at, extract(epoch FROM completed_at - started_at)::float AS seconds
      FROM job_executions
     WHERE job_type = %(job_type)s AND created_at > now() - make_interval(hours => %(hours)s)
     ORDER BY created_at DESC
     LIMIT %(sample)s
)
SELECT date_trunc('hour', created_at) AS hour, date_trunc('hour', now()), now(), count(*),
       count(*) FILTER (WHERE status = 'completed'),
       count(*) FILTER (WHERE status = 'failed'),
       count(*) FILTER (WHERE status = 'cancelled'),
       avg(seconds) FILTER (WHERE status = 'completed'),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE status = 'completed'),
       percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE status = 'completed'),
       CASE WHEN count(*) < %(sample)s THEN now() - make_interval(hours => %(hours)s)
            ELSE min(created_at) END
  FROM recent
 GROUP BY GROUPING SETS ((date_trunc('hour', created_at)), ())
 ORDER BY hour NULLS FIRST
"""

# Those of each status that are or were due first, up to the cap, and those of the type among them.
READ_TYPE_WAITING = """
WITH found AS (
    (SELECT status, job_type FROM job_executions WHERE status = 'pending'
      ORDER BY available_at LIMIT %(cap)s)
    UNION ALL
    (SELECT status, job_type FROM job_executions WHERE status = 'retrying'
      ORDER BY available_at LIMIT %(cap)s)
    UNION ALL
    (SELECT status, job_type FROM job_executions WHERE status = 'processing'
      ORDER BY available_at LIMIT %(cap)s)
)
SELECT status, count(*) FILTER (WHERE job_type = %(job_type)s), count(*) >= %(cap)s
  FROM unnest(ARRAY['pending', 'retrying', 'processing']) AS status
  LEFT JOIN found USING (status)
 GROUP BY status
"""


@dataclass(frozen=True, slots=True)
class Failing:
    """Failed jobs of one type that have the same kind of error, within a day."""

    job_type: str
    kind: str
    jobs: int
    latest: datetime
    example: str
    job_id: str


READ_FAILING = """
WITH recent AS (
    SELECT job_id, job_type, left(split_part(error, ':', 1), 80) AS kind, left(error, 300) AS error,
           created_at, coalesce(completed_at, created_at) AS ended_at
      FROM job_executions
     WHERE status = 'failed' AND created_at > now() - interval '1 day'
       AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s)
     ORDER BY created_at DESC
     LIMIT %(sample)s
)
SELECT job_type, coalesce(kind, ''), count(*), max(ended_at),
       coalesce((array_agg(error ORDER BY created_at DESC))[1], ''),
       (array_agg(job_id ORDER BY created_at DESC))[1]
  FROM recent
 GROUP BY job_type, kind
 ORDER BY count(*) DESC, max(ended_at) DESC
 LIMIT %(limit)s
"""

READ_TYPE_SERIES = """
WITH recent AS (
    SELECT job_type, status, created_at FROM job_executions
     WHERE created_at > now() - interval '1 day'
     ORDER BY created_at DESC
     LIMIT %(sample)s
)
SELECT job_type, floor(extract(epoch FROM now() - created_at) / 3600)::int, count(*),
       count(*) FILTER (WHERE status = 'failed')
  FROM recent GROUP BY 1, 2
"""

COUNT_UP_TO = """
SELECT count(*) FROM (
    SELECT FROM job_executions WHERE {conditions} AND status = ANY(%(statuses)s) LIMIT %(limit)s
) AS found
"""


def read_recent(connection: Connection, window: timedelta) -> list[Recent]:
    """The newest jobs of a window: all together, first, and each type that is among them."""
    parameters = {"seconds": window.total_seconds(), "sample": SAMPLE}
    return [Recent(*row) for row in connection.execute(READ_RECENT, parameters)]


def read_waiting(connection: Connection, stuck_seconds: int) -> Waiting:
    """What waits, runs and is stuck just now."""
    parameters = {
        "cap": WAITING_CAP,
        "ended_cap": CAP,
        "stuck_seconds": stuck_seconds,
    }
    row = connection.execute(READ_WAITING, parameters).fetchone()
    return Waiting(*row) if row else Waiting(0, False, 0.0, 0, 0, 0, False)  # noqa: FBT003


def read_statuses(connection: Connection, statuses: tuple[str, ...]) -> dict[str, Count]:
    """How many jobs there are in each status, in the order given."""
    rows = connection.execute(READ_STATUSES, {"statuses": list(statuses), "cap": CAP})
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
    parameters = {"hours": SERIES_HOURS, "part": part, "statuses": list(ENDED)}
    rows = connection.execute(READ_SERIES, parameters)
    return Series([Bucket(*row) for row in rows], exact=part == 1.0)


def _estimated_day(connection: Connection) -> float:
    row = connection.execute(ESTIMATE_DAY, {"hours": SERIES_HOURS}).fetchone()
    return float(row[0][0]["Plan"]["Plan Rows"]) if row else 0.0


def read_durations(connection: Connection) -> list[Durations]:
    """The last 24 hours, by the hour in which jobs were created; of up to `DURATIONS` completed
    jobs of each ten minutes."""
    parameters = {"hours": SERIES_HOURS, "part": DURATIONS}
    return [Durations(*row) for row in connection.execute(READ_DURATIONS, parameters)]


def read_failing(
    connection: Connection, limit: int = 8, *, job_type: str | None = None
) -> list[Failing]:
    """What fails most within a day, by type and kind of error; of the newest `FAILURES`. Where
    `job_type` is given, of that type alone."""
    parameters = {"sample": FAILURES, "limit": limit, "job_type": job_type}
    return [Failing(*row) for row in connection.execute(READ_FAILING, parameters)]


def read_type_day(connection: Connection, job_type: str) -> TypeDay:
    """The last 24 hours of one job type: of its newest `SAMPLE` jobs."""
    parameters = {"job_type": job_type, "hours": SERIES_HOURS, "sample": SAMPLE}
    first, *hours = connection.execute(READ_TYPE_DAY, parameters).fetchall()
    this_hour, now, since = first[1], first[2], first[-1]
    by_hour = {row[0]: row for row in hours}
    together = Recent(*[job_type, *first[3:], (now - since) / timedelta(minutes=1)])
    day = TypeDay(together, [], [])
    for ago in range(SERIES_HOURS - 1, -1, -1):
        hour = this_hour - timedelta(hours=ago)
        row = by_hour.get(hour)
        day.buckets.append(Bucket(hour, *(row[4:7] if row else (0, 0, 0))))
        day.durations.append(Durations(hour, *(row[8:10] if row else (None, None))))
    return day


def read_type_waiting(connection: Connection, job_type: str) -> dict[str, Count]:
    """How many jobs of a type are pending, retrying and processing just now. Not exact: there are
    more jobs in that status than were looked at."""
    parameters = {"job_type": job_type, "cap": SAMPLE}
    rows = connection.execute(READ_TYPE_WAITING, parameters)
    return {status: Count(number, exact=not capped) for status, number, capped in rows}


def read_type_series(connection: Connection) -> dict[str, list[tuple[int, int]]]:
    """Per type: jobs and failed ones of each of the last 24 hours, the oldest first."""
    series: dict[str, list[tuple[int, int]]] = {}
    for job_type, ago, jobs, failed in connection.execute(READ_TYPE_SERIES, {"sample": SAMPLE}):
        hours = series.setdefault(job_type, [(0, 0)] * SERIES_HOURS)
        hours[max(0, SERIES_HOURS - 1 - ago)] = (jobs, failed)
    return series


def count_up_to(
    connection: Connection, which: Filter, statuses: tuple[str, ...], limit: int
) -> int:
    """How many jobs fit and have one of the statuses; `limit` where there are as many or more."""
    conditions, parameters = which.conditions()
    parameters |= {"statuses": list(statuses), "limit": limit}
    text = COUNT_UP_TO.format(conditions=conditions)
    row = connection.execute(text.encode(), parameters).fetchone()
    return int(row[0]) if row else 0
