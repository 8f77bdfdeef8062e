"""What API Gateway and Function URLs hand to Lambda, and what they take back.

Both use the same shape (AWS docs, "Create AWS Lambda proxy integrations for HTTP APIs in API
Gateway", payload format version 2.0; "Invoking Lambda function URLs", request payload format).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from stashjobs.config import qstash_region, settings
from stashjobs.delivery.signature import verify
from stashjobs.errors import InvalidSignature

Event = Mapping[str, Any]
Response = dict[str, Any]


class Request(NamedTuple):
    """One HTTP request.

    Attributes:
        headers: By lower-case name.
        body: The raw bytes that were sent.
        urls: Every URL under which this request may have been called; a stage prefix and a custom
            domain's mapping can be seen or hidden in the event, so there may be two.
        by_function_url: True where a Function URL was called, False for API Gateway.
    """

    headers: dict[str, str]
    body: bytes
    urls: tuple[str, ...]
    by_function_url: bool


def is_http(event: object) -> bool:
    """True for a request from API Gateway or a Function URL, False for a direct invocation."""
    # A direct invocation may bring any JSON value.
    context = event.get("requestContext") if isinstance(event, dict) else None
    return isinstance(context, dict) and "http" in context


def read_request(event: Event) -> Request:
    """Read the request out of the event."""
    headers = {name.lower(): value for name, value in (event.get("headers") or {}).items()}
    return Request(
        headers=headers,
        body=_body(event),
        urls=_urls(event, headers),
        # A Function URL has no other route, and the template gives the API none of this name.
        by_function_url=event.get("routeKey") == "$default",
    )


def verified_request(event: Event) -> Request:
    """Read the request out of the event, and verify that QStash has signed it. Nothing is to be
    read from the body of one that has not passed here.

    Raises:
        InvalidSignature: It has no good signature.
        SettingError: A signing key is missing.
    """
    request = read_request(event)
    try:
        _verify(request)
    except InvalidSignature:
        # The keys may have been rotated since they were read. A single roll is no matter, since the
        # next key is known; but leaked keys are rolled twice, and each refusal would use up one of
        # the message's retries.
        if not settings.refresh():
            raise
        _verify(request)
    return request


def _verify(request: Request) -> None:
    verify(
        request.headers.get("upstash-signature"),
        request.body,
        keys=qstash_region.signing_keys(),
        urls=request.urls,
    )


def respond(
    status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> Response:
    """A JSON answer in payload format version 2.0."""
    return {
        "statusCode": status,
        "headers": {"content-type": "application/json", **(headers or {})},
        "body": json.dumps(document),
        "isBase64Encoded": False,
    }


def _body(event: Event) -> bytes:
    body: str = event.get("body") or ""
    if event.get("isBase64Encoded"):
        return base64.b64decode(body)
    return body.encode("utf-8", "surrogatepass")


def _urls(event: Event, headers: Mapping[str, str]) -> tuple[str, ...]:
    context = event["requestContext"]
    scheme = headers.get("x-forwarded-proto", "https")
    port = headers.get("x-forwarded-port", "")
    # In AWS the port is always 443; only a local gateway is called on another one.
    standard = port in {"", "443" if scheme == "https" else "80"}
    origin = f"{scheme}://{context.get('domainName', '')}{'' if standard else f':{port}'}"
    query = f"?{event['rawQueryString']}" if event.get("rawQueryString") else ""
    paths = dict.fromkeys([event.get("rawPath", ""), context["http"].get("path", "")])
    return tuple(f"{origin}{path}{query}" for path in paths if path)
