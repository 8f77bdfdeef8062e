"""What Resend refuses, in its own words: https://resend.com/docs/api-reference/errors."""

from __future__ import annotations

import re
from typing import Any

from infra.local.mailbox.store import Mail, event_for, new_id, now

_ADDRESS = re.compile(r"[^\s@<>\",;:]+@[^\s@<>\",;:]+\.[^\s@<>\",;:]+")
_NAMED = re.compile(r"[^<>\r\n]*<(?P<address>[^<>]+)>")
_TAG = re.compile(r"[A-Za-z0-9_-]{1,256}")
_FORMAT = (
    "The email address needs to follow the `email@example.com` or "
    "`Name <email@example.com>` format."
)
NAMES = {
    400: "validation_error",
    401: "missing_api_key",
    403: "invalid_api_key",
    404: "not_found",
    405: "method_not_allowed",
    409: "concurrent_idempotent_requests",
    422: "validation_error",
    429: "rate_limit_exceeded",
}


class RefusedError(Exception):
    """An answer other than 2xx."""

    def __init__(
        self,
        status: int,
        message: str,
        name: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.name = name or NAMES.get(status, "application_error")
        self.headers = headers or {}

    def body(self) -> dict[str, Any]:
        return {"statusCode": self.status, "name": self.name, "message": self.message}


def checked_key(key: str | None) -> str | None:
    if key is not None and not 1 <= len(key) <= 256:
        raise RefusedError(400, "The key must be between 1-256 chars.", "invalid_idempotency_key")
    return key


def mail_from(body: Any) -> Mail:
    """The email of one request body, or `RefusedError`."""
    if not isinstance(body, dict):
        raise RefusedError(422, "The request body must be a JSON object.")
    for required in ("from", "to", "subject"):
        if not body.get(required):
            raise RefusedError(422, f"Missing `{required}` field.", "missing_required_field")
    if not body.get("html") and not body.get("text"):
        raise RefusedError(422, "Missing `html` or `text` field.", "missing_required_field")
    if not isinstance(body["from"], str) or not _is_address(body["from"]):
        raise RefusedError(422, f"Invalid `from` field. {_FORMAT}")
    to = _addresses(body, "to")
    if len(to) > 50:
        raise RefusedError(422, "The `to` field has more than 50 addresses.")
    cc, bcc = _addresses(body, "cc"), _addresses(body, "bcc")
    return Mail(
        id=new_id(),
        created_at=now(),
        sender=body["from"],
        to=to,
        subject=_text(body, "subject") or "",
        html=_text(body, "html"),
        text=_text(body, "text"),
        cc=cc,
        bcc=bcc,
        reply_to=_addresses(body, "reply_to"),
        tags=_tags(body.get("tags") or []),
        headers={str(name): str(value) for name, value in (body.get("headers") or {}).items()},
        attachments=[str(each.get("filename")) for each in body.get("attachments") or []],
        scheduled_at=_text(body, "scheduled_at"),
        last_event="scheduled" if body.get("scheduled_at") else event_for([*to, *cc, *bcc]),
    )


def _is_address(value: str) -> bool:
    named = _NAMED.fullmatch(value)
    return bool(_ADDRESS.fullmatch(named["address"].strip() if named else value.strip()))


def _addresses(body: dict[str, Any], name: str) -> list[str]:
    given = body.get(name) or []
    given = [given] if isinstance(given, str) else given
    if not isinstance(given, list) or not all(
        isinstance(each, str) and _is_address(each) for each in given
    ):
        raise RefusedError(422, f"Invalid `{name}` field. {_FORMAT}")
    return given


def _text(body: dict[str, Any], name: str) -> str | None:
    value = body.get(name)
    if value is not None and not isinstance(value, str):
        raise RefusedError(422, f"The `{name}` field must be a string.")
    return value


def _tags(tags: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for tag in tags if isinstance(tags, list) else [tags]:
        name, value = (tag.get("name"), tag.get("value")) if isinstance(tag, dict) else (None, None)
        if not all(isinstance(each, str) and _TAG.fullmatch(each) for each in (name, value)):
            raise RefusedError(
                422, "Tags should only contain ASCII letters, numbers, underscores, or dashes."
            )
        found[str(name)] = str(value)
    return found
