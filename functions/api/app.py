"""The HTTP API: its routes, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI

import stashjobs
from functions.api import (
    batches,
    dead_letters,
    errors,
    health,
    job_types,
    jobs,
    notifications,
    schedules,
)
from functions.api.dashboard import routes as dashboard
from stashjobs.job_type import load

if TYPE_CHECKING:
    from fastapi.routing import APIRoute


def _name(route: APIRoute) -> str:
    return route.name


load(skip_broken=True)
app = FastAPI(
    title="stashjobs",
    version=stashjobs.__version__,
    summary="Enqueue jobs and see what becomes of them.",
    description="For apps in any language, and for operators. Every route but `/livez`, "
    "`/readyz` and `/openapi.json` wants a token. What is refused changes nothing, and says why: "
    "`error`, and `reasons` where several things are wrong.",
    openapi_tags=[
        {"name": "jobs", "description": "Enqueue, look, retry and cancel."},
        {"name": "schedules", "description": "What is enqueued again and again."},
        {"name": "types", "description": "Pause, resume and limit job types."},
        {"name": "batches", "description": "How batches stand."},
        {"name": "notifications", "description": "What users have been told."},
        {"name": "health", "description": "Whether the service is up, and how the jobs are."},
    ],
    generate_unique_id_function=_name,
    docs_url=None,  # they come from a CDN; the document itself is at /openapi.json
    redoc_url=None,
)
errors.install(app)
app.include_router(jobs.router)
app.include_router(schedules.router)
app.include_router(job_types.router)
app.include_router(dead_letters.router)
app.include_router(batches.router)
app.include_router(notifications.router)
app.include_router(health.router)
app.include_router(health.probes)
app.include_router(dashboard.router)
