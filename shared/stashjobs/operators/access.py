"""Who may do what: bearer tokens with scopes, their rate limits, and the record of every access.

A token is a random secret; only its hash is kept, so a reader of the database cannot use it. The
setting `ADMIN_TOKEN` is one with every scope, for the first start and for emergencies.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from stashjobs.config import settings
from stashjobs.observability import metrics, redaction
from stashjobs.operators import sql

if TYPE_CHECKING:
    from psycopg import Connection

    from stashjobs.job_type import JobType

SCOPES = ("enqueue", "read", "operate")
# `enqueue:send-email`: this type alone, and also one that `enqueue` does not cover.
_TYPE_SCOPE = re.compile(r"enqueue:[a-z][a-z0-9]*(-[a-z0-9]+)*")
ADMIN = "admin"
DEFAULT_PER_MINUTE = 600
# 32 random bytes cannot be guessed, so a plain hash needs no salt and no slowness.
TOKEN_BYTES = 32
PREFIX = "sj_"


@dataclass(frozen=True, slots=True)
class Request:
    """What the access log keeps of a request."""

    method: str
    path: str
    source_ip: str | None
    request_id: str | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What became of a request's token.

    Attributes:
        outcome: `allowed`, `unknown` (no such token, or it is revoked or expired), `forbidden`
            (the token lacks the scope) or `limited` (too many requests in this minute).
        actor: The token's name, where it is known.
        remaining: How many requests are left in this minute.
        wait: Seconds until the next minute.
        scopes: What the token has, where it is known.
    """

    outcome: str
    actor: str | None
    remaining: int
    wait: int
    scopes: Sequence[str] = ()

    def may_enqueue(self, job: JobType[Any, Any]) -> bool:
        """Whether the token may enqueue jobs of this type (`@job(enqueued_by=)`)."""
        return may_enqueue(self.scopes, job)


def may_enqueue(scopes: Collection[str], job: JobType[Any, Any]) -> bool:
    """Whether a token with these scopes may enqueue jobs of this type (`@job(enqueued_by=)`)."""
    if job.enqueued_by == "system":
        return False
    if f"enqueue:{job.type}" in scopes:
        return True
    return "enqueue" in scopes and (job.enqueued_by == "apps" or "operate" in scopes)


def authorize(
    connection: Connection[Any],
    token: str,
    scope: str,
    request: Request,
    *,
    or_of_a_type: bool = False,
) -> Decision:
    """Decide about a request, count it, and write it down. With `or_of_a_type`, a scope for one
    type (`enqueue:send-email`) will do, and the route asks `Decision.may_enqueue`."""
    return authorize_hash(connection, hash_of(token), scope, request, or_of_a_type=or_of_a_type)


def authorize_hash(
    connection: Connection[Any],
    token_hash: bytes,
    scope: str,
    request: Request,
    *,
    or_of_a_type: bool = False,
) -> Decision:
    """`authorize`, for a session, which knows only the hash of the token it began with."""
    row = connection.execute(
        sql.AUTHORIZE,
        {
            "token_hash": token_hash,
            "is_admin": is_admin(token_hash),
            "admin_per_minute": DEFAULT_PER_MINUTE,
            "scope": scope,
            "or_of_a_type": or_of_a_type,
            "method": request.method,
            "path": redaction.storable(request.path[:500]),
            "source_ip": request.source_ip,
            "request_id": request.request_id,
        },
    ).fetchone()
    return Decision(*row) if row else Decision("unknown", None, 0, 0)


def is_admin(token_hash: bytes) -> bool:
    """Whether this is the hash of `ADMIN_TOKEN`."""
    admin = settings.optional("ADMIN_TOKEN")
    return admin is not None and hmac.compare_digest(hash_of(admin), token_hash)


def hash_of(token: str) -> bytes:
    """What the database keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def count_unknown(decision: Decision) -> None:
    """Count a request whose token is not known, as the metric `UnknownTokens`."""
    if decision.outcome == "unknown":
        metrics.emit({"UnknownTokens": ("Count", 1)})


def is_scope(text: str) -> bool:
    """Whether a token can have this scope: one of `SCOPES`, or `enqueue:` and a job type."""
    return text in SCOPES or _TYPE_SCOPE.fullmatch(text) is not None


def create_token(
    connection: Connection[Any],
    name: str,
    scopes: Sequence[str],
    *,
    per_minute: int = DEFAULT_PER_MINUTE,
    expires_at: datetime | None = None,
    actor: str = "unknown",
) -> str | None:
    """Make a token and keep its hash; who did it, `actor`, is on record. Returns the token, which
    cannot be shown again; None where the name is taken."""
    token = PREFIX + secrets.token_urlsafe(TOKEN_BYTES)
    parameters = [name, hash_of(token), list(scopes), per_minute, expires_at, actor]
    made = None if name == ADMIN else connection.execute(sql.CREATE_TOKEN, parameters).fetchone()
    return token if made else None


def revoke_token(connection: Connection[Any], name: str, *, actor: str = "unknown") -> bool:
    """End a token at once; who did it is on record. False: there is none of this name, or it was
    revoked before."""
    return connection.execute(sql.REVOKE_TOKEN, [name, actor]).fetchone() is not None


@dataclass(frozen=True, slots=True)
class Token:
    """What is known of a token; never the token."""

    name: str
    scopes: list[str]
    per_minute: int
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None


def list_tokens(connection: Connection[Any]) -> list[Token]:
    """Every token there is or was, the oldest first."""
    return [Token(*row) for row in connection.execute(sql.LIST_TOKENS)]
