"""What an export is asked for, and what it says when the file is there."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.alias_generators import to_camel
from pydantic_core import PydanticCustomError

from functions.export_data.entities import ENTITIES, Entity
from functions.send_email.models import Addresses

Format = Literal["csv", "xlsx", "jsonl"]

# S3 signs a link for seven days at most (stashjobs.files).
LinkHours = Annotated[int, Field(ge=1, le=7 * 24)]

Texts = Annotated[list[str], Field(min_length=1, max_length=1_000)]
FILTER_KINDS: dict[str, TypeAdapter[Any]] = {
    "texts": TypeAdapter(Texts),
    "time": TypeAdapter(AwareDatetime),
}


class _Wire(BaseModel):
    """camelCase on the wire, snake_case in Python, nothing unknown in either."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Export(_Wire):
    """Which rows, which of their columns, in which format, and who is told.

    Entities, columns and filters are those of `functions/export_data/entities.py`. A filter is a
    text or a list of texts, one of which must be equal; or, where its name says so, a time.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "entity": "executions",
                    "format": "csv",
                    "filters": {"jobType": ["send-email"], "createdFrom": "2026-01-01T00:00:00Z"},
                    "columns": ["jobId", "jobType", "status", "createdAt", "error"],
                    "email": "ada@example.com",
                    "linkHours": 24,
                }
            ]
        }
    )

    entity: str
    format: Format = "csv"
    columns: list[str] = []
    filters: dict[str, Any] = {}
    email: Addresses = []
    link_hours: LinkHours = 24

    @field_validator("entity")
    @classmethod
    def _entity_is_known(cls, name: str) -> str:
        _known(name, ENTITIES, "entity")
        return name

    @field_validator("columns")
    @classmethod
    def _columns_are_named_once(cls, names: list[str]) -> list[str]:
        for position, name in enumerate(names):
            if name in names[:position]:
                raise PydanticCustomError("twice", "{name} is given twice", {"name": repr(name)})
        return names

    @model_validator(mode="after")
    def _fits_its_entity(self) -> Export:
        entity = ENTITIES[self.entity]
        for name in self.columns:
            _known(name, entity.columns, f"column of {self.entity}")
        for name, value in self.filters.items():
            _known(name, entity.filters, f"filter of {self.entity}")
            self.filters[name] = _filter_value(name, value, entity)
        return self

    @property
    def chosen_columns(self) -> list[str]:
        """Those that were asked for, else the entity's usual ones."""
        columns = ENTITIES[self.entity].columns
        return self.columns or [name for name, column in columns.items() if column.usual]


class Exported(_Wire):
    """The file. `download_url` works without a login until `expires_at`."""

    entity: str
    format: Format
    rows: int
    bytes: int
    key: str
    download_url: str
    expires_at: AwareDatetime
    emailed: bool


def _known(name: str, names: Any, what: str) -> None:
    if name not in names:
        raise PydanticCustomError(
            "unknown_name",
            "{name} is no {what}; there are: {known}",
            {"name": repr(name), "what": what, "known": ", ".join(names)},
        )


def _filter_value(name: str, value: Any, entity: Entity) -> Any:
    kind = entity.filters[name].kind
    given = [value] if kind == "texts" and isinstance(value, str) else value
    try:
        return FILTER_KINDS[kind].validate_python(given)
    except ValidationError as error:
        raise PydanticCustomError(
            "filter_value",
            "filters.{name}: {problem}",
            {"name": name, "problem": error.errors()[0]["msg"]},
        ) from None
