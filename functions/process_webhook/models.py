"""The payload of `process-webhook`.

A plain dataclass, which pydantic validates like any model of its own: the producer of a
webhook imports it without loading pydantic.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

EXAMPLE: dict[str, Any] = {
    "source": "github",
    "event": "push",
    "id": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
    "body": {
        "ref": "refs/heads/main",
        "compare": "https://github.com/octocat/hello-world/compare/6113728f27ae...76ae82b8f0a6",
        "repository": {"full_name": "octocat/hello-world"},
        "sender": {"login": "octocat"},
        "commits": [{"id": "76ae82b8f0a6ad2b6e4e0a4d9a3f3c0b1d2e3f4a", "message": "Say hello"}],
    },
}


@dataclass(frozen=True)
class Webhook:
    """One event, as its source signed it.

    Attributes:
        source: `github`, `resend`, `stripe` for its thin events, or the name of a custom source.
        event: Its type, as the source names it: `push`, `email.bounced`.
        id: The source's id of it, the same whenever it is sent again.
        body: The JSON object that was sent.
    """

    __pydantic_config__: ClassVar[dict[str, Any]] = {
        "extra": "forbid",
        "json_schema_extra": {"examples": [EXAMPLE]},
    }

    source: str
    event: str
    id: str
    body: dict[str, Any]
