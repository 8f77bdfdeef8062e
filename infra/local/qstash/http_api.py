"""What the handlers share: reading requests, writing answers, refusing strangers."""

from __future__ import annotations

import hmac
import json
import logging
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from aiohttp import web

from .account import Account
from .errors import ApiError, bad_request, expect
from .options import collect

if TYPE_CHECKING:
    from .model import Headers

_STATIC_SEGMENT = re.compile(r"/([A-Za-z0-9]+)(?![^/])")
ACCOUNT = web.AppKey("account", Account)
_logger = logging.getLogger(__name__)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def reply(value: Any, status: int = 200) -> web.Response:
    """JSON as Go writes it: no spaces, no escapes beyond what JSON needs."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return web.Response(text=text, status=status, content_type="application/json")


def done(status: int = 200) -> web.Response:
    """An answer without a body."""
    return web.Response(status=status)


@web.middleware
async def refusals(request: web.Request, handler: Handler) -> web.StreamResponse:
    """ApiError and aiohttp's own errors as `{"error": ...}`."""
    try:
        return await handler(request)
    except ApiError as error:
        return reply({"error": error.message}, error.status)
    except web.HTTPException as error:
        # Undocumented; e.g. 404 for an unknown path and 405 for a wrong method.
        return reply({"error": (error.text or error.reason).strip()}, error.status)
    except Exception:
        _logger.exception("%s %s failed", request.method, request.path)
        return reply({"error": "internal server error"}, 500)


@web.middleware
async def authentication(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Docs: "Authentication": a bearer token, or the query parameter `qstash_token`."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        token = request.query.get("qstash_token", "")
    if not hmac.compare_digest(token.strip().encode(), request.app[ACCOUNT].token.encode()):
        raise ApiError(401, "unable to authenticate: invalid token")
    return await handler(request)


def query_of(request: web.Request) -> Headers:
    """Query parameters by name, repeated ones in order."""
    query: Headers = {}
    for name, value in request.query.items():
        query.setdefault(name, []).append(value)
    return query


async def json_of(request: web.Request) -> dict[str, Any]:
    """A JSON object from the body, or an empty one where there is no body."""
    content = await request.read()
    if not content.strip():
        return {}
    try:
        value = json.loads(content)
    except ValueError as error:
        raise bad_request(f"invalid request body: {error}") from error  # undocumented wording
    return expect(value, dict, "it")


def whatever_the_case(routes: web.RouteTableDef) -> list[web.RouteDef]:
    """The same routes, matched whatever the case: the Go SDK says `/v2/Schedules`."""
    return [
        web.route(
            route.method,
            _STATIC_SEGMENT.sub(_in_any_case, route.path),
            route.handler,
            **route.kwargs,
        )
        for route in routes
        if isinstance(route, web.RouteDef)
    ]


def _in_any_case(found: re.Match[str]) -> str:
    return f"/{{_{found.start()}:(?i:{found[1]})}}"


def destination_of(request: web.Request, segments: int) -> tuple[str, Headers]:
    """The destination in the path, exactly as sent, and the request's configuration.

    Args:
        segments: How many parts of the path come before it.

    Docs: "Use as Webhook Receiver": configuration may also come as lower-case query parameters,
    `?upstash-retries=3`; every other parameter belongs to the destination.
    """
    headers = collect(request.headers.items())
    # From the raw path: the destination is not decoded.
    path, _, query = request.raw_path.split("/", segments + 1)[-1].partition("?")
    if not query:
        return path, headers
    kept = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name.lower().startswith("upstash-"):
            headers[name.lower()] = [value]
        elif name != "qstash_token":
            kept.append((name, value))
    # Untouched unless something was taken out, so that its encoding stays the sender's own.
    if len(kept) != len(parse_qsl(query, keep_blank_values=True)):
        query = urlencode(kept)
    return (f"{path}?{query}" if query else path), headers
