"""The dependency that every route has but the two that tell whether the service is up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from fastapi import Depends, HTTPException, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from stashjobs import access, database, telemetry

if TYPE_CHECKING:
    from collections.abc import Iterator

bearer = HTTPBearer(auto_error=False, description="A token made with `stashjobs tokens new`.")


def connection() -> Iterator[database.Connection]:
    """A connection of the process's pool, since endpoints run in changing threads. An endpoint asks
    for it after `needs`, so that a request never holds two: a full pool would stand still."""
    database.pool()
    with database.borrowed() as borrowed:
        yield borrowed


Connected = Annotated[database.Connection, Depends(connection)]


def needs(scope: str) -> Any:
    """A dependency: the request's token must have this scope. Its value is the token's name."""

    def check(
        request: Request,
        response: Response,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> str:
        event: dict[str, Any] = request.scope.get("aws.event") or {}
        asked = access.Request(
            method=request.method,
            path=request.url.path,
            source_ip=request.client.host if request.client else None,
            request_id=event.get("requestContext", {}).get("requestId"),
        )
        token = credentials.credentials if credentials else ""
        database.pool()
        with database.borrowed() as own:
            decision = access.authorize(own, token, scope, asked)
        telemetry.logger().info(
            "access",
            extra={
                "outcome": decision.outcome,
                "actor": decision.actor,
                "method": asked.method,
                "path": asked.path,
                "source_ip": asked.source_ip,
            },
        )
        response.headers["RateLimit-Remaining"] = str(decision.remaining)
        _refuse(decision, scope)
        return str(decision.actor)

    return Depends(check)


def _refuse(decision: access.Decision, scope: str) -> None:
    if decision.outcome == "unknown":
        raise HTTPException(
            401,
            "send a token that is known: Authorization: Bearer sj_...",
            headers={"WWW-Authenticate": "Bearer"},
        )
    if decision.outcome == "limited":
        raise HTTPException(
            429,
            "too many requests with this token in this minute",
            headers={"Retry-After": str(decision.wait)},
        )
    if decision.outcome == "forbidden":
        raise HTTPException(403, f"this token does not have the scope {scope}")
