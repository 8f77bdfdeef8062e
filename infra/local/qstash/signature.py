"""`Upstash-Signature`: a JWT over the destination and the body (docs: "Security", "Claims")."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from . import ids

LIFETIME_SECONDS = 300


@dataclass
class SigningKeys:
    """The two keys of an account (docs: "Roll Your Signing Keys")."""

    current: str
    next: str

    def rotate(self) -> None:
        """`currentKey = nextKey; nextKey = generateNewKey()`."""
        self.current, self.next = self.next, ids.signing_key()


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _with_path(url: str) -> str:
    """A URL that is a host alone is called at `/`, and signed so."""
    parts = urlsplit(url)
    return url if parts.path else urlunsplit(parts._replace(path="/"))


def sign(key: str, url: str, body: bytes) -> str:
    """The JWT for one delivery attempt.

    `nbf` is 0 (Changelog, September 2024), so that a receiver's slow clock refuses nothing; the
    documented example is older. The `body` claim keeps its padding, as in that example; the parts
    of the JWT itself have none, as RFC 7515 wants.
    """
    now = int(time.time())
    claims = {
        "iss": "Upstash",
        "sub": _with_path(url),
        "exp": now + LIFETIME_SECONDS,
        "nbf": 0,
        "iat": now,
        "jti": ids.jwt_id(),
        "body": base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode(),
    }
    header = _encode(b'{"alg":"HS256","typ":"JWT"}')
    payload = _encode(json.dumps(claims, separators=(",", ":")).encode())
    mac = hmac.new(key.encode(), f"{header}.{payload}".encode(), hashlib.sha256).digest()
    return f"{header}.{payload}.{_encode(mac)}"
