"""Who is signed in. A session is a row: a random cookie, of which only the hash is kept, and the
hash of the token that it began with.

There is no signing key to set, to rotate or to lose; a session ends when its row does; and because
each request authorizes that token anew, revoking the token ends the session at once.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from functions.api.dashboard import sql
from stashjobs.operators import access

if TYPE_CHECKING:
    from stashjobs.job_type import JobType
    from stashjobs.store.database import Connection

LIFETIME = timedelta(hours=8)
COOKIE_BYTES = 32
SIGN_INS_PER_MINUTE = 10


@dataclass(frozen=True, slots=True)
class Session:
    """A session whose row is there; whether its token is still good is `access`'s to say."""

    cookie: str = field(repr=False)
    token_hash: bytes = field(repr=False)
    expires_at: datetime
    scopes: frozenset[str]
    actor: str = ""

    @property
    def can_operate(self) -> bool:
        return "operate" in self.scopes

    def may_enqueue(self, job: JobType[Any, Any]) -> bool:
        """Whether its token may enqueue jobs of this type."""
        return access.may_enqueue(self.scopes, job)

    @property
    def csrf(self) -> str:
        """What every form of this session carries: another site, which cannot read a page, does not
        know it, and it does not tell the cookie."""
        return hmac.digest(self.cookie.encode(), b"stashjobs dashboard form", "sha256").hex()

    def is_form_ours(self, csrf: str) -> bool:
        """Whether a form carries this session's token."""
        return hmac.compare_digest(self.csrf.encode(), csrf.encode("utf-8", "surrogatepass"))


def begin(connection: Connection, token: str) -> str:
    """A new session of this token, which the caller has authorized. Returns the cookie."""
    cookie = secrets.token_urlsafe(COOKIE_BYTES)
    connection.execute(sql.BEGIN_SESSION, [access.hash_of(cookie), access.hash_of(token), LIFETIME])
    return cookie


def find(connection: Connection, cookie: str) -> Session | None:
    """The session of a cookie. None: there is none, or its time is over."""
    row = connection.execute(sql.FIND_SESSION, [access.hash_of(cookie)]).fetchone()
    if row is None:
        return None
    token_hash, expires_at, scopes = bytes(row[0]), row[1], row[2]
    if access.is_admin(token_hash):
        scopes = access.SCOPES
    return Session(cookie, token_hash, expires_at, frozenset(scopes))


def end(connection: Connection, cookie: str) -> None:
    """Sign out."""
    connection.execute(sql.END_SESSION, [access.hash_of(cookie)])


def seconds_to_wait(connection: Connection, address: str | None) -> int:
    """Count an attempt to sign in. 0: go on; otherwise so many seconds until there is another."""
    row = connection.execute(sql.COUNT_SIGN_IN, {"source": _source(address)}).fetchone()
    used, wait = row or (0, 0)
    return int(wait) if used > SIGN_INS_PER_MINUTE else 0


def _source(address: str | None) -> str:
    """One client has a whole IPv6 /64, 2^64 addresses."""
    try:
        found = ipaddress.ip_address(address or "")
    except ValueError:
        return address or "unknown"
    if found.version == 6:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(found)
