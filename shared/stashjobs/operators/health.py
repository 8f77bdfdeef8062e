"""How the system is: what the deployment guide's health check and alert conditions ask, made right.

A rate is a rate (failed of all that ended), nothing is divided by zero, and a system without jobs
is `idle`, not ill.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stashjobs.config import settings

if TYPE_CHECKING:
    from stashjobs.store.database import Connection

DEFAULT_WINDOW_SECONDS = 3600
DEFAULT_FAILURE_PERCENT = 5
DEFAULT_STUCK_SECONDS = 600
# What is looked at, at most; so that a look costs the same in a busy hour of a large system.
SAMPLE = 5_000
MAX_DEPTH = 10_000


@dataclass(frozen=True, slots=True)
class TypeHealth:
    """One job type, or all of them together (`job_type` None), within the window.

    Attributes:
        counts: Jobs created within the window, by status.
        failure_rate: Failed of those that ended as completed or failed, from 0 to 1. None: none
            has ended.
        average_seconds: Of the attempts that ended the jobs that completed. None: none did.
        p95_seconds: Likewise.
        stuck: Attempts that have run for longer than the threshold, however old the job is.
        health: `healthy`, `unhealthy` or `idle`.
        exact: False where the window has more jobs than the newest `SAMPLE`, of which all but
            `stuck` is then told.
    """

    job_type: str | None
    counts: dict[str, int]
    total: int
    failure_rate: float | None
    average_seconds: float | None
    p95_seconds: float | None
    stuck: int
    health: str
    exact: bool = True


# The newest of the window are one range of an index, of (job_type, created_at) where a type is
# asked for; those that run are few.
READ = """
WITH newest AS MATERIALIZED (
    SELECT job_type, status,
           CASE WHEN status = 'completed'
                THEN extract(epoch FROM completed_at - started_at)::float END AS seconds
      FROM job_executions
     WHERE created_at > now() - make_interval(secs => %(window_seconds)s) {and_type}
     ORDER BY created_at DESC
     LIMIT %(sample)s
), recent AS (
    SELECT job_type, status, count(*) AS jobs, avg(seconds) AS average_seconds,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95_seconds
      FROM newest
     GROUP BY GROUPING SETS ((job_type, status), (status))
), stuck AS (
    SELECT job_type, count(*) AS jobs
      FROM job_executions
     WHERE status = 'processing'
       AND started_at < now() - make_interval(secs => %(stuck_seconds)s) {and_type}
     GROUP BY GROUPING SETS ((job_type), ())
), kinds AS (
    SELECT job_type FROM recent UNION SELECT job_type FROM stuck UNION SELECT NULL
)
SELECT kinds.job_type,
       coalesce(jsonb_object_agg(recent.status, recent.jobs)
                  FILTER (WHERE recent.status IS NOT NULL), '{{}}'),
       max(recent.average_seconds)::float,
       max(recent.p95_seconds)::float,
       coalesce(max(stuck.jobs), 0),
       (SELECT count(*) < %(sample)s FROM newest)
  FROM kinds
  LEFT JOIN recent ON recent.job_type IS NOT DISTINCT FROM kinds.job_type
  LEFT JOIN stuck ON stuck.job_type IS NOT DISTINCT FROM kinds.job_type
 GROUP BY kinds.job_type
 ORDER BY kinds.job_type NULLS FIRST
"""


@dataclass(frozen=True, slots=True)
class Queue:
    """What waits, and whether anything moves.

    Attributes:
        depth: Jobs that are due and wait for an attempt; counted up to `MAX_DEPTH` of those that
            wait for their first, and as many of those that wait for another.
        oldest_seconds: For how long the first of them has been due; 0 where none waits.
        processed_last_hour: Jobs that ended within the hour, of the newest `SAMPLE` that completed
            and the newest `SAMPLE` that failed.
    """

    depth: int
    oldest_seconds: float
    processed_last_hour: int


# What is due, and what may have ended lately; the dashboard's statement begins with them too. By
# the index on (status, available_at). Nothing is indexed by its end, and what was created last is
# where to look for what ended last.
WAITING_AND_ENDED = """
WITH waiting AS (
    (SELECT available_at FROM job_executions
      WHERE status = 'pending' AND available_at <= now()
      ORDER BY available_at LIMIT %(cap)s)
    UNION ALL
    (SELECT available_at FROM job_executions
      WHERE status = 'retrying' AND available_at <= now()
      ORDER BY available_at LIMIT %(cap)s)
), ended AS (
    (SELECT completed_at FROM job_executions
      WHERE status = 'completed' AND created_at > now() - interval '1 day'
      ORDER BY created_at DESC LIMIT %(ended_cap)s)
    UNION ALL
    (SELECT completed_at FROM job_executions
      WHERE status = 'failed' AND created_at > now() - interval '1 day'
      ORDER BY created_at DESC LIMIT %(ended_cap)s)
)"""
READ_QUEUE = f"""{WAITING_AND_ENDED}
SELECT count(*), coalesce(extract(epoch FROM now() - min(available_at)), 0)::float,
       (SELECT count(*) FROM ended WHERE completed_at > now() - interval '1 hour')
  FROM waiting
"""  # noqa: S608 - both parts stand in this module


def window_seconds() -> int:
    """How far back health looks, in seconds (`HEALTH_WINDOW_SECONDS`)."""
    return settings.whole_number("HEALTH_WINDOW_SECONDS", DEFAULT_WINDOW_SECONDS)


def failure_percent() -> int:
    """From more than how many percent failed on it is unhealthy (`HEALTH_FAILURE_PERCENT`)."""
    return settings.whole_number("HEALTH_FAILURE_PERCENT", DEFAULT_FAILURE_PERCENT)


def stuck_seconds() -> int:
    """From when on an attempt is stuck, in seconds (`HEALTH_STUCK_SECONDS`)."""
    return settings.whole_number("HEALTH_STUCK_SECONDS", DEFAULT_STUCK_SECONDS)


def read(connection: Connection, job_type: str | None = None) -> list[TypeHealth]:
    """The health of everything together, first, and of each type that has had jobs in the window:
    of the newest `SAMPLE` jobs, of one type where that is asked for.

    Thresholds: `HEALTH_FAILURE_PERCENT` (5) and `HEALTH_STUCK_SECONDS` (600).

    Raises:
        SettingError: A threshold is no number.
    """
    parameters = {
        "window_seconds": window_seconds(),
        "stuck_seconds": stuck_seconds(),
        "sample": SAMPLE,
        "job_type": job_type,
    }
    threshold = failure_percent() / 100
    statement = READ.format(and_type="" if job_type is None else "AND job_type = %(job_type)s")
    rows = connection.execute(statement.encode(), parameters).fetchall()
    return [_judge(*row, threshold=threshold) for row in rows]


def idle(job_type: str) -> TypeHealth:
    """The health of a type that has had no jobs within the window."""
    return TypeHealth(job_type, {}, 0, None, None, None, 0, "idle")


def read_queue(connection: Connection) -> Queue:
    """What waits just now."""
    row = connection.execute(READ_QUEUE, {"cap": MAX_DEPTH, "ended_cap": SAMPLE}).fetchone()
    return Queue(*row) if row else Queue(0, 0.0, 0)


def _judge(
    job_type: str | None,
    counts: dict[str, int],
    average_seconds: float | None,
    p95_seconds: float | None,
    stuck: int,
    exact: bool,
    *,
    threshold: float,
) -> TypeHealth:
    failed = counts.get("failed", 0)
    ended = failed + counts.get("completed", 0)
    rate = failed / ended if ended else None
    total = sum(counts.values())
    if stuck or (rate is not None and rate > threshold):
        health = "unhealthy"
    else:
        health = "healthy" if total else "idle"
    return TypeHealth(
        job_type, counts, total, rate, average_seconds, p95_seconds, stuck, health, exact
    )


def to_document(health: TypeHealth) -> dict[str, Any]:
    """In the shape of the deployment guide's endpoint: `stats`, `failureRate`, `totalJobs`,
    `health`, and what it lacked."""
    return {
        "stats": [
            {"status": status, "count": count} for status, count in sorted(health.counts.items())
        ],
        "failureRate": health.failure_rate,
        "totalJobs": health.total,
        "averageSeconds": health.average_seconds,
        "p95Seconds": health.p95_seconds,
        "stuck": health.stuck,
        "health": health.health,
        "exact": health.exact,
    }
