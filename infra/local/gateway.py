"""API Gateway and function URLs on one machine: HTTP in, Lambda events out.

Routes come from template.yaml. A function with a `FunctionUrlConfig` gets a port of its own, as in
AWS it gets a host name of its own: its paths begin at `/`.
"""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from aiohttp import web

from infra.local.http_event import (
    HttpRequest,
    HttpResponse,
    MalformedResponseError,
    Source,
    request_event,
    response_from,
)
from infra.local.lambda_runtime import InvocationResult, LambdaRuntime
from infra.local.own_site import website_guard
from infra.local.template import Route
from stashjobs.tools.servers.ports import PortTakenError

# AWS docs, "Quotas for configuring and running an HTTP API in API Gateway".
INTEGRATION_TIMEOUT = 30.0
PAYLOAD_LIMIT = 10 * 1024 * 1024


@dataclass(frozen=True)
class Delivery:
    """One request and how it ended, for the log."""

    method: str
    path: str
    status: int
    milliseconds: float
    unrouted: bool = False


@dataclass(frozen=True)
class Match:
    """The function that serves a request."""

    function: str
    route_key: str
    parameters: dict[str, str]


class Gateway:
    """One listener for all HTTP API routes, one for each function URL.

    Args:
        runtime: runs the functions of its template.
        port: of the HTTP API; 0 chooses a free one.
        function_url_ports: by function name; see `function_urls`.
        on_delivery: is told of every answered request.
    """

    def __init__(
        self,
        runtime: LambdaRuntime,
        port: int = 0,
        *,
        function_url_ports: dict[str, int] | None = None,
        on_delivery: Callable[[Delivery], None] | None = None,
        integration_timeout: float = INTEGRATION_TIMEOUT,
    ) -> None:
        self._runtime = runtime
        self._port = port
        self._function_url_ports = function_url_ports or {}
        self._on_delivery = on_delivery or (lambda delivery: None)
        self._integration_timeout = integration_timeout
        self._runners: list[web.AppRunner] = []
        self._routes = [
            (route, function.name)
            for function in runtime.template.functions.values()
            for route in function.routes
        ]
        self.url = ""
        self.function_urls: dict[str, str] = {}

    async def start(self) -> None:
        """Listen on 127.0.0.1.

        Raises:
            PortTakenError: Another program listens on one of the ports.
        """
        self.url = await self._listen(self._port, self._match_route, Source.HTTP_API)
        for function in self._runtime.template.functions.values():
            if function.has_url:
                match = Match(function.name, "$default", {})
                port = self._function_url_ports.get(function.name, 0)
                url = await self._listen(port, lambda *_, match=match: match, Source.FUNCTION_URL)
                self.function_urls[function.name] = f"{url}/"

    async def stop(self) -> None:
        """Stop listening. Functions that run are the runtime's to end."""
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))
        self._runners.clear()

    async def _listen(
        self, port: int, find: Callable[[str, str], Match | None], source: Source
    ) -> str:
        async def serve(request: web.Request) -> web.StreamResponse:
            return await self._serve(request, find, source)

        application = web.Application(client_max_size=PAYLOAD_LIMIT, middlewares=[website_guard()])
        application.router.add_route("*", "/{path:.*}", serve)
        runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        self._runners.append(runner)
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        except OSError as error:
            raise PortTakenError(port) from error
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    # --- one request

    async def _serve(
        self, request: web.Request, find: Callable[[str, str], Match | None], source: Source
    ) -> web.StreamResponse:
        started = time.perf_counter()
        target = request.raw_path
        if not target.startswith("/"):  # absolute form, as sent to a proxy (RFC 9112, 3.2.2)
            target = "/" + target.partition("://")[2].partition("/")[2]
        match = find(request.method, target.partition("?")[0])
        response = await self._respond(request, target, match, source)
        path = target.partition("?")[0]
        took = (time.perf_counter() - started) * 1000
        unrouted = match is None
        self._on_delivery(Delivery(request.method, path, response.status, took, unrouted))
        body = None if response.status in {204, 304} else response.body
        answer = web.Response(status=response.status, body=body)
        answer.headers.popall("content-type", None)
        for name, value in response.headers:
            answer.headers.add(name, value)
        return answer

    async def _respond(
        self, request: web.Request, target: str, match: Match | None, source: Source
    ) -> HttpResponse:
        if match is None:
            return _message(404, "Not Found")
        try:
            body = await request.read()
        except web.HTTPRequestEntityTooLarge:
            return _message(413, "Request Entity Too Large")
        event = request_event(
            _read(request, target, body),
            source=source,
            route_key=match.route_key,
            path_parameters=match.parameters,
        )
        # A function URL waits as long as the function may run; API Gateway does not.
        patience = self._integration_timeout if source is Source.HTTP_API else None
        try:
            async with asyncio.timeout(patience):
                result = await self._runtime.invoke(match.function, event)
        except TimeoutError:
            return _message(503, "Service Unavailable")
        return self._answer(match.function, result, source)

    def _answer(self, function: str, result: InvocationResult, source: Source) -> HttpResponse:
        if result.status == 413:
            return _message(413, "Request Entity Too Large")
        if result.status == 429:
            # AWS docs, "Handling Lambda errors with an API Gateway API": 500 where Lambda rejects
            # the invocation. A function URL: 429 where the reserved concurrency is used up.
            if source is Source.HTTP_API:
                return _message(500, "Internal Server Error")
            return _message(429, "Rate Exceeded.")
        if result.succeeded:
            try:
                return response_from(result.payload, source)
            except MalformedResponseError as error:
                self._runtime.log(function, f"malformed response: {error}")
        # The same page: 502 where the function runs and fails, or answers in the wrong format.
        return _message(502, "Internal Server Error")

    # --- finding the route

    def _match_route(self, method: str, path: str) -> Match | None:
        """The most specific one (AWS docs, "Create routes for HTTP APIs in API Gateway")."""
        found = []
        for route, function in self._routes:
            parameters = path_parameters(route, path)
            if parameters is not None and route.method in {method, "ANY"}:
                rank = (_vagueness(route), route.method == "ANY")
                found.append((rank, Match(function, route.key, parameters)))
        return min(found, key=lambda each: each[0])[1] if found else None


def path_parameters(route: Route, path: str) -> dict[str, str] | None:
    """The values of the route's `{name}` and `{name+}`, or None where the path is another."""
    if route.path == "$default":
        return {}
    wanted, given = route.path.split("/"), path.split("/")
    parameters: dict[str, str] = {}
    for index, part in enumerate(wanted):
        if part.startswith("{") and part.endswith("+}"):
            rest = "/".join(given[index:])
            return {**parameters, part[1:-2]: unquote(rest)} if rest else None
        if index >= len(given):
            return None
        if part.startswith("{") and part.endswith("}"):
            if not given[index]:
                return None
            parameters[part[1:-1]] = unquote(given[index])
        elif part != unquote(given[index]):
            return None
    return parameters if len(given) == len(wanted) else None


def _vagueness(route: Route) -> list[int]:
    """Orders routes: names before parameters before the greedy one before `$default`."""
    if route.path == "$default":
        return [3]
    return [
        2 if part.endswith("+}") else 1 if part.startswith("{") else 0
        for part in route.path.split("/")[1:]
    ]


def _read(request: web.Request, target: str, body: bytes) -> HttpRequest:
    transport = request.transport
    port = transport.get_extra_info("sockname")[1] if transport else 0
    return HttpRequest(
        method=request.method,
        target=target,
        headers=list(request.headers.items()),
        body=body,
        source_ip=request.remote or "127.0.0.1",
        port=port,
    )


def _message(status: int, text: str) -> HttpResponse:
    body = f'{{"message":"{text}"}}'.encode()
    return HttpResponse(status, [("content-type", "application/json")], body)
