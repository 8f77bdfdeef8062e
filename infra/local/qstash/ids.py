"""Identifiers and secrets in the shapes QStash gives them."""

from __future__ import annotations

import base64
import json
import secrets

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"


def _base58(length: int) -> str:
    return "".join(secrets.choice(_BASE58) for _ in range(length))


def message_id() -> str:
    """Such as `msg_26hZCxZCuWyyTWPmSVBrNB882AxJ7SxLcKsTTmHHMGYANkBPdCoQd1hbCX1Frye`."""
    return f"msg_{_base58(60)}"


def schedule_id() -> str:
    """Such as `scd_5fReHbL6qb62rXBVNGJjQXF2wcnQ`."""
    return f"scd_{_base58(28)}"


def jwt_id() -> str:
    """Such as `jwt_67kxXD6UBAk7DqU6hzuHMDdXFXfP` (Security, "The Upstash-Signature header")."""
    return f"jwt_{_base58(28)}"


def signing_key() -> str:
    """Such as `sig_7kYjw48mhY7kAjqNGcy6cr29RJ6r`."""
    return f"sig_{_base58(28)}"


def token() -> str:
    """Base64 of `{"UserID": ..., "Password": ...}`, as the official development server prints."""
    user = {"UserID": "local", "Password": secrets.token_hex(16)}
    return base64.b64encode(json.dumps(user, separators=(",", ":")).encode()).decode()
