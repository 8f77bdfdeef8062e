"""The job types: all of them side by side, and a page for each."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from functions.api.auth import Connected
from functions.api.dashboard import clocks, flash, redaction
from functions.api.dashboard.auth import (
    OperatorsForm,
    Posted,
    Reader,
    ReadersForm,
    borrowed,
)
from functions.api.dashboard.job_pages import parsed
from functions.api.dashboard.pages import Page, render
from functions.api.jobs import forbidden_to_enqueue
from functions.cleanup_old_data.models import DEFAULT_RETENTION_DAYS
from stashjobs.errors import InvalidPayload, PayloadTooLarge
from stashjobs.job_type import close_to, declared, find
from stashjobs.observability.log import logger
from stashjobs.operators import health, job_types, search, statistics
from stashjobs.producer import enqueue, schedules
from stashjobs.producer.options import Options

if TYPE_CHECKING:
    from functions.api.dashboard.sessions import Session
    from stashjobs.job_type import JobType
    from stashjobs.store.database import Connection
    from stashjobs.store.job_types import TypeState

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


@router.get("/types/{name:path}/new")
def new_job(request: Request, session: Reader, name: str) -> HTMLResponse:
    """A job of the type, to be enqueued: its example, to be edited."""
    job = _may_enqueue(session, name)
    example = _example(job, mask=False)
    text = json.dumps({} if example is None else example, indent=2, ensure_ascii=False)
    return _form(request, job, text)


@router.post("/types/{name:path}/new")
def enqueue_new(request: Request, session: ReadersForm, form: Posted, name: str) -> Response:
    """Enqueue it; one that does not fit is shown again, with why."""
    job = _may_enqueue(session, name)
    text, at = form.one("payload"), form.one("at")
    try:
        payload = parsed(text)
        due = _moment(at)
        new = enqueue.prepare(job, payload, Options(at=due))
    except InvalidPayload as error:
        return _form(request, job, text, at, [_of_a_field(reason) for reason in error.reasons])
    except PayloadTooLarge as error:
        return _form(request, job, text, at, [("payload", str(error))])
    except ValueError as error:
        return _form(request, job, text, at, [("at", str(error))])
    [enqueued] = enqueue.enqueue_prepared([replace(new, enqueued_by=session.actor)])
    logger().info(
        "enqueued on the dashboard", extra={"actor": session.actor, "job_id": enqueued.job_id}
    )
    return flash.leads_to(f"/admin/jobs/{quote(enqueued.job_id, safe='')}", request, "enqueue")


def _may_enqueue(session: Session, name: str) -> JobType[Any, Any]:
    job = find(name)
    if not session.may_enqueue(job):
        raise forbidden_to_enqueue(job)
    return job


def _form(
    request: Request,
    job: JobType[Any, Any],
    text: str,
    at: str = "",
    problems: list[tuple[str, str]] | None = None,
) -> HTMLResponse:
    return render(
        request,
        "new.html",
        422 if problems else 200,
        job=job,
        text=text,
        at=at,
        problems=problems or [],
        schema=job.payload_schema(),
        state=None,
    )


def _of_a_field(reason: str) -> tuple[str, str]:
    """The field that a reason names, and the rest; `payload` where it is about all of it."""
    field, colon, rest = reason.partition(": ")
    return (field, rest) if colon and " " not in field else ("payload", reason)


def _moment(text: str) -> datetime | None:
    """What a field of a date and a time has, in UTC."""
    if not text.strip():
        return None
    at = datetime.fromisoformat(text)
    return at.replace(tzinfo=at.tzinfo or UTC)


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
def change(request: Request, session: OperatorsForm, form: Posted) -> Response:
    """Pause, resume or limit a type, or lift the limit."""
    name, action, actor = form.one("type"), form.one("action"), session.actor
    if action == "pause":
        job_types.pause(name, actor=actor)
    elif action == "resume":
        job_types.resume(name, actor=actor)
    elif action == "lift":
        job_types.lift_limit(name, actor=actor)
    elif action == "limit":
        limits = {each: form.one(each).strip() for each in ("rate", "period", "parallelism")}
        try:
            job_types.limit(
                name,
                actor=actor,
                rate=_number(limits["rate"], "rate"),
                period=limits["period"] or "1s",
                parallelism=_number(limits["parallelism"], "parallelism"),
            )
        except ValueError as error:
            with borrowed() as own:
                shown = _shown(own, name)
            shown |= {"limits": limits, "problem": str(error)}
            return render(request, "type.html", 422, **shown)
    else:
        raise HTTPException(404, "there is no such action")
    url = "/admin/types" if form.one("back") == "types" else f"/admin/types/{quote(name, safe='/')}"
    return flash.leads_to(url, request, f"type-{action}")


def _number(text: str, field: str) -> int | None:
    if not text.strip():
        return None
    if not (text.isascii() and text.isdigit() and len(text) < 9):
        raise ValueError(f"{field} is {text[:20]!r}, it must be a whole number")
    return int(text)


def _limits(state: TypeState | None) -> dict[str, str]:
    """What the fields of the form have at first."""
    if state is None:
        return {"rate": "", "period": "", "parallelism": ""}
    return {
        "rate": str(state.rate or ""),
        "period": _period(state.period_seconds),
        "parallelism": str(state.parallelism or ""),
    }


def _period(seconds: int | None) -> str:
    """`1m`, as it was entered."""
    if not seconds:
        return ""
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


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
        "states": job_types.read(own),
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
    state = job_types.read(own).get(name)
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
        "state": state,
        "limits": _limits(state),
        "problem": "",
    }


def _example(job: JobType[Any, Any] | None, *, mask: bool = True) -> Any:
    """A payload as the type's model gives it; None: it gives none."""
    try:
        example = job.example() if job else None
    except InvalidPayload:
        return None
    return redaction.mask(example) if mask else example
