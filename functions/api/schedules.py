"""`/api/admin/schedules`: list, pause, resume, run now."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path

from functions.api.auth import Guarded, needs
from functions.api.errors import WITH_TOKEN, refusals
from functions.api.schema import Nothing, Wire, example
from stashjobs.operators import schedules

router = APIRouter(
    prefix="/api/admin/schedules",
    tags=["schedules"],
    route_class=Guarded,
    responses=refusals(*WITH_TOKEN),
)
Name = Annotated[str, Path(description="As declared.", examples=["nightly-export"])]


class Schedule(Wire):
    """A schedule, by what the code declares and by what QStash has.

    `state` is `active`, `paused`, `not synced` (missing at QStash) or `not declared`;
    `nextRun` is null while it is paused.
    """

    model_config = example(
        {
            "name": "nightly-export",
            "type": "export-data",
            "cron": "0 3 * * *",
            "timezone": "Europe/Rome",
            "state": "active",
            "nextRun": "2030-02-01T02:00:00Z",
            "lastRun": "2030-01-31T02:00:00Z",
        }
    )

    name: str
    type: str
    cron: str
    timezone: str
    state: Literal["active", "paused", "not synced", "not declared"]
    next_run: datetime | None
    last_run: datetime | None


class Schedules(Wire):
    """Every schedule, by name."""

    schedules: list[Schedule]


class Changed(Wire):
    """What a schedule is now."""

    model_config = example({"name": "nightly-export", "state": "paused"})

    name: str
    state: Literal["active", "paused"]


class Ran(Wire):
    """The job that was enqueued. If `published` is false, the relay publishes it soon."""

    model_config = example({"jobId": "0190f1c2", "published": True})

    job_id: str
    published: bool


@router.get("")
def list_schedules(_actor: Annotated[str, needs("read")]) -> Schedules:
    """List the schedules, as QStash has them just now; 503 where it cannot be asked."""
    return Schedules(
        schedules=[
            Schedule.model_validate(
                {
                    "name": found.name,
                    "type": found.job_type,
                    "cron": found.cron,
                    "timezone": found.timezone,
                    "state": found.state,
                    "nextRun": found.next_run,
                    "lastRun": found.last_run,
                }
            )
            for found in schedules.list_all()
        ]
    )


@router.post("/{name}/pause", responses=refusals(404, 409, 415))
def pause_schedule(
    name: Name, actor: Annotated[str, needs("operate")], _body: Nothing | None = None
) -> Changed:
    """Have a schedule not fire until it is resumed. 409 where QStash does not have it."""
    schedules.pause(name, actor=actor)
    return Changed(name=name, state="paused")


@router.post("/{name}/resume", responses=refusals(404, 409, 415))
def resume_schedule(
    name: Name, actor: Annotated[str, needs("operate")], _body: Nothing | None = None
) -> Changed:
    """Have a paused schedule fire again. 409 where QStash does not have it."""
    schedules.resume(name, actor=actor)
    return Changed(name=name, state="active")


@router.post("/{name}/run", status_code=202, responses=refusals(404, 409, 415))
def run_schedule(
    name: Name, actor: Annotated[str, needs("operate")], _body: Nothing | None = None
) -> Ran:
    """Enqueue a schedule's job now, besides its firings, paused or not."""
    enqueued = schedules.run_now(name, actor=actor)
    return Ran(job_id=enqueued.job_id, published=enqueued.published)
