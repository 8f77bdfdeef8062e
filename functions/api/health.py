"""Whether the service is up, and how the jobs are."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query

from functions.api.auth import Connected, Guarded, needs
from functions.api.errors import WITH_TOKEN, refusals
from functions.api.schema import Text, Wire, example
from stashjobs.job_type import find
from stashjobs.operators import health
from stashjobs.store.executions import Status

router = APIRouter(tags=["health"], route_class=Guarded)
# For load balancers and uptime checks, which ask with HEAD, and with parameters against caches.
probes = APIRouter(tags=["health"])


class Up(Wire):
    """It answers. `now` is the time by its own clock, for `stashjobs doctor`."""

    model_config = example({"status": "ok", "now": "2030-01-31T09:00:00Z"})

    status: Literal["ok"]
    now: datetime


class Count(Wire):
    """How many jobs have this status."""

    status: Status
    count: int


HEALTH_EXAMPLE: dict[str, Any] = {
    "stats": [{"status": "completed", "count": 98}, {"status": "failed", "count": 2}],
    "failureRate": 0.02,
    "totalJobs": 100,
    "averageSeconds": 1.25,
    "p95Seconds": 4.5,
    "stuck": 0,
    "health": "healthy",
    "exact": True,
}


class Health(Wire):
    """The jobs created within the window.

    `failureRate` is failed of all runs that ended, from 0 to 1, null where none has; a failure
    counts although its job was retried since. `stuck` counts the attempts that have run for too
    long, however old their job is. `health` is `unhealthy` where
    more failed than the threshold allows or an attempt is stuck, and `idle` without jobs. `exact`
    is false where the window has more jobs than the newest 5,000: then all of this but `stuck` is
    of those.
    """

    model_config = example(HEALTH_EXAMPLE)

    stats: list[Count]
    failure_rate: float | None
    total_jobs: int
    average_seconds: float | None
    p95_seconds: float | None
    stuck: int
    health: Literal["healthy", "unhealthy", "idle"]
    exact: bool


class Thresholds(Wire):
    """From where on it is `unhealthy`: more than this rate, longer than these seconds."""

    failure_rate: float
    stuck_seconds: int


class Metrics(Health):
    """The health of all jobs together, and of each type that has had jobs in the window."""

    model_config = example(
        HEALTH_EXAMPLE
        | {
            "windowSeconds": 3600,
            "thresholds": {"failureRate": 0.05, "stuckSeconds": 600},
            "types": {"send-email": HEALTH_EXAMPLE},
        }
    )

    window_seconds: int
    thresholds: Thresholds
    types: dict[str, Health]


@probes.head("/livez", include_in_schema=False)
@probes.get("/livez")
def livez() -> Up:
    """The process answers. Nothing else is looked at, and no token is asked for."""
    return Up(status="ok", now=datetime.now(UTC))


@probes.head("/readyz", include_in_schema=False)
@probes.get("/readyz", responses=refusals(503))
def readyz(own: Connected) -> Up:
    """The database answers too. 503 where it does not; no token is asked for."""
    own.execute("SELECT 1")
    return Up(status="ok", now=datetime.now(UTC))


@router.get("/api/admin/job-health", responses=refusals(*WITH_TOKEN, 404))
def job_health(
    _actor: Annotated[str, needs("read")],
    own: Connected,
    *,
    type: Annotated[  # noqa: A002 - the field's own term
        Text | None, Query(description="Only this job type.", examples=["send-email"])
    ] = None,
) -> Health:
    """The last hour: counts by status, the failure rate, and a verdict; `idle` without jobs."""
    everything, *types = health.read(own, type)
    if type is None:
        return _shown(everything)
    for one in types:
        if one.job_type == type:
            return _shown(one)
    return _shown(health.idle(find(type).type))


@router.get("/api/admin/job-metrics", responses=refusals(*WITH_TOKEN))
def job_metrics(_actor: Annotated[str, needs("read")], own: Connected) -> Metrics:
    """The same, and for each job type; and the thresholds."""
    everything, *types = health.read(own)
    return Metrics.model_validate(
        health.to_document(everything)
        | {
            "windowSeconds": health.window_seconds(),
            "thresholds": {
                "failureRate": health.failure_percent() / 100,
                "stuckSeconds": health.stuck_seconds(),
            },
            "types": {str(one.job_type): health.to_document(one) for one in types},
        }
    )


def _shown(one: health.TypeHealth) -> Health:
    return Health.model_validate(health.to_document(one))
