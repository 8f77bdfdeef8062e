"""Deliveries as QStash makes them and Lambda receives them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from stashjobs.config import qstash_region

if TYPE_CHECKING:
    from collections.abc import Mapping

# How long QStash's own signatures hold, in seconds (Upstash docs, "Security", "Request Signing").
SIGNATURE_SECONDS = 300


@dataclass
class LambdaContext:
    """Lambda's context object, as far as a handler uses it. `ends_at` is when Lambda kills the
    process, in Unix seconds."""

    ends_at: float
    aws_request_id: str

    def get_remaining_time_in_millis(self) -> int:
        """What is left of Lambda's time, in milliseconds."""
        return max(0, int((self.ends_at - time.time()) * 1000))


def lambda_context(seconds: float = 60, request_id: str | None = None) -> LambdaContext:
    """A Lambda that is killed after `seconds`."""
    return LambdaContext(time.time() + seconds, request_id or str(uuid.uuid4()))


@dataclass(frozen=True)
class Answer:
    """What QStash gets to see: the status, the headers but for the content type, the JSON."""

    status: int
    headers: dict[str, str]
    document: dict[str, Any]

    @property
    def retry_after(self) -> int | None:
        """In how many seconds QStash is to come again; None: on its own schedule."""
        value = self.headers.get("Retry-After")
        return None if value is None else int(value)

    @property
    def stops_qstash(self) -> bool:
        """Whether QStash dead-letters at once: 489 does so only with its header (Upstash docs,
        "Retry", "Non-Retryable Error")."""
        return self.status == 489 and self.headers.get("Upstash-NonRetryable-Error") == "true"


# What API Gateway says for a Lambda that died (AWS docs, "Troubleshooting HTTP API Lambda
# integrations").
DIED = Answer(502, {}, {"message": "Internal Server Error"})


def read_answer(response: Mapping[str, Any]) -> Answer:
    """What a handler returned, as QStash gets to see it."""
    headers = {name: value for name, value in response["headers"].items() if name != "content-type"}
    return Answer(response["statusCode"], headers, json.loads(response["body"]))


def sign(body: bytes, url: str, *, key: str | None = None, age: float = 0) -> str:
    """The header `Upstash-Signature` for this body and this URL (`stashjobs.delivery.signature`).

    Args:
        body: Byte for byte.
        url: That is called.
        key: The signing key; `QSTASH_CURRENT_SIGNING_KEY` where it is left out.
        age: How many seconds ago it was made.

    Raises:
        SettingError: There is no signing key.
    """
    made = int(time.time() - age)
    claims = {
        "iss": "Upstash",
        "sub": url,
        "exp": made + SIGNATURE_SECONDS,
        "nbf": made,
        "iat": made,
        "jti": f"jwt_{uuid.uuid4().hex}",
        "body": base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode(),
    }
    parts = [{"alg": "HS256", "typ": "JWT"}, claims]
    signed = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
    secret = key or qstash_region.signing_keys()[0]
    return f"{signed}.{_base64url(hmac.digest(secret.encode(), signed.encode(), 'sha256'))}"


def http_event(
    url: str, body: bytes, headers: Mapping[str, str], *, by_function_url: bool = False
) -> dict[str, Any]:
    """A POST as the event that Lambda gets: payload format 2.0 (AWS docs, "Create AWS Lambda proxy
    integrations for HTTP APIs in API Gateway")."""
    parts = urlsplit(url)
    port = {} if parts.port is None else {"x-forwarded-port": str(parts.port)}
    return {
        "version": "2.0",
        "routeKey": "$default" if by_function_url else f"POST {parts.path}",
        "rawPath": parts.path,
        "rawQueryString": parts.query,
        "headers": {
            "content-type": "application/json",
            "x-forwarded-proto": parts.scheme,
            **port,
            **headers,
        },
        "requestContext": {
            "domainName": parts.hostname,
            "http": {"method": "POST", "path": parts.path},
        },
        "body": body.decode(),
        "isBase64Encoded": False,
    }


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
