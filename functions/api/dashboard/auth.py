"""What stands before every page and every action: who asks, whether they may, whether it is their
own form. docs/dashboard.md, "How it is guarded"."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import parse_qs, urlsplit

from fastapi import Depends, HTTPException, Request

from functions.api import base_path
from functions.api.auth import asked, connection, log_access, refuse
from functions.api.dashboard import alerts, sessions
from functions.api.dashboard.sessions import Session
from stashjobs.observability.log import logger
from stashjobs.operators import access

if TYPE_CHECKING:
    from starlette.responses import Response

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    # Not no-referrer: with that a browser sends `Origin: null`, and the check below needs it.
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex",
}
# Without https there are no Secure cookies, and only this machine can do without.
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# A request never holds two connections: a full pool would stand still. So the guard gives its own
# back before the page borrows one, and an action, which borrows by itself, is begun with none.
borrowed = contextlib.contextmanager(connection)
MAX_FORM_BYTES = 1_000_000
MAX_FIELDS = 1_000


class SignInNeededError(Exception):
    """There is no session, its time is over, or its token is revoked."""


class FormOfAnotherSessionError(HTTPException):
    """A form of this dashboard, but not of this session: it was opened in the one before."""

    def __init__(self) -> None:
        super().__init__(403, "this form is from another session")


class Form:
    """The fields of a form that was posted."""

    def __init__(self, fields: dict[str, list[str]]) -> None:
        self._fields = fields

    def one(self, name: str, default: str = "") -> str:
        return self._fields.get(name, [default])[0]

    def all(self, name: str) -> list[str]:
        return self._fields.get(name, [])

    def items(self) -> list[tuple[str, str]]:
        return [(name, value) for name, values in self._fields.items() for value in values]


async def read_form(request: Request) -> Form:
    """The body, as a browser sends a form.

    Raises:
        HTTPException: It is something else, or too much.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    if kind != "application/x-www-form-urlencoded":
        raise HTTPException(415, "this is not a form of the dashboard")
    if len(body) > MAX_FORM_BYTES:
        raise HTTPException(413, f"a form may have up to {MAX_FORM_BYTES:,} bytes")
    try:
        fields = parse_qs(body.decode(), keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise HTTPException(422, "the form cannot be read") from error
    form = request.state.form = Form(fields)
    return form


def kept_form(request: Request) -> list[tuple[str, str]] | None:
    """What was posted, so that it can be sent again in another session; None: nothing was, or by
    another site."""
    form = getattr(request.state, "form", None)
    if form is None or not is_own(request):
        return None
    return [(name, value) for name, value in form.items() if name != "csrf"]


Posted = Annotated[Form, Depends(read_form)]


def signed_in(scope: str) -> Any:
    """A dependency: the request has a session, and its token this scope. Its value is the session.
    The access is on record, and counts for the token's rate. A page names it before `Connected`."""

    def check(request: Request) -> Session:
        return _authorized(request, scope)

    return Depends(check)


def own_form(scope: str) -> Any:
    """A dependency: `signed_in`, and the request is a form of this very session."""

    def check(request: Request, form: Posted) -> Session:
        session = _authorized(request, scope)
        refuse_foreign(request)
        if not session.is_form_ours(form.one("csrf")):
            log_refusal(request, "the form is not this session's")
            raise FormOfAnotherSessionError
        return session

    return Depends(check)


Reader = Annotated[Session, signed_in("read")]
Operator = Annotated[Session, signed_in("operate")]
OperatorsForm = Annotated[Session, own_form("operate")]
ReadersForm = Annotated[Session, own_form("read")]


def _authorized(request: Request, scope: str) -> Session:
    cookie = request.cookies.get(cookie_name(request), "")
    if not cookie:
        raise SignInNeededError
    with borrowed() as own:
        session = sessions.find(own, cookie)
        if session is None:
            raise SignInNeededError
        decision = access.authorize_hash(own, session.token_hash, scope, asked(request))
        if decision.outcome == "allowed":
            request.state.firing = alerts.firing_now(own)
    log_access(request, decision)
    if decision.outcome == "unknown":
        raise SignInNeededError
    session = dataclasses.replace(session, actor=decision.actor or "")
    request.state.session = session
    refuse(decision, scope)
    if request.method == "GET":
        in_background = base_path.path(request).startswith("/admin/live/")
        alerts.ask_for_dead_letters(in_background=in_background)
    return session


def refuse_foreign(request: Request) -> None:
    """Refuse what another site has sent: by what the browser says of where it comes from.

    Raises:
        HTTPException: It comes from elsewhere, or does not say.
    """
    if not is_own(request):
        log_refusal(request, "the form comes from another site")
        raise HTTPException(403, "this form comes from another site")


def is_own(request: Request) -> bool:
    """Whether the browser says that a page of this host has sent the request."""
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    host = request.headers.get("host", "")
    own = site in {None, "same-origin"} and origin in {
        None,
        f"https://{host}",
        *([f"http://{host}"] if is_loopback(request) else []),
    }
    return own and not (site is None and origin is None)


def is_loopback(request: Request) -> bool:
    """Whether the browser is on this machine, by the host that it asked for."""
    return urlsplit(f"//{request.headers.get('host', '')}").hostname in LOOPBACK


def cookie_name(request: Request) -> str:
    """With the prefix a browser takes the cookie only over https, for this host alone."""
    return "stashjobs" if is_loopback(request) else "__Host-stashjobs"


def set_cookie(request: Request, response: Response, value: str | None) -> None:
    """Set the session's cookie; None deletes it."""
    response.set_cookie(
        cookie_name(request),
        value or "",
        max_age=int(sessions.LIFETIME.total_seconds()) if value else 0,
        path="/",
        secure=not is_loopback(request),
        httponly=True,
        # Not strict: a link in an email would lead to "Sign in". Only a GET from elsewhere carries
        # the cookie then, and no GET changes anything.
        samesite="lax",
    )


def log_refusal(request: Request, why: str) -> None:
    """A line in the log for what was refused though the token is good."""
    logger().warning(
        "refused",
        extra={
            "reason": why,
            "path": base_path.path(request),
            "source_ip": asked(request).source_ip,
        },
    )
