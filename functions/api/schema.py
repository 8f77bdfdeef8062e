"""JSON as it goes over the wire: what all documents of the API have in common."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

MAX_TEXT = 1_000
# A JSON number is only exact up to here (RFC 8259, 6), and no sequence gets this far.
BIGGEST_ID = 2**53 - 1
_NO_NUL = r"^[^\x00]*$"  # no text of Postgres holds one
_MOMENT = re.compile(
    r"\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})", re.ASCII
)


def _moment(value: Any) -> Any:
    """Only what JSON Schema calls a date-time; pydantic would also take a number for one."""
    if not isinstance(value, str) or not _MOMENT.fullmatch(value):
        raise PydanticCustomError(
            "moment", "must be a date and time with a time zone, as 2030-01-31T09:00:00Z"
        )
    return value


def _number(value: Any) -> Any:
    """Only a JSON number; pydantic would also take a text or a truth value for one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("number", "must be a number")
    return value


Text = Annotated[str, StringConstraints(max_length=MAX_TEXT, pattern=_NO_NUL)]
Given = Annotated[str, StringConstraints(min_length=1, max_length=MAX_TEXT, pattern=_NO_NUL)]
Moment = Annotated[AwareDatetime, BeforeValidator(_moment)]
# Comes last in an annotation: before it, the document would not tell of a minimum.
JSON_NUMBER = BeforeValidator(_number)


class Wire(BaseModel):
    """JSON with names in camelCase; a member that is not known is refused, not ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Nothing(Wire):
    """For a route that needs no more than its path: no body, or an empty object."""


def example(document: Any) -> ConfigDict:
    """The configuration of a `Wire` with an example in its schema."""
    return ConfigDict(json_schema_extra={"examples": [document]})
