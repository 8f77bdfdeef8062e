"""Every route under `/admin`: the pages, the files they need, and signing in and out; and `/`,
which leads there."""

from __future__ import annotations

import dataclasses
import json

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import RedirectResponse
from starlette.responses import Response

from functions.api.auth import Connected, asked, log_access
from functions.api.dashboard import (
    auth,
    batch_pages,
    job_pages,
    overview_pages,
    pages,
    schedule_pages,
    sessions,
    type_pages,
)
from functions.api.dashboard.auth import Posted, Reader, ReadersForm
from stashjobs.operators import access

PREFIX = "/admin"

front = APIRouter(route_class=pages.Page, include_in_schema=False)
own_pages = APIRouter(prefix=PREFIX, route_class=pages.Page, include_in_schema=False)
last = APIRouter(prefix=PREFIX, route_class=pages.Page, include_in_schema=False)


@front.api_route("/", methods=["GET", "HEAD"])
def to_the_dashboard() -> Response:
    """The address of the API, opened in a browser."""
    return RedirectResponse(PREFIX, 303)


@own_pages.get("/static/{name}")
def static(name: str) -> Response:
    """A style sheet, a script or a picture: the same for all users, so no one is asked who they
    are."""
    if name not in pages.static_files():
        raise HTTPException(404, "there is no such file")
    path = pages.STATIC / pages.static_files()[name]
    return Response(
        path.read_bytes(),
        media_type=pages.KINDS[path.suffix],
        headers={"Cache-Control": "public, max-age=31536000, immutable"},
    )


@own_pages.get("/sign-in")
def sign_in_form(request: Request) -> Response:
    """The form alone."""
    return pages.sign_in_page(request, after="/admin")


@own_pages.post("/sign-in")
def sign_in(request: Request, own: Connected, form: Posted) -> Response:
    """Begin a session, if the token is good and may read."""
    auth.refuse_foreign(request)
    after = _own_path(form.one("after"))
    kept = _kept(form.one("kept")) if after != "/admin" else None
    wait = sessions.seconds_to_wait(own, asked(request).source_ip)
    if wait:
        auth.log_refusal(request, "too many attempts to sign in")
        page = pages.sign_in_page(
            request, 429, f"Too many attempts. Try again in {wait} s.", after=after, kept=kept
        )
        page.headers["Retry-After"] = str(wait)
        return page
    token = form.one("token").strip()
    decision = access.authorize(own, token, "read", asked(request))
    log_access(request, decision)
    if decision.outcome != "allowed":
        return pages.sign_in_page(request, *_why_not(decision), after=after, kept=kept)
    cookie = sessions.begin(own, token)
    response: Response = RedirectResponse(after, 303)
    if kept and (session := sessions.find(own, cookie)):
        request.state.session = dataclasses.replace(session, actor=decision.actor or "")
        reason = "The session had ended, and nothing was changed. You are signed in again."
        response = pages.again_page(request, 200, reason, after, kept)
    auth.set_cookie(request, response, cookie)
    return response


@own_pages.post("/sign-out")
def sign_out(request: Request, session: ReadersForm, own: Connected) -> Response:
    """End the session."""
    sessions.end(own, session.cookie)
    response = RedirectResponse("/admin/sign-in", 303)
    auth.set_cookie(request, response, None)
    return response


@last.api_route("/{rest:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
def nothing_here(_session: Reader) -> Response:
    """404 for a signed-in user; anyone else learns nothing about which pages exist."""
    raise HTTPException(404, "there is no such page")


def _why_not(decision: access.Decision) -> tuple[int, str]:
    if decision.outcome == "limited":
        return 429, f"This token is used too often. Try again in {decision.wait} s."
    if decision.outcome == "forbidden":
        return 403, "This token does not have the scope read."
    return 401, "This token is not known, or it is revoked or expired."


def _kept(text: str) -> list[tuple[str, str]] | None:
    """The fields of a form that was posted without a session."""
    try:
        return [(str(name), str(value)) for name, value in json.loads(text)]
    except (ValueError, TypeError, RecursionError):
        return None


def _own_path(path: str) -> str:
    """Where to go after signing in: a page of the dashboard, and never another site."""
    inside = path == "/admin" or path.startswith(("/admin/", "/admin?"))
    is_plain = not any(mark in path for mark in ("\\", "\r", "\n", "//"))
    lives = path.startswith(("/admin/live/", "/admin/static/", "/admin/sign-"))
    return path if inside and is_plain and not lives else "/admin"


PARTS = (
    front,
    own_pages,
    overview_pages.router,
    job_pages.router,
    type_pages.router,
    batch_pages.router,
    schedule_pages.router,
    last,
)
router = APIRouter()
for part in PARTS:
    router.include_router(part)
