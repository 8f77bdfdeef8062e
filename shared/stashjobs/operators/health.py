"""How the system is: what the deployment guide's health check and alert conditions ask, made right.

A rate is a rate (failed of all that ended), nothing is divided by zero, and a system without jobs
is `idle`, not ill.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stashjobs.config import settings
from stashjobs.operators import sql

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
        failure_rate: Failed of the runs that ended as completed or failed, from 0 to 1. A failure
            counts although its job was retried since. None: none has ended.
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
    and_type = "" if job_type is None else "AND job_type = %(job_type)s"
    statement = sql.READ_HEALTH.format(and_type=and_type)
    rows = connection.execute(statement.encode(), parameters).fetchall()
    return [_judge(*row, threshold=threshold) for row in rows]


def idle(job_type: str) -> TypeHealth:
    """The health of a type that has had no jobs within the window."""
    return TypeHealth(job_type, {}, 0, None, None, None, 0, "idle")


def read_queue(connection: Connection) -> Queue:
    """What waits just now."""
    row = connection.execute(sql.READ_QUEUE, {"cap": MAX_DEPTH, "ended_cap": SAMPLE}).fetchone()
    return Queue(*row) if row else Queue(0, 0.0, 0)


def _judge(
    job_type: str | None,
    counts: dict[str, int],
    retried: int,
    average_seconds: float | None,
    p95_seconds: float | None,
    stuck: int,
    exact: bool,
    *,
    threshold: float,
) -> TypeHealth:
    failed = counts.get("failed", 0) + retried
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
