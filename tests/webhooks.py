"""Webhooks as their sources make them: signed, and as API Gateway hands them over."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from typing import TYPE_CHECKING, Any

from tests.deliveries import http_event

if TYPE_CHECKING:
    from collections.abc import Mapping

STRIPE_SECRET = "whsec_stripe_0123456789abcdef"
GITHUB_SECRET = "It's a Secret to Everybody"
RESEND_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # of Svix's docs
ACME_SECRET = "acme-secret-0123456789"
ACME = {
    "secret": "ACME_WEBHOOK_SECRET",
    "header": "X-Acme-Signature",
    "timestampHeader": "X-Acme-Time",
    "event": {"path": "kind"},
    "id": {"path": "data.order"},
}
SECRETS = {
    "STRIPE_WEBHOOK_SECRET": STRIPE_SECRET,
    "GITHUB_WEBHOOK_SECRET": GITHUB_SECRET,
    "RESEND_WEBHOOK_SECRET": RESEND_SECRET,
    "ACME_WEBHOOK_SECRET": ACME_SECRET,
    "WEBHOOK_SOURCES": json.dumps({"acme": ACME}),
}
JSON = {"content-type": "application/json"}


def encode(document: object) -> bytes:
    return document if isinstance(document, bytes) else json.dumps(document).encode()


def stripe_event(event_id: str = "evt_1", **changes: Any) -> dict[str, Any]:
    return {
        "id": event_id,
        "object": "event",
        "type": "customer.created",
        "created": 1_700_000_000,
        "data": {"object": {"id": "cus_1", "object": "customer"}},
        **changes,
    }


def stripe_headers(body: bytes, secret: str = STRIPE_SECRET, *, age: float = 0) -> dict[str, str]:
    sent = int(time.time() - age)
    signature = hmac.digest(secret.encode(), b"%d." % sent + body, "sha256").hex()
    return {**JSON, "stripe-signature": f"t={sent},v1={signature}"}


def github_headers(
    body: bytes,
    secret: str = GITHUB_SECRET,
    *,
    event: str = "push",
    delivery: str | None = None,
) -> dict[str, str]:
    return {
        **JSON,
        "x-github-event": event,
        "x-github-delivery": delivery or str(uuid.uuid4()),
        "x-hub-signature-256": f"sha256={hmac.digest(secret.encode(), body, 'sha256').hex()}",
    }


def resend_headers(
    body: bytes, secret: str = RESEND_SECRET, *, message: str = "msg_1", age: float = 0
) -> dict[str, str]:
    key = base64.b64decode(secret.removeprefix("whsec_"))
    sent = int(time.time() - age)
    signature = hmac.digest(key, f"{message}.{sent}.".encode() + body, "sha256")
    return {
        **JSON,
        "svix-id": message,
        "svix-timestamp": str(sent),
        "svix-signature": f"v1,{base64.b64encode(signature).decode()}",
    }


def acme_headers(body: bytes, secret: str = ACME_SECRET, *, age: float = 0) -> dict[str, str]:
    sent = int(time.time() - age)
    signature = hmac.new(secret.encode(), b"%d." % sent + body, hashlib.sha256).hexdigest()
    return {**JSON, "x-acme-time": str(sent), "x-acme-signature": signature}


def event(
    source: str, body: bytes, headers: Mapping[str, str], *, method: str = "POST"
) -> dict[str, Any]:
    """What API Gateway makes of the request. What is no text comes in Base64."""
    made = http_event(b"", headers, path=f"/api/webhooks/{source}")
    made["headers"] = {"x-forwarded-proto": "https", **headers}
    made["requestContext"]["http"]["method"] = method
    made["pathParameters"] = {"source": source}
    try:
        made["body"] = body.decode()
    except UnicodeDecodeError:
        made |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    return made
