"""What a report is asked for, and what the job says when it is made."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Literal
from zoneinfo import ZoneInfo

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

from functions.send_email.models import Addresses

MAX_DAYS = 366
# So that the days before and after any period are dates too, in every time zone.
EARLIEST_DAY = date(1970, 1, 1)
LATEST_DAY = date(2999, 12, 31)

Kind = Literal["analytics", "usage", "billing"]
Format = Literal["pdf", "html", "json"]

# S3 signs a link for seven days at most (stashjobs.files).
LinkHours = Annotated[int, Field(ge=1, le=7 * 24)]


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise PydanticCustomError(
            "timezone", "must be a time zone's name, such as Europe/Rome"
        ) from None
    return name


Day = Annotated[date, Field(ge=EARLIEST_DAY, le=LATEST_DAY)]


class _Wire(BaseModel):
    """camelCase on the wire, snake_case in Python, nothing unknown in either."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class ReportRequest(_Wire):
    """Which report, over which days, in which format, and who is told.

    Days are whole days of `timezone`, the first and the last included. Without `to` the last is
    today; without `from` there are 30.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "kind": "analytics",
                    "format": "pdf",
                    "timezone": "Europe/Rome",
                    "email": "ada@example.com",
                    "linkHours": 72,
                }
            ]
        }
    )

    kind: Kind
    format: Format = "pdf"
    first_day: Annotated[Day | None, Field(alias="from")] = None
    last_day: Annotated[Day | None, Field(alias="to")] = None
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"
    organization_id: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None
    email: Addresses = []
    link_hours: LinkHours = 24

    @model_validator(mode="after")
    def _is_a_period(self) -> ReportRequest:
        if self.first_day is None:
            return self
        last_day = self.last_day
        if last_day is None:
            today = datetime.now(ZoneInfo(self.timezone)).date()
            last_day = max(today, self.first_day)
        days = (last_day - self.first_day).days + 1
        if days < 1:
            raise PydanticCustomError("period", "to is before from")
        if days > MAX_DAYS:
            raise PydanticCustomError(
                "period",
                "from and to are {days} days apart; a report covers {most} at most"
                if self.last_day is not None
                else "from is {days} days before today, the last day where there is no to; "
                "a report covers {most} at most",
                {"days": days, "most": MAX_DAYS},
            )
        return self


class GeneratedReport(_Wire):
    """The file. `download_url` works without a login until `expires_at`."""

    kind: Kind
    format: Format
    first_day: Annotated[date, Field(alias="from")]
    last_day: Annotated[date, Field(alias="to")]
    bytes: int
    key: str
    download_url: str
    expires_at: AwareDatetime
    emailed: bool
