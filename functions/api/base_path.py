"""What a custom domain's mapping (or a stage's name) puts before every path: `/v1` in `/v1/livez`.

API Gateway has found the route without it, and tells both (AWS docs, "Create AWS Lambda proxy
integrations for HTTP APIs": `routeKey`, `rawPath`). Routes here know nothing of it; the dashboard's
links have it in front.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, MutableMapping

    from starlette.requests import Request

# The attributes that lead somewhere; what comes from data has no plain quote in it.
_LINK = re.compile(r'\b((?:href|src|action|formaction|data-live)=")/(?!/)')


def of_event(event: Any) -> str:
    """The base path of an event of API Gateway; empty where there is none.

    Args:
        event: Of payload format 2.0.
    """
    _, _, route = str(event.get("routeKey", "")).partition(" ")
    if not route.startswith("/"):
        return ""
    path = str(event.get("rawPath", ""))
    if route == "/":
        return path.rstrip("/")
    parts = (
        ".*" if part.endswith("+}") else "[^/]+" if part.startswith("{") else re.escape(part)
        for part in route.split("/")
    )
    found = re.fullmatch(f"((?:/[^/]+)*?){'/'.join(parts)}", path)
    return found[1] if found else ""


class BehindBasePath:
    """An ASGI app that is told its base path: `root_path` (ASGI, "HTTP & WebSocket ASGI Message
    Format")."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Call the app, whose routes know the path without it."""
        base = of_event(scope.get("aws.event") or {})
        if base and scope["path"].startswith(base):
            scope = {**scope, "root_path": base}
        await self._app(scope, receive, send)


def of(request: Request) -> str:
    """The base path of a request."""
    return str(request.scope.get("root_path", ""))


def path(request: Request) -> str:
    """What was asked for, without the base path: as the routes have it."""
    return request.url.path.removeprefix(of(request))


def link(request: Request, url: str) -> str:
    """A path of this app as the browser must ask for it."""
    return of(request) + url if url.startswith("/") else url


def linked(request: Request, page: str) -> str:
    """A page with all its links so."""
    base = of(request)
    return _LINK.sub(lambda found: f"{found[1]}{base}/", page) if base else page
