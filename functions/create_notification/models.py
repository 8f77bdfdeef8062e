"""What a notification says, and whom it is for."""

from __future__ import annotations

import re
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

MAX_USERS = 10_000

# A browser takes a backslash for a slash, and leaves out tabs and line breaks, so `/\evil.example`
# and `java\nscript:` are other links than they look (WHATWG URL Standard, "basic URL parser").
_NEVER_IN_A_LINK = re.compile(r"[\x00-\x20\x7f-\x9f\\<>\"]")


def _link(value: str) -> str:
    if _NEVER_IN_A_LINK.search(value):
        raise PydanticCustomError("link", "must not contain spaces, backslashes or quotes")
    if value.startswith("/") and not value.startswith("//"):
        return value
    try:
        parts = urlsplit(value)
        host = parts.hostname if parts.port is None or parts.port else None
    except ValueError:
        host = None
    else:
        host = host if parts.scheme in {"http", "https"} and parts.username is None else None
    if not host:
        raise PydanticCustomError(
            "link", "must be a path of the app (/billing) or an absolute http or https link"
        )
    return value


UserId = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=255)]
Link = Annotated[str, StringConstraints(min_length=1, max_length=2048), AfterValidator(_link)]
Priority = Literal["low", "normal", "high", "urgent"]


class Notification(BaseModel):
    """One notification, for `userId`, for each of `userIds`, or for both.

    `type` is the app's own word, to choose an icon by: `payment-failed`. After `expiresAt` the
    notification is not shown any more.
    """

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "userIds": ["u_1", "u_2"],
                    "type": "release",
                    "title": "Exports are here",
                    "message": "Download all your data as CSV, XLSX or JSON Lines.",
                    "link": "/settings/export",
                    "priority": "normal",
                }
            ]
        },
    )

    user_id: UserId | None = None
    user_ids: Annotated[list[UserId], Field(max_length=MAX_USERS)] = []
    type: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:-]{0,63}$")]
    title: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    message: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000)]
    link: Link | None = None
    priority: Priority = "normal"
    expires_at: AwareDatetime | None = None

    @model_validator(mode="after")
    def _is_for_somebody(self) -> Notification:
        if not self.recipients:
            raise PydanticCustomError("recipients", "give userId, or userIds with at least one")
        return self

    @property
    def recipients(self) -> list[str]:
        """All recipients, each once."""
        alone = [] if self.user_id is None else [self.user_id]
        return list(dict.fromkeys([*alone, *self.user_ids]))


class Notified(BaseModel):
    """What came of it. `created` is less than `recipients` where an earlier run had told some."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    recipients: int
    created: int
