"""What the models of sources' events have in common."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, model_validator


class Received(BaseModel):
    """Part of an event. A member that is null counts as missing, so that its default holds:
    sources send null where their documentation has a text or an object."""

    @model_validator(mode="before")
    @classmethod
    def _without_nulls(cls, given: Any) -> Any:
        if isinstance(given, dict):
            return {name: value for name, value in given.items() if value is not None}
        return given
