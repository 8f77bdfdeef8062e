"""The batches: the newest ones, and a page for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import HTMLResponse

from functions.api.auth import Connected
from functions.api.dashboard import charts
from functions.api.dashboard.auth import Reader
from functions.api.dashboard.pages import Page, render
from stashjobs.operators import search
from stashjobs.operators.search import Filter
from stashjobs.store import batches

if TYPE_CHECKING:
    from stashjobs.store.database import Connection

LATEST_BATCHES = 50
LATEST_JOBS = 10

router = APIRouter(prefix="/admin", route_class=Page, include_in_schema=False)


@router.get("/batches")
def list_batches(request: Request, _session: Reader, own: Connected) -> HTMLResponse:
    """The newest batches."""
    found = batches.newest(own, limit=LATEST_BATCHES)
    return render(request, "batches.html", batches=found, bar=charts.shares)


@router.get("/live/batches/{batch_id:path}")
def show_part(request: Request, _session: Reader, own: Connected, batch_id: str) -> HTMLResponse:
    """What of it changes."""
    return render(request, "_batch.html", **_shown(own, batch_id))


@router.get("/batches/{batch_id:path}")
def show(request: Request, _session: Reader, own: Connected, batch_id: str) -> HTMLResponse:
    """One batch."""
    return render(request, "batch.html", **_shown(own, batch_id))


def _shown(own: Connection, batch_id: str) -> dict[str, Any]:
    found = batches.find(own, batch_id)
    if found is None:
        raise HTTPException(404, f"there is no batch {batch_id[:128]}")
    return {
        "batch": found,
        "bar": charts.shares,
        "jobs": search.newest(own, Filter(batch_id=batch_id), limit=LATEST_JOBS),
    }
