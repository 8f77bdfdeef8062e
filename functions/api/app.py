"""The HTTP API: its routes, and what every answer has in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

import stashjobs
from functions.api import health, jobs, notifications
from functions.api.dashboard import routes as dashboard
from stashjobs import telemetry
from stashjobs.errors import (
    InvalidPayload,
    PayloadTooLarge,
    SettingError,
    UnknownJobType,
)
from stashjobs.job import load
from stashjobs.operations import NotPossible

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.responses import Response

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
}
# What goes wrong, and the status that says whose turn it is.
STATUSES: dict[type[Exception], int] = {
    InvalidPayload: 422,
    PayloadTooLarge: 413,
    UnknownJobType: 404,
    NotPossible: 409,
}

load()
app = FastAPI(
    title="stashjobs",
    version=stashjobs.__version__,
    summary="Enqueue jobs and see what becomes of them.",
    docs_url=None,  # they come from a CDN; the document itself is at /openapi.json
    redoc_url=None,
)
app.include_router(jobs.router)
app.include_router(notifications.router)
app.include_router(health.router)
app.include_router(dashboard.router)


@app.middleware("http")
async def _add_headers(
    request: Request, call_next: Callable[[Request], Awaitable[Response]]
) -> Response:
    response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    return response


@app.exception_handler(HTTPException)
async def _refused(_request: Request, error: HTTPException) -> JSONResponse:
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


@app.exception_handler(RequestValidationError)
async def _misfit(_request: Request, error: RequestValidationError) -> JSONResponse:
    """Field names and reasons; never the values, which may be secret."""
    reasons = [
        f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()
    ]
    return JSONResponse({"error": "the request does not fit", "reasons": reasons}, 422)


async def _known(_request: Request, error: Exception) -> JSONResponse:
    document: dict[str, Any] = {"error": telemetry.redact(str(error))}
    if isinstance(error, InvalidPayload):
        document["reasons"] = error.reasons
    return JSONResponse(document, STATUSES[type(error)])


for kind in STATUSES:
    app.add_exception_handler(kind, _known)


@app.exception_handler(ValueError)
async def _senseless(_request: Request, error: ValueError) -> JSONResponse:
    return JSONResponse({"error": telemetry.redact(str(error))}, 422)


@app.exception_handler(psycopg.DataError)
async def _unstorable(_request: Request, error: psycopg.DataError) -> JSONResponse:
    """U+0000 in a text, say, or a number that is too large."""
    return JSONResponse({"error": telemetry.one_line(error)}, 422)


@app.exception_handler(psycopg.Error)
async def _unavailable(_request: Request, error: psycopg.Error) -> JSONResponse:
    telemetry.logger().error("database", error=telemetry.one_line(error))
    return JSONResponse(
        {"error": "the database cannot be reached; try again"}, 503, headers={"Retry-After": "5"}
    )


@app.exception_handler(SettingError)
async def _misconfigured(_request: Request, error: SettingError) -> JSONResponse:
    telemetry.logger().error("misconfigured", error=str(error))
    return JSONResponse({"error": "the service is not configured; its log says what lacks"}, 500)
