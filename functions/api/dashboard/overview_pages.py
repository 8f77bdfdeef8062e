"""Overview, alerts and the record: pages that only tell."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import HTMLResponse
from starlette.responses import Response

from functions.api.auth import Connected
from functions.api.dashboard import alerts, audit, flash
from functions.api.dashboard.auth import Operator, OperatorsForm, Reader, borrowed
from functions.api.dashboard.pages import Page, render
from functions.api.errors import misfit
from stashjobs.job_type import broken
from stashjobs.operators import dead_letters, health, search, statistics

if TYPE_CHECKING:
    from stashjobs.store.database import Connection

router = APIRouter(prefix="/admin", route_class=Page, include_in_schema=False)


@router.get("")
def overview(request: Request, _session: Reader, own: Connected) -> HTMLResponse:
    """How the system is."""
    return render(request, "overview.html", **_overview(own))


@router.get("/live/overview")
def overview_part(request: Request, _session: Reader, own: Connected) -> HTMLResponse:
    """What of it changes."""
    return render(request, "_overview.html", **_overview(own))


def _overview(own: Connection) -> dict[str, Any]:
    hour = statistics.read_recent(own, timedelta(hours=1))
    everything, types = (hour[0] if hour else None), hour[1:]
    waiting = statistics.read_waiting(own, health.stuck_seconds())
    conditions = alerts.from_jobs(everything, types, waiting)
    statuses = statistics.read_statuses(own, search.STATUSES)
    return {
        "hour": everything,
        "sample": statistics.SAMPLE,
        "waiting": waiting,
        "statuses": statuses,
        "upcoming": statistics.read_upcoming(own),
        "series": statistics.read_series(own),
        "durations": statistics.read_durations(own),
        "sampled_durations": statistics.DURATIONS,
        "failing": statistics.read_failing(own),
        "threshold": health.failure_percent() / 100,
        "broken": broken(),
        "firing": [one for one in conditions if one.state == alerts.FIRING],
    }


@router.get("/alerts")
def alerts_page(request: Request, _session: Reader) -> HTMLResponse:
    """The conditions that the alarms watch."""
    return render(request, "alerts.html", conditions=_conditions(request))


@router.get("/live/alerts")
def alerts_part(request: Request, _session: Reader) -> HTMLResponse:
    """What of it changes."""
    return render(request, "_alerts.html", conditions=_conditions(request))


def _conditions(request: Request) -> list[alerts.Condition]:
    with borrowed() as own:  # and given back before QStash is asked
        found = alerts.read(own)
    found = alerts.in_order([*found, alerts.dead_letters()])
    request.state.firing = sum(one.state == alerts.FIRING for one in found)
    return found


@router.post("/alerts/dead-letters")
def delete_dead_letters(request: Request, session: OperatorsForm) -> Response:
    """Delete the dead letters of this stage at QStash; their jobs stay as they are."""
    count = dead_letters.delete_all(actor=session.actor)
    return flash.leads_to("/admin/alerts#dead-letters", request, "dead-letters", count=count)


@router.get("/audit")
def actions(
    request: Request, _session: Operator, own: Connected, before: str | None = None
) -> HTMLResponse:
    """What operators did."""
    try:
        found = audit.read_actions(own, before)
    except ValueError as error:
        raise misfit("query", "before", "it is no place in the audit") from error
    page = found[: audit.PAGE]
    more = page[-1].place if len(found) > audit.PAGE else ""
    return render(request, "audit.html", view="actions", rows=page, more=more)


@router.get("/audit/access")
def accesses(
    request: Request,
    _session: Operator,
    own: Connected,
    before: Annotated[int | None, Query(ge=1, lt=2**63)] = None,
) -> HTMLResponse:
    """The access log."""
    found = audit.read_accesses(own, before)
    page = found[: audit.PAGE]
    more = str(page[-1].access_id) if len(found) > audit.PAGE else ""
    return render(request, "audit.html", view="access", rows=page, more=more)
