"""The schedules: those that the code declares and those that QStash has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from functions.api.dashboard import clocks, flash, logs
from functions.api.dashboard.auth import OperatorsForm, Reader, borrowed
from functions.api.dashboard.clocks import Clock
from functions.api.dashboard.pages import Page, render
from stashjobs.errors import NoSuchSchedule, NotSynced, QStashFailed, SettingError
from stashjobs.operators import schedules, search
from stashjobs.operators.search import Filter, JobExecution

# How many of the last ones a page shows.
RUNS = 5

router = APIRouter(prefix="/admin", route_class=Page, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Called:
    """What EventBridge calls, with the next call, the last jobs of it, and where its log is."""

    clock: Clock
    next_run: datetime
    runs: list[JobExecution]
    log: str


@router.get("/schedules")
def list_schedules(request: Request, _session: Reader) -> HTMLResponse:
    """Every schedule, with its next run."""
    problem = ""
    try:
        rows = schedules.list_all()
    except (QStashFailed, SettingError):
        # What the code declares is worth showing alone.
        rows = schedules.list_declared()
        problem = "QStash could not be asked, so it is not known what is paused and what runs next."
    with borrowed() as own:
        runs = search.find_runs(own, [row.name for row in rows], RUNS)
    return render(
        request,
        "schedules.html",
        rows=rows,
        runs=runs,
        clocks=_clocks(),
        problem=problem,
    )


@router.post("/schedules/{name}/{action}")
def change(request: Request, session: OperatorsForm, name: str, action: str) -> Response:
    """Pause, resume or run one now."""
    job_id = ""
    try:
        if action == "run":
            job_id = schedules.run_now(name, actor=session.actor).job_id
        elif action == "pause":
            schedules.pause(name, actor=session.actor)
        elif action == "resume":
            schedules.resume(name, actor=session.actor)
        else:
            raise HTTPException(404, "there is no such action")
    except NoSuchSchedule as error:
        raise HTTPException(404, str(error)) from error
    except NotSynced as error:
        raise HTTPException(409, str(error)) from error
    return flash.leads_to("/admin/schedules", request, f"schedule-{action}", job_id=job_id)


def _clocks() -> list[Called]:
    """What EventBridge calls."""
    now = datetime.now(UTC)
    found = []
    with borrowed() as own:
        for clock in clocks.of_stage():
            runs = []
            if clock.job_type:
                runs = search.newest(own, Filter(job_type=clock.job_type), limit=RUNS)
            log = logs.of_function(clock.name)
            found.append(Called(clock, clock.next_run(now), runs, log))
    return found
