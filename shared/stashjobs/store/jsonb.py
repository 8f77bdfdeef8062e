"""Values as Postgres's `jsonb` holds them."""

from __future__ import annotations

import json
from typing import Any

# `json.dumps` would make an encoder for every value.
_encode = json.JSONEncoder(allow_nan=False).encode


def to_json(value: Any) -> Any:
    """`value` as plain JSON: models, dataclasses, dates and the like by pydantic's rules and with
    their aliases.

    Raises:
        TypeError | ValueError: It cannot be JSON (NaN, say, or an open file).
    """
    try:
        return json.loads(_encode(value))
    except TypeError:
        from pydantic_core import to_jsonable_python

        return to_jsonable_python(value, by_alias=True, inf_nan_mode="constants")
