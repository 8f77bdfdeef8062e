"""Whether a payload that was written and read back is still the one that was given."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections import deque
from datetime import UTC, datetime
from typing import Any

_PLAIN = {str, int, bool, type(None)}


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
    if type(one) in _PLAIN and type(one) is type(other):
        return bool(one == other)
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
    kind: Any = type(one)
    if (members := _members_of(kind)) is None:
        return bool(one == other)
    for name in members:
        if not _is_same(getattr(one, name), getattr(other, name)):
            return False
    return _is_same(getattr(one, "model_extra", None), getattr(other, "model_extra", None))


def _is_same_time(one: datetime, other: datetime) -> bool:
    if one.tzinfo is None or other.tzinfo is None:
        return one == other
    return one.astimezone(UTC) == other.astimezone(UTC)


@functools.lru_cache(maxsize=256)
def _members_of(kind: Any) -> tuple[str, ...] | None:
    """What is compared of a dataclass or a model. None: it is neither."""
    if dataclasses.is_dataclass(kind):
        return tuple(field.name for field in dataclasses.fields(kind) if field.compare)
    # Pydantic's; its import is not for every process.
    return tuple(kind.model_fields) if hasattr(kind, "model_fields") else None
