"""From a template and its values to a page; and which page an error is."""

from __future__ import annotations

import functools
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response

from functions.api import base_path
from functions.api.dashboard import auth, charts, flash, formatting, redaction
from stashjobs.config import settings
from stashjobs.errors import (
    NoSuchJob,
    NotPossible,
    QStashFailed,
    SettingError,
    StashjobsError,
    UnknownJobType,
)
from stashjobs.observability.log import logger
from stashjobs.observability.redaction import one_line, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from starlette.requests import Request

TEMPLATES = Path(__file__).parent / "templates"
STATIC = Path(__file__).parent / "static"
KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
HASH_CHARACTERS = 12
# How many alerts fire, beside a part of a page, whose badge is not in it.
FIRING = "Stashjobs-Firing"

TITLES = {
    403: "Not allowed",
    404: "Not found",
    409: "Not possible",
    413: "Too large",
    415: "Not a form",
    422: "Does not fit",
    429: "Too many requests",
    503: "Not possible just now",
}
# Who must act; with any other of the layer's errors it is the user who filled in the form.
STATUSES: dict[type, int] = {
    NotPossible: 409,
    NoSuchJob: 404,
    UnknownJobType: 404,
    QStashFailed: 503,
}


class Page(APIRoute):
    """A route whose answers, and whose errors, are pages, with the headers of pages."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                response = await answer(request)
            except Exception as error:  # noqa: BLE001 - an operator gets a page, whatever went wrong
                response = error_page(request, error)
            for name, value in auth.HEADERS.items():
                response.headers.setdefault(name, value)
            if "location" in response.headers:
                response.headers["location"] = base_path.link(request, response.headers["location"])
            return response

        return handle


def render(request: Request, template: str, status_code: int = 200, **values: Any) -> HTMLResponse:
    """A page, or a part of one. What the form before it did is said by a page, and once."""
    is_page = not template.startswith("_")
    firing = getattr(request.state, "firing", 0)
    text = (
        _environment()
        .get_template(template)
        .render(
            session=getattr(request.state, "session", None),
            path=base_path.path(request),
            stage=settings.stage(),
            notice=flash.read(request) if is_page else None,
            firing_alerts=firing,
            **values,
        )
    )
    response = HTMLResponse(base_path.linked(request, text), status_code)
    if is_page:
        flash.end(request, response)
    else:
        response.headers[FIRING] = str(firing)
    return response


def error_page(request: Request, error: Exception) -> Response:
    """The page for what went wrong; it tells no more than the API would."""
    if isinstance(error, auth.SignInNeededError):
        return sign_in_page(request, 401, kept=auth.kept_form(request))
    if isinstance(error, auth.FormOfAnotherSessionError):
        reason = "This form is from another session, and nothing was changed."
        action = base_path.path(request)
        return again_page(request, 403, reason, action, auth.kept_form(request) or [])
    status, reason, headers = _explained(error)
    if status >= 500:
        logger().error("dashboard", error=one_line(error))
    title = TITLES.get(status, "Something went wrong")
    page = render(request, "error.html", status, number=status, title=title, reason=reason)
    page.headers.update(headers)
    return page


def sign_in_page(
    request: Request,
    status: int = 200,
    problem: str = "",
    after: str | None = None,
    kept: list[tuple[str, str]] | None = None,
) -> HTMLResponse:
    """The form that asks for a token; afterwards it leads back to where one wanted to go.

    Args:
        request: The one that needs a session.
        status: Of the answer.
        problem: Why the token did not do.
        after: The path where one wanted to go; None: the request's own.
        kept: The fields of a form that was posted there.
    """
    if after is None:
        query = f"?{request.url.query}" if request.url.query else ""
        is_kept = request.method == "GET" or kept
        after = base_path.path(request) + query if is_kept else "/admin"
    fields = json.dumps(kept) if kept else ""
    return render(request, "sign_in.html", status, problem=problem, after=after, kept=fields)


def again_page(
    request: Request, status: int, reason: str, action: str, fields: list[tuple[str, str]]
) -> HTMLResponse:
    """A form that was posted outside its session, to be sent again or not."""
    shown: dict[str, list[str]] = {}
    for name, value in fields:
        shown.setdefault(name, []).append(value)
    return render(request, "again.html", status, reason=reason, action=action, fields=shown)


def _explained(error: Exception) -> tuple[int, str, dict[str, str]]:
    if isinstance(error, HTTPException):
        return error.status_code, str(error.detail), dict(error.headers or {})
    if isinstance(error, RequestValidationError):
        fields = sorted({str(problem["loc"][-1]) for problem in error.errors()})
        return 422, f"check {', '.join(fields)}", {}
    if isinstance(error, psycopg.errors.QueryCanceled):
        return 503, "the question took too long; narrow the filter", {"Retry-After": "5"}
    if isinstance(error, psycopg.DataError):  # such as U+0000, which no text of Postgres holds
        return 422, "a value that was given cannot be looked up", {}
    if isinstance(error, psycopg.OperationalError):
        return 503, "the database cannot be reached; try again", {"Retry-After": "5"}
    if isinstance(error, SettingError):
        return 500, "the service is not configured; its log names the missing setting", {}
    if isinstance(error, (StashjobsError, ValueError)):
        status = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), 422)
        wait = {"Retry-After": "5"} if status == 503 else {}
        return status, redact(str(error)), wait
    return 500, "the log says what it was", {}


@functools.cache
def static_files() -> dict[str, str]:
    """Every file of `static` by the name it is served under, which changes with what is in it: so a
    browser may keep it for ever."""
    return {
        f"{path.stem}.{hashlib.sha256(path.read_bytes()).hexdigest()[:HASH_CHARACTERS]}"
        f"{path.suffix}": path.name
        for path in sorted(STATIC.iterdir())
        if path.suffix in KINDS
    }


def _static(name: str) -> str:
    served = next(served for served, own in static_files().items() if own == name)
    return f"/admin/static/{served}"


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters.update(formatting.FILTERS)
    environment.filters.update(
        mask=redaction.mask,
        mask_text=redaction.mask_text,
        excerpt=redaction.excerpt,
        error_kind=redaction.error_kind,
    )
    environment.globals.update(static=_static, charts=charts)
    return environment
