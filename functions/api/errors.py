"""What every answer has in common: its headers, and what a refusal looks like."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import psycopg
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.routing import Match

from stashjobs.errors import (
    InvalidPayload,
    NoSuchJob,
    NoSuchSchedule,
    NotPossible,
    NotSynced,
    PayloadTooLarge,
    QStashFailed,
    SettingError,
    UnknownJobType,
)
from stashjobs.observability import redaction
from stashjobs.observability.log import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from fastapi import FastAPI, Request
    from starlette.responses import Response

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=()",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
RETRY_SECONDS = "5"
METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
# What goes wrong, and the status that says whose turn it is.
STATUSES: dict[type[Exception], int] = {
    InvalidPayload: 422,
    PayloadTooLarge: 413,
    UnknownJobType: 404,
    NoSuchJob: 404,
    NotPossible: 409,
    NoSuchSchedule: 404,
    NotSynced: 409,
    QStashFailed: 503,
}


class Refusal(BaseModel):
    """Why a request was refused. It has changed nothing."""

    error: str
    reasons: list[str] = []


EXAMPLES: dict[int, tuple[str, dict[str, Any]]] = {
    401: (
        "No token, or one that is not known, is revoked or has expired.",
        {"error": "send a token that is known: Authorization: Bearer sj_..."},
    ),
    403: (
        "The token does not have the scope.",
        {"error": "this token does not have the scope operate"},
    ),
    404: ("There is no such thing.", {"error": "there is no job 0190f1c2"}),
    409: (
        "Not possible in the state that things are in.",
        {
            "error": "job 0190f1c2 is completed and cannot be cancelled: "
            "only one that waits or runs can be"
        },
    ),
    413: (
        "The payload is too large.",
        {"error": "the payload is 1000003 bytes, the limit is 1000000 bytes."},
    ),
    415: ("The body is not JSON by its Content-Type.", {"error": "send application/json"}),
    422: (
        "The request makes no sense. `reasons` names each field, and never its value.",
        {
            "error": "the request does not fit",
            "reasons": ["query.stauts: there is no such parameter; there are status, type"],
        },
    ),
    429: (
        "Too many requests with this token in this minute.",
        {"error": "too many requests with this token in this minute"},
    ),
    503: (
        "Postgres or QStash cannot be reached.",
        {"error": "the database cannot be reached; try again"},
    ),
}
_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds to wait.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    }
}
_ANSWER_HEADERS: dict[int, dict[str, Any]] = {
    401: {
        "WWW-Authenticate": {
            "description": "How to say who asks.",
            "required": True,
            "schema": {"type": "string"},
        }
    },
    429: _RETRY_AFTER,
    503: _RETRY_AFTER,
}
WITH_TOKEN = (401, 403, 422, 429, 503)


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The part of the OpenAPI document that describes these statuses."""
    return {
        status: {
            "description": EXAMPLES[status][0],
            "model": Refusal,
            "content": {"application/json": {"example": EXAMPLES[status][1]}},
            **({"headers": _ANSWER_HEADERS[status]} if status in _ANSWER_HEADERS else {}),
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Give every answer of an app its headers, and every error its document."""
    app.middleware("http")(_add_headers)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(RequestValidationError, _misfit)
    for kind in STATUSES:
        app.add_exception_handler(kind, _known)
    app.add_exception_handler(psycopg.Error, _unavailable)
    app.add_exception_handler(psycopg.errors.QueryCanceled, _too_broad)
    app.add_exception_handler(psycopg.DataError, _unstorable)
    app.add_exception_handler(SettingError, _misconfigured)
    app.add_exception_handler(Exception, _broken)


async def _add_headers(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    remaining = getattr(request.state, "remaining", None)
    if remaining is not None:
        response.headers["RateLimit-Remaining"] = str(remaining)
    return response


def _answer(
    status: int,
    error: str,
    reasons: list[str] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    document: dict[str, Any] = {"error": redaction.storable(redaction.redact(error))}
    if reasons:
        document["reasons"] = [redaction.storable(reason) for reason in reasons]
    given = dict(headers or {})
    if status == 503:
        given.setdefault("Retry-After", RETRY_SECONDS)
    return JSONResponse(document, status, headers=given)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_methods_of(request))
    return _answer(error.status_code, str(error.detail), headers=headers)


def _methods_of(request: Request) -> list[str]:
    """The methods that this path has; Starlette tells only those of its first route."""
    app: FastAPI = request.app
    # An id may have slashes: `/jobs/{id}` fits `/jobs/{id}/retry` too. The longest is meant.
    path = request.scope["path"]
    paths = app.openapi()["paths"]
    fitting = [each for each in paths if re.fullmatch(re.sub(r"{[^}]*}", ".+", each), path)]
    # What is not in the document, as the pages and HEAD, is asked of the routes themselves.
    named = {method.upper() for method in paths[max(fitting, key=len)]} if fitting else {*METHODS}
    return [
        method
        for method in METHODS
        if (method in named or method == "HEAD")
        and any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in app.routes
        )
    ]


async def _misfit(_request: Request, error: Exception) -> JSONResponse:
    """Field names and reasons; never the values, which may be secret."""
    assert isinstance(error, RequestValidationError)  # noqa: S101
    reasons = [f"{_place(problem)}: {problem['msg']}" for problem in error.errors()]
    return _answer(422, "the request does not fit", reasons)


def _place(problem: Mapping[str, Any]) -> str:
    """The field as the caller wrote it: without the name of the model that was chosen for a body
    (`OneOrMany`), and without the number of the character where JSON broke off."""
    where, *rest = problem["loc"]
    if problem["type"] == "json_invalid":
        rest = []
    elif where == "body" and len(rest) > 1 and rest[0] in {"one", "many"}:
        rest = rest[1:]
    return ".".join(map(str, [where, *rest]))


async def _known(_request: Request, error: Exception) -> JSONResponse:
    status = next(STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES)
    return _answer(status, str(error), getattr(error, "reasons", None))


async def _unstorable(_request: Request, error: Exception) -> JSONResponse:
    """U+0000 in a text, say, or a number that is too large."""
    first_line = str(error).partition("\n")[0]
    return _answer(422, f"a value that was given cannot be kept or looked up: {first_line}")


async def _too_broad(_request: Request, error: Exception) -> JSONResponse:
    logger().warning("too broad", error=redaction.one_line(error))
    return _answer(
        422,
        "the search took too long; narrow it with createdAfter, createdBefore, userId or "
        "organizationId",
    )


async def _unavailable(_request: Request, error: Exception) -> JSONResponse:
    logger().error("database", error=redaction.one_line(error))
    return _answer(503, "the database cannot be reached; try again")


async def _misconfigured(_request: Request, error: Exception) -> JSONResponse:
    logger().error("misconfigured", error=str(error))
    return _answer(500, "the service is not configured; its log names the missing setting")


async def _broken(_request: Request, error: Exception) -> JSONResponse:
    """Starlette answers this outside of every middleware, so the headers are added here."""
    described = redaction.describe_error(error)
    logger().error("broken", error=redaction.one_line(error), traceback=described["traceback"])
    return _answer(500, "something went wrong; the log says what it was", headers=HEADERS)


def misfit(where: str, name: str, reason: str) -> RequestValidationError:
    """The error for a part of a request that only the route can judge."""
    return RequestValidationError([{"loc": (where, name), "msg": reason, "type": "value_error"}])
