"""What stands before every route: who asks, whether they may, and whether the route has what they
ask for. In this order, so that a refused caller learns nothing, and every access is on record,
whatever its body is."""

from __future__ import annotations

import typing
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, Request, Security, params
from fastapi.concurrency import run_in_threadpool
from fastapi.routing import APIRoute
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException

from functions.api import base_path
from functions.api.errors import misfit
from stashjobs.observability.log import logger
from stashjobs.operators import access
from stashjobs.store import database

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from starlette.responses import Response

bearer = HTTPBearer(
    auto_error=False,
    scheme_name="token",
    description="A token made with `stashjobs tokens new`, with the scope that the route names: "
    "enqueue, read or operate.",
)


def connection() -> Iterator[database.Connection]:
    """A connection of the process's pool, since endpoints run in changing threads. An endpoint asks
    for it after `needs`, so that a request never holds two: a full pool would stand still."""
    database.pool()
    with database.borrowed() as borrowed:
        yield borrowed


Connected = Annotated[database.Connection, Depends(connection)]


def needs(scope: str) -> Any:
    """A dependency: the request's token must have this scope. Its value is the token's name."""
    return Security(_actor, scopes=[scope])


def needs_enqueue() -> Any:
    """A dependency: the request's token may enqueue something; what, its value tells
    (`Decision.may_enqueue`)."""
    return Security(_decision, scopes=["enqueue"])


def _actor(
    request: Request, _given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> str:
    return str(request.state.actor)


def _decision(
    request: Request, _given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> access.Decision:
    decision: access.Decision = request.state.decision
    return decision


class Guarded(APIRoute):
    """A route that asks for a token before it reads anything, and refuses a query parameter that it
    does not know or that is given twice, instead of ignoring it."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        answer = super().get_route_handler()
        scope, of_a_type = _scope_of(self.endpoint)
        known = sorted(field.alias for field in self.dependant.query_params)
        reads_json = self.body_field is not None

        async def handle(request: Request) -> Response:
            if scope is not None:
                given = await bearer(request)
                await run_in_threadpool(_authorize, request, given, scope, of_a_type)
            _refuse_unknown_parameters(request, known)
            if reads_json:
                await _refuse_other_than_json(request)
            try:
                return await answer(request)
            except HTTPException as error:
                if error.status_code == 400:  # bytes that are no text, or too deep to be read
                    raise misfit("body", "json", "cannot be read as JSON") from error
                raise

        return handle


def _scope_of(endpoint: Callable[..., Any]) -> tuple[str | None, bool]:
    """The scope that a route needs, and whether one that names a job type will do."""
    for hint in typing.get_type_hints(endpoint, include_extras=True).values():
        for mark in getattr(hint, "__metadata__", ()):
            if isinstance(mark, params.Security) and mark.dependency in {_actor, _decision}:
                return next(iter(mark.scopes or [])), mark.dependency is _decision
    return None, False


def _authorize(
    request: Request,
    credentials: HTTPAuthorizationCredentials | None,
    scope: str,
    of_a_type: bool,
) -> None:
    token = credentials.credentials if credentials else ""
    database.pool()
    with database.borrowed() as own:
        decision = access.authorize(own, token, scope, asked(request), or_of_a_type=of_a_type)
    log_access(request, decision)
    request.state.actor = decision.actor
    request.state.decision = decision
    if decision.actor is not None:
        request.state.remaining = decision.remaining
    if decision.outcome == "unknown":
        raise HTTPException(
            401,
            "send a token that is known: Authorization: Bearer sj_...",
            headers={"WWW-Authenticate": "Bearer"},
        )
    refuse(decision, scope)


def asked(request: Request) -> access.Request:
    """What the access log keeps of this request."""
    event: dict[str, Any] = request.scope.get("aws.event") or {}
    return access.Request(
        method=request.method,
        path=base_path.path(request),
        source_ip=request.client.host if request.client else None,
        request_id=event.get("requestContext", {}).get("requestId"),
    )


def log_access(request: Request, decision: access.Decision) -> None:
    """A line in the log, and a count where nobody is known; the row is there already."""
    access.count_unknown(decision)
    of = asked(request)
    logger().info(
        "access",
        extra={
            "outcome": decision.outcome,
            "actor": decision.actor,
            "method": of.method,
            "path": of.path,
            "source_ip": of.source_ip,
        },
    )


def refuse(decision: access.Decision, scope: str) -> None:
    """Return if a token that is known may do what it asks for.

    Raises:
        HTTPException: 429: it has asked too often in this minute. 403: it lacks the scope.
    """
    if decision.outcome == "limited":
        raise HTTPException(
            429,
            "too many requests with this token in this minute",
            headers={"Retry-After": str(decision.wait)},
        )
    if decision.outcome == "forbidden":
        raise HTTPException(403, f"this token does not have the scope {scope}")


def _refuse_unknown_parameters(request: Request, known: list[str]) -> None:
    there_are = f"there are {', '.join(known)}" if known else "this route takes none"
    for name, times in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in known:
            raise misfit("query", name[:100], f"there is no such parameter; {there_are}")
        if times > 1:
            raise misfit("query", name, "is given twice")


async def _refuse_other_than_json(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = kind == "application/json" or (
        kind.startswith("application/") and kind.endswith("+json")
    )
    if not is_json and await request.body():
        raise HTTPException(415, "send JSON, and the header Content-Type: application/json")
