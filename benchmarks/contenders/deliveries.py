"""Rows to deliver, and deliveries of them as QStash makes them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import psycopg

DOMAIN = "jobs.example.test"
PATH = "/api/jobs/measured"
JOB_TYPE = "measured"
PAYLOAD = {"to": "ada@example.com", "count": 3, "tags": ["a", "b"]}
ADD = """
INSERT INTO job_executions (job_id, job_type, payload, max_attempts, published_at)
SELECT gen_random_uuid()::text, %s, %s::jsonb, 4, now() FROM generate_series(1, %s)
RETURNING job_id
"""


def add_jobs(connection: psycopg.Connection[Any], count: int) -> list[str]:
    """Record pending jobs."""
    rows = connection.execute(ADD, [JOB_TYPE, json.dumps(PAYLOAD), count]).fetchall()
    return [job_id for (job_id,) in rows]


def signed(body: bytes, key: str, path: str = PATH) -> dict[str, str]:
    """The headers of a delivery."""
    now = int(time.time())
    claims = {
        "iss": "Upstash",
        "sub": f"https://{DOMAIN}{path}",
        "exp": now + 3600,
        "nbf": now,
        "iat": now,
        "jti": f"jwt_{uuid.uuid4().hex}",
        "body": base64.urlsafe_b64encode(hashlib.sha256(body).digest()).decode(),
    }
    parts = ({"alg": "HS256", "typ": "JWT"}, claims)
    text = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
    signature = _base64url(hmac.digest(key.encode(), text.encode(), "sha256"))
    return {
        "content-type": "application/json",
        "content-length": str(len(body)),
        "host": DOMAIN,
        "upstash-message-id": f"msg_{uuid.uuid4().hex}",
        "upstash-retried": "0",
        "upstash-signature": f"{text}.{signature}",
        "user-agent": "Upstash-QStash",
        "x-amzn-trace-id": "Root=1-69244b2d-5f1c2b0e6d3a4c5b6a7f8e9d",
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-port": "443",
        "x-forwarded-proto": "https",
    }


def event(message: Any, key: str, path: str = PATH) -> dict[str, Any]:
    """A delivery as API Gateway hands it to Lambda (payload format 2.0)."""
    body = json.dumps(message).encode()
    return {
        "version": "2.0",
        "routeKey": f"POST {path}",
        "rawPath": path,
        "rawQueryString": "",
        "headers": signed(body, key, path),
        "requestContext": {
            "accountId": "123456789012",
            "apiId": "benchmark",
            "domainName": DOMAIN,
            "http": {
                "method": "POST",
                "path": path,
                "protocol": "HTTP/1.1",
                "sourceIp": "203.0.113.7",
                "userAgent": "Upstash-QStash",
            },
            "requestId": "benchmark",
            "routeKey": f"POST {path}",
            "stage": "$default",
            "time": "24/Nov/2026:12:00:00 +0000",
            "timeEpoch": 1795521600000,
        },
        "body": body.decode(),
        "isBase64Encoded": False,
    }


class LambdaContext:
    """Lambda's context object, as far as a handler uses it."""

    aws_request_id = "3f6c0e58-5ad2-4c3f-9f0f-6f7e3c2f0b61"
    function_name = "measured"
    memory_limit_in_mb = 256
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:measured"

    def get_remaining_time_in_millis(self) -> int:
        return 30_000


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
