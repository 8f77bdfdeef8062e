"""The schedules: those that the code declares and those that QStash has."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from functions.api.dashboard import clocks
from functions.api.dashboard.auth import OperatorsForm, Reader, borrowed
from functions.api.dashboard.clocks import Clock
from functions.api.dashboard.pages import Page, render
from stashjobs.errors import NoSuchSchedule, NotSynced, QStashFailed, SettingError
from stashjobs.operators import schedules, search

if TYPE_CHECKING:
    from stashjobs.operators.search import JobExecution

router = APIRouter(prefix="/admin", route_class=Page, include_in_schema=False)
DONE = {
    "pause": "The schedule is paused.",
    "resume": "The schedule runs again.",
    "run": "A job is enqueued.",
}


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
    return render(
        request,
        "schedules.html",
        rows=rows,
        clocks=_clocks(),
        problem=problem,
        notice=DONE.get(request.query_params.get("done", "")),
        job_id=request.query_params.get("job", "")[:128],
    )


@router.post("/schedules/{name}/{action}")
def change(session: OperatorsForm, name: str, action: str) -> Response:
    """Pause, resume or run one now."""
    job_id = None
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
    job = f"&job={job_id}" if job_id else ""
    return RedirectResponse(f"/admin/schedules?done={action}{job}", 303)


def _clocks() -> list[tuple[Clock, datetime, JobExecution | None]]:
    """What EventBridge calls, with the next call and the last job of it."""
    now = datetime.now(UTC)
    found = []
    with borrowed() as own:
        for clock in clocks.of_stage():
            last = None
            if clock.job_type:
                of_it = search.Filter(job_type=clock.job_type)
                last = next(iter(search.newest(own, of_it, limit=1)), None)
            found.append((clock, clock.next_run(now), last))
    return found
