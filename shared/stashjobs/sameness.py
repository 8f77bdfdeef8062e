"""Whether a payload that was written and read back is still the one that was given."""

from __future__ import annotations

import dataclasses
import math
from collections import deque
from datetime import UTC, datetime
from typing import Any


def is_same(one: Any, other: Any) -> bool:
    """Whether two values have the same types and members all the way down.

    Unlike `==`, times are compared as instants, since a time in an hour that a clock has twice, or
    not at all, is equal to no time of another zone (PEP 495); and what is private to a model or not
    compared by a dataclass does not count. Never raises: what cannot be compared is not the same.
    """
    try:
        return _is_same(one, other)
    except Exception:  # noqa: BLE001 - the values' own methods
        return False


def _is_same(one: Any, other: Any) -> bool:
    if isinstance(one, datetime) and isinstance(other, datetime):
        return _is_same_time(one, other)
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    if type(one) is not type(other):
        return bool(one == other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_same(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple, deque)):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if dataclasses.is_dataclass(one):
        compared = [field.name for field in dataclasses.fields(one) if field.compare]
        return all(_is_same(getattr(one, name), getattr(other, name)) for name in compared)
    if hasattr(type(one), "model_fields"):  # pydantic's; its import is not for every process
        return _is_same(_members(one), _members(other))
    return bool(one == other)


def _is_same_time(one: datetime, other: datetime) -> bool:
    if one.tzinfo is None or other.tzinfo is None:
        return one == other
    return one.astimezone(UTC) == other.astimezone(UTC)


def _members(model: Any) -> dict[str, Any]:
    fields = {name: getattr(model, name) for name in type(model).model_fields}
    return fields | (model.model_extra or {})
