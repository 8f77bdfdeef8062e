"""The job types: all of them side by side, and a page for each."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from functions.api.auth import Connected
from functions.api.dashboard import clocks, redaction
from functions.api.dashboard.auth import OperatorsForm, Posted, Reader
from functions.api.dashboard.pages import Page, render
from functions.cleanup_old_data.models import DEFAULT_RETENTION_DAYS
from stashjobs.errors import InvalidPayload
from stashjobs.job_type import close_to, declared
from stashjobs.operators import health, job_types, search, statistics
from stashjobs.producer import schedules

if TYPE_CHECKING:
    from stashjobs.job_type import JobType
    from stashjobs.store.database import Connection

LATEST_JOBS = 8
STATEMENT_SECONDS = 5

router = APIRouter(prefix="/admin", route_class=Page, include_in_schema=False)


@router.get("/types")
def types(request: Request, _session: Reader, own: Connected) -> HTMLResponse:
    """The job types, with what became of the jobs of a day."""
    return render(request, "types.html", **_types(own))


@router.get("/live/types")
def types_part(request: Request, _session: Reader, own: Connected) -> HTMLResponse:
    """What of it changes."""
    return render(request, "_types.html", **_types(own))


# A type that is not declared here has whatever name its producer gave it, with a slash too.
@router.get("/types/{name:path}")
def show(request: Request, _session: Reader, own: Connected, name: str) -> HTMLResponse:
    """One type."""
    return render(request, "type.html", **_shown(own, name))


@router.get("/live/types/{name:path}")
def show_part(request: Request, _session: Reader, own: Connected, name: str) -> HTMLResponse:
    """What of it changes."""
    return render(request, "_type.html", **_shown(own, name))


@router.post("/types")
def change(session: OperatorsForm, form: Posted) -> Response:
    """Pause, resume or limit a type, or lift the limit."""
    name, action, actor = form.one("type"), form.one("action"), session.actor
    if action == "pause":
        job_types.pause(name, actor=actor)
    elif action == "resume":
        job_types.resume(name, actor=actor)
    elif action == "lift":
        job_types.lift_limit(name, actor=actor)
    elif action == "limit":
        try:
            job_types.limit(
                name,
                actor=actor,
                rate=_number(form.one("rate"), "rate"),
                period=form.one("period") or "1s",
                parallelism=_number(form.one("parallelism"), "parallelism"),
            )
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
    else:
        raise HTTPException(404, "there is no such action")
    return RedirectResponse(f"/admin/types/{quote(name, safe='/')}", 303)


def _number(text: str, field: str) -> int | None:
    if not text.strip():
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise ValueError(f"{field} is {text[:20]!r}, it must be a whole number")
    return int(text)


def _types(own: Connection) -> dict[str, Any]:
    day = statistics.read_recent(own, timedelta(days=1))
    recent = {str(one.job_type): one for one in day[1:]}
    jobs = {job.type: job for job in declared()}
    return {
        "everything": day[0] if day else None,
        "sample": statistics.SAMPLE,
        "names": sorted({*jobs, *recent}),
        "jobs": jobs,
        "meant": _meant,
        "recent": recent,
        "hours": statistics.read_type_series(own),
        "threshold": health.failure_percent() / 100,
    }


def _meant(name: str) -> str:
    """`. Did you mean send-email?` for a type that is not declared; empty where none is like it."""
    return close_to(name, [job.type for job in declared()])


def _shown(own: Connection, name: str) -> dict[str, Any]:
    job = next((each for each in declared() if each.type == name), None)
    with own.transaction():
        own.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'".encode())
        day = statistics.read_type_day(own, name)
        latest = search.newest(own, search.Filter(job_type=name), limit=LATEST_JOBS)
        failing = statistics.read_failing(own, job_type=name)
        waiting = statistics.read_type_waiting(own, name)
    if job is None and not latest:
        raise HTTPException(404, f"there is no type {name[:100]}, and no job of it{_meant(name)}")
    return {
        "name": name,
        "job": job,
        "meant": "" if job else _meant(name),
        "day": day,
        "sample": statistics.SAMPLE,
        "latest": latest,
        "failing": failing,
        "waiting": waiting,
        "threshold": health.failure_percent() / 100,
        "schedules": [each for each in schedules.declared() if each.job.type == name],
        "clocks": [each for each in clocks.of_stage() if each.job_type == name],
        "retention": (job.retention if job else None) or DEFAULT_RETENTION_DAYS,
        "example": _example(job),
        "state": job_types.read(own).get(name),
    }


def _example(job: JobType[Any, Any] | None) -> Any:
    """A payload as the type's model gives it; None: it gives none."""
    try:
        return redaction.mask(job.example()) if job else None
    except InvalidPayload:
        return None
