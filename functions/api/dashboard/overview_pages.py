"""Overview, types, alerts and the record: pages that only tell."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse

from functions.api.dashboard import alerts, audit
from functions.api.dashboard.guard import Operator, Reader
from functions.api.dashboard.pages import Page, render
from functions.api.guard import Connected
from stashjobs import lookup, statistics
from stashjobs.job import declared

if TYPE_CHECKING:
    from stashjobs.database import Connection

router = APIRouter(prefix="/admin", route_class=Page, include_in_schema=False)


@router.get("")
def overview(request: Request, own: Connected, _session: Reader) -> HTMLResponse:
    """How the system is."""
    return render(request, "overview.html", **_overview(own))


@router.get("/live/overview")
def overview_part(request: Request, own: Connected, _session: Reader) -> HTMLResponse:
    """What of it changes."""
    return render(request, "_overview.html", **_overview(own))


def _overview(own: Connection) -> dict[str, Any]:
    hour = statistics.read_recent(own, timedelta(hours=1))
    everything, types = (hour[0] if hour else None), hour[1:]
    waiting = statistics.read_waiting(own, alerts.stuck_seconds())
    conditions = alerts.from_jobs(everything, types, waiting)
    return {
        "hour": everything,
        "sample": statistics.SAMPLE,
        "waiting": waiting,
        "statuses": statistics.read_statuses(own, lookup.STATUSES),
        "series": statistics.read_series(own),
        "failing": statistics.read_failing(own),
        "threshold": alerts.failure_percent() / 100,
        "firing": [one for one in conditions if one.state == alerts.FIRING],
    }


@router.get("/types")
def types(request: Request, own: Connected, _session: Reader) -> HTMLResponse:
    """The job types, with what became of the jobs of a day."""
    return render(request, "types.html", **_types(own))


@router.get("/live/types")
def types_part(request: Request, own: Connected, _session: Reader) -> HTMLResponse:
    """What of it changes."""
    return render(request, "_types.html", **_types(own))


def _types(own: Connection) -> dict[str, Any]:
    day = statistics.read_recent(own, timedelta(days=1))
    recent = {str(one.job_type): one for one in day[1:]}
    jobs = {job.type: job for job in declared()}
    return {
        "everything": day[0] if day else None,
        "sample": statistics.SAMPLE,
        "names": sorted({*jobs, *recent}),
        "jobs": jobs,
        "recent": recent,
        "hours": statistics.read_type_series(own),
        "threshold": alerts.failure_percent() / 100,
    }


@router.get("/alerts")
def alerts_page(request: Request, own: Connected, _session: Reader) -> HTMLResponse:
    """The conditions that the alarms watch."""
    return render(request, "alerts.html", conditions=alerts.read(own))


@router.get("/live/alerts")
def alerts_part(request: Request, own: Connected, _session: Reader) -> HTMLResponse:
    """What of it changes."""
    return render(request, "_alerts.html", conditions=alerts.read(own))


@router.get("/audit")
def actions(
    request: Request, own: Connected, _session: Operator, before: datetime | None = None
) -> HTMLResponse:
    """What operators did."""
    found = audit.read_actions(own, before)
    page = found[: audit.PAGE]
    more = page[-1].at.isoformat() if len(found) > audit.PAGE else ""
    return render(request, "audit.html", view="actions", rows=page, more=more)


@router.get("/audit/access")
def accesses(
    request: Request,
    own: Connected,
    _session: Operator,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> HTMLResponse:
    """Who asked for what."""
    found = audit.read_accesses(own, before)
    page = found[: audit.PAGE]
    more = str(page[-1].access_id) if len(found) > audit.PAGE else ""
    return render(request, "audit.html", view="access", rows=page, more=more)
