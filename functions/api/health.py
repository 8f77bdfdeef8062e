"""Whether the service is up, and how the jobs are."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter

from functions.api.guard import Connected, needs
from stashjobs import health

router = APIRouter(tags=["health"])


@router.get("/livez")
def livez() -> dict[str, str]:
    """The process answers. Nothing else is looked at, and no token is asked for."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(own: Connected) -> dict[str, str]:
    """The database answers too. 503 where it does not; no token is asked for."""
    own.execute("SELECT 1")
    return {"status": "ok"}


@router.get("/api/admin/job-health")
def job_health(_actor: Annotated[str, needs("read")], own: Connected) -> dict[str, Any]:
    """The last hour: counts by status, the failure rate, and a verdict; `idle` without jobs."""
    return health.to_document(health.read(own)[0])


@router.get("/api/admin/job-metrics")
def job_metrics(_actor: Annotated[str, needs("read")], own: Connected) -> dict[str, Any]:
    """The same, and for each job type."""
    everything, *types = health.read(own)
    return health.to_document(everything) | {
        "windowSeconds": health.window_seconds(),
        "types": {str(one.job_type): health.to_document(one) for one in types},
    }
