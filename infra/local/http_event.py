"""HTTP requests as Lambda sees them, and Lambda's answers as HTTP responses.

AWS docs, "Create AWS Lambda proxy integrations for HTTP APIs in API Gateway", payload format
version 2.0, and "Invoking Lambda function URLs". Where the two differ, `source` decides.
"""

import base64
import binascii
import json
import secrets
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from urllib.parse import parse_qsl, unquote

from infra.local.lambda_runtime import new_trace_id
from infra.local.template import ACCOUNT

# Verified by others against AWS (ministackorg/ministack pull request 766): everything else arrives
# in base64, also a form and a body without a content type.
TEXT_TYPES = {"application/json", "application/javascript", "application/xml"}
# They belong to one connection (RFC 9110, 7.6.1) and end at the gateway.
HOP_BY_HOP = {"connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"}


class Source(Enum):
    """Who made the event."""

    HTTP_API = "API Gateway HTTP API"
    FUNCTION_URL = "function URL"


@dataclass(frozen=True)
class HttpRequest:
    """A request as it came over the wire.

    Attributes:
        target: path and query, undecoded.
        headers: in order, with duplicates.
    """

    method: str
    target: str
    headers: Iterable[tuple[str, str]]
    body: bytes
    source_ip: str
    port: int
    protocol: str = "HTTP/1.1"

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        return self.target.partition("?")[2]


@dataclass(frozen=True)
class HttpResponse:
    """What goes back over the wire."""

    status: int
    headers: list[tuple[str, str]] = field(default_factory=list)
    body: bytes = b""


class MalformedResponseError(ValueError):
    """The function's answer is no HTTP response."""


def request_event(
    request: HttpRequest,
    *,
    source: Source,
    route_key: str,
    path_parameters: Mapping[str, str] | None = None,
    now: datetime | None = None,
) -> dict[str, Any]:
    """The event for one request."""
    now = now or datetime.now(UTC)
    headers, cookies = _headers(request)
    # API Gateway decodes the path, a function URL does not (middleapi/standard-server pull request
    # 93, with captures from AWS); the query string stays as it is in both.
    path = unquote(request.path) if source is Source.HTTP_API else request.path
    event: dict[str, Any] = {
        "version": "2.0",
        "routeKey": route_key,
        "rawPath": path,
        "rawQueryString": request.query,
    }
    if cookies:
        event["cookies"] = cookies
    event["headers"] = headers
    if parameters := _query_parameters(request.query):
        event["queryStringParameters"] = parameters
    event["requestContext"] = {
        **_origin(source, headers.get("host", "")),
        "http": {
            "method": request.method,
            "path": path,
            "protocol": request.protocol,
            "sourceIp": request.source_ip,
            "userAgent": headers.get("user-agent", ""),
        },
        "requestId": _request_id(source),
        "routeKey": route_key,
        "stage": "$default",
        "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
        "timeEpoch": int(now.timestamp() * 1000),
    }
    if path_parameters:
        event["pathParameters"] = dict(path_parameters)
    return {**event, **_body(request.body, headers.get("content-type", ""))}


def _headers(request: HttpRequest) -> tuple[dict[str, str], list[str]]:
    """Lower-case names; duplicates joined by a comma; cookies apart from the others."""
    headers: dict[str, str] = {}
    cookies: list[str] = []
    for original, raw in request.headers:
        name = original.lower()
        value = raw.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
        if name == "cookie":
            cookies += [each.strip() for each in value.split(";") if each.strip()]
        elif name not in HOP_BY_HOP:
            headers[name] = f"{headers[name]},{value}" if name in headers else value
    if request.body:
        headers["content-length"] = str(len(request.body))
    forwarded = headers.get("x-forwarded-for")
    headers["x-forwarded-for"] = (
        f"{forwarded}, {request.source_ip}" if forwarded else request.source_ip
    )
    headers["x-forwarded-port"] = str(request.port)
    headers["x-forwarded-proto"] = "http"
    headers.setdefault("x-amzn-trace-id", new_trace_id().partition(";")[0])
    return dict(sorted(headers.items())), cookies


def _query_parameters(query: str) -> dict[str, str]:
    parameters: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        parameters[name] = f"{parameters[name]},{value}" if name in parameters else value
    return parameters


def _origin(source: Source, host: str) -> dict[str, str]:
    domain = host.rpartition(":")[0] if ":" in host.rpartition("]")[2] else host
    prefix = domain.partition(".")[0]
    account, api = (
        (ACCOUNT, "local") if source is Source.HTTP_API else ("anonymous", prefix or "local")
    )
    return {"accountId": account, "apiId": api, "domainName": domain, "domainPrefix": prefix}


def _request_id(source: Source) -> str:
    if source is Source.FUNCTION_URL:
        return str(uuid.uuid4())
    return base64.b64encode(secrets.token_bytes(11)).decode()


def _body(body: bytes, content_type: str) -> dict[str, Any]:
    if not body:
        return {"isBase64Encoded": False}
    media_type = content_type.partition(";")[0].strip().lower()
    if media_type in TEXT_TYPES or media_type.startswith("text/"):
        try:
            return {"body": body.decode(), "isBase64Encoded": False}
        except UnicodeDecodeError:
            pass  # the bytes must survive: a signature may cover them
    return {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}


def response_from(answer: Any, source: Source) -> HttpResponse:
    """Format 2.0: an answer without a `statusCode` is itself the body of a 200.

    Raises:
        MalformedResponseError: `statusCode`, `headers`, `cookies` or `body` is not what it must be.
    """
    if not isinstance(answer, dict) or "statusCode" not in answer:
        text = answer if isinstance(answer, str) else json.dumps(answer)
        return HttpResponse(200, [("content-type", "application/json")], text.encode())
    headers = _response_headers(answer, source)
    return HttpResponse(_status(answer["statusCode"]), headers, _response_body(answer))


def _status(value: Any) -> int:
    try:
        status = int(value)
    except (TypeError, ValueError):
        raise MalformedResponseError(f"statusCode is {value!r}") from None
    if not 200 <= status <= 599:
        raise MalformedResponseError(f"statusCode is {status}")
    return status


def _response_headers(answer: dict[str, Any], source: Source) -> list[tuple[str, str]]:
    given, cookies = answer.get("headers") or {}, answer.get("cookies") or []
    if not isinstance(given, dict) or not isinstance(cookies, list):
        raise MalformedResponseError("headers must be an object, cookies an array")
    headers = []
    for name, value in given.items():
        if isinstance(value, dict | list):
            raise MalformedResponseError(f"the header {name} is not a string")
        text = str(value).lower() if isinstance(value, bool) else str(value)
        if "\n" in name + text or "\r" in name + text:
            raise MalformedResponseError(f"the header {name} has a line break")
        if value is not None and name.lower() not in HOP_BY_HOP | {"content-length"}:
            headers.append((name.lower(), text))
    if all(name != "content-type" for name, _ in headers):
        plain = "text/plain;charset=UTF-8" if source is Source.HTTP_API else "application/json"
        headers.append(("content-type", plain))
    return headers + [("set-cookie", str(cookie)) for cookie in cookies]


def _response_body(answer: dict[str, Any]) -> bytes:
    body = answer.get("body")
    if body is None:
        return b""
    if not isinstance(body, str):
        raise MalformedResponseError("body is not a string")
    if not answer.get("isBase64Encoded"):
        return body.encode("utf-8", "replace")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error:
        raise MalformedResponseError("body is not base64") from None
