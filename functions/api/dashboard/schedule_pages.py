"""The schedules: those that the code declares and those that QStash has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse, RedirectResponse
from starlette.responses import Response

from functions.api.dashboard import audit
from functions.api.dashboard.guard import OperatorsForm, Reader
from functions.api.dashboard.pages import Page, render
from functions.api.guard import Connected
from stashjobs import schedules, telemetry

if TYPE_CHECKING:
    from qstash.schedule import Schedule as QStashSchedule

router = APIRouter(prefix="/admin", route_class=Page, include_in_schema=False)
DONE = {
    "pause": "The schedule is paused.",
    "resume": "The schedule fires again.",
    "run": "A job is enqueued.",
}


@dataclass(frozen=True, slots=True)
class Row:
    """A schedule, by what the code says and by what QStash says.

    Attributes:
        state: `active`, `paused`, `not synced` (QStash lacks it), `not declared` (the code does) or
            `unknown` (QStash could not be asked).
    """

    name: str
    cron: str
    timezone: str
    job_type: str
    state: str
    paused: bool
    next_run: datetime | None
    last_run: datetime | None
    is_declared: bool
    is_remote: bool


@router.get("/schedules")
def list_schedules(request: Request, _session: Reader) -> HTMLResponse:
    """Every schedule, with its next run."""
    problem = ""
    remote: dict[str, QStashSchedule] | None = None
    try:
        remote = {schedules.name_of(found): found for found in schedules.remote()}
    except Exception as error:  # noqa: BLE001 - what the code declares is worth showing alone
        telemetry.logger().warning("QStash could not be asked", error=telemetry.one_line(error))
        problem = "QStash could not be asked, so it is not known what is paused and what runs next."
    return render(
        request,
        "schedules.html",
        rows=_rows(remote),
        problem=problem,
        notice=DONE.get(request.query_params.get("done", "")),
        job_id=request.query_params.get("job", "")[:128],
    )


@router.post("/schedules/{name}/{action}")
def change(own: Connected, session: OperatorsForm, name: str, action: str) -> Response:
    """Pause, resume or run one now."""
    job_id = None
    if action == "run":
        declared = {schedule.name: schedule for schedule in schedules.declared()}
        if name not in declared:
            raise HTTPException(404, f"no schedule {name[:100]} is declared here")
        job_id = schedules.run_now(declared[name]).job_id
    elif action in DONE:
        _tell_qstash(name, action)
    else:
        raise HTTPException(404, "there is no such action")
    audit.record_schedule_action(own, session.actor, action, name, job_id)
    telemetry.logger().info(
        "schedule", extra={"schedule": name, "action": action, "actor": session.actor}
    )
    job = f"&job={job_id}" if job_id else ""
    return RedirectResponse(f"/admin/schedules?done={action}{job}", 303)


def _tell_qstash(name: str, action: str) -> None:
    try:
        (schedules.pause if action == "pause" else schedules.resume)(name)
    except Exception as error:
        telemetry.logger().error("QStash refused", error=telemetry.one_line(error))
        raise HTTPException(409, "QStash did not do it; the log says why") from error


def _rows(remote: dict[str, QStashSchedule] | None) -> list[Row]:
    declared = {schedule.name: schedule for schedule in schedules.declared()}
    rows = []
    for name in sorted({*declared, *(remote or {})}):
        own, found = declared.get(name), (remote or {}).get(name)
        paused = bool(found and found.paused)
        if remote is None:
            state = "unknown"
        elif found is None:
            state = "not synced"
        elif own is None:
            state = "paused" if paused else "not declared"
        else:
            state = "paused" if paused else "active"
        timezone, cron = _cron(found.cron) if found else ("", "")
        rows.append(
            Row(
                name,
                own.cron if own else cron,
                own.timezone if own else timezone,
                own.job.type if own else (found.label or "" if found else ""),
                state,
                paused,
                None if paused else _moment(found.next_schedule_time if found else None),
                _moment(found.last_schedule_time if found else None),
                own is not None,
                found is not None,
            )
        )
    return rows


def _cron(text: str) -> tuple[str, str]:
    """Time zone and fields of a QStash cron expression."""
    first, _, rest = text.partition(" ")
    return (first.removeprefix("CRON_TZ="), rest) if first.startswith("CRON_TZ=") else ("UTC", text)


def _moment(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None
