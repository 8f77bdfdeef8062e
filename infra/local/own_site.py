"""What keeps the servers on this machine from websites that are open in its browser.

A website can have the browser send requests to 127.0.0.1, and by DNS rebinding even read the
answers, under a host name of the website's own. It cannot choose `Host`, `Origin` and
`Sec-Fetch-Site`, so these tell it from our own pages and from programs, which send no `Origin`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
ALL_INTERFACES = frozenset({"0.0.0.0", "::"})  # noqa: S104 - to be compared with


def objection(method: str, headers: Mapping[str, str], listening_on: str = "127.0.0.1") -> str:
    """Why a request is refused; empty where it is not.

    Args:
        method: The request's.
        headers: Whose names are found whatever their case.
        listening_on: The interface that was chosen; its name is good as `Host` too, and with all
            interfaces any is, since no name is known.
    """
    host = headers.get("Host", "")
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        name = None
    if listening_on not in ALL_INTERFACES and name not in LOOPBACK | {listening_on}:
        return "this is a server of this machine, and Host names another one"
    origin = headers.get("Origin")
    if origin is not None and origin != f"http://{host}":
        return "a page of another site may not use this server"
    site = headers.get("Sec-Fetch-Site", "none")
    if method not in {"GET", "HEAD"} and site not in {"none", "same-origin"}:
        return "a page of another site may not use this server"
    return ""


def website_guard(listening_on: str = "127.0.0.1") -> Any:
    """A middleware of aiohttp: 403 where there is an objection."""

    @web.middleware
    async def refuse(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        if reason := objection(request.method, request.headers, listening_on):
            return web.json_response({"error": reason, "message": reason}, status=403)
        return await handler(request)

    return refuse


def guarded(
    app: Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]],
) -> Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]:
    """A WSGI application that refuses likewise."""
    names = {"Host": "HTTP_HOST", "Origin": "HTTP_ORIGIN", "Sec-Fetch-Site": "HTTP_SEC_FETCH_SITE"}

    def answer(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = {name: environ[key] for name, key in names.items() if key in environ}
        if reason := objection(environ["REQUEST_METHOD"], headers):
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [reason.encode()]
        return app(environ, start_response)

    return answer
