"""Values as Postgres's `jsonb` holds them."""

from __future__ import annotations

import json
import math
import re
from typing import Any, NamedTuple

from psycopg.types.json import Jsonb

# `json.dumps` would make an encoder for every value.
_encode = json.JSONEncoder(allow_nan=False).encode
_TEXT_OR_LARGE_FLOAT = re.compile(r'"(?:[^"\\]|\\.)*"|-?[0-9.]+e\+[0-9]+')


class Unreadable(NamedTuple):
    """A document that Postgres holds and Python cannot read, and why."""

    reason: str


def parameter(document: Any) -> Jsonb:
    """Plain JSON as a statement's parameter, however an app has psycopg write JSON elsewhere."""
    return Jsonb(document, text_of)


def text_of(document: Any) -> str:
    """Plain JSON as text. A large float is written out: of `1e+16` `jsonb` makes an integer, which
    would be read as one."""
    text = _encode(document)
    return _TEXT_OR_LARGE_FLOAT.sub(_written_out, text) if "e+" in text else text


def _written_out(found: re.Match[str]) -> str:
    return found[0] if found[0].startswith('"') else f"{float(found[0]):.1f}"


def read(text: str) -> Any:
    """The document of a column that was selected as text, however an app has psycopg read JSON
    elsewhere; or `Unreadable`. SQL may write numbers of 5,000 digits and 2,000 levels."""
    try:
        return _decode(text)
    except ValueError as error:
        return Unreadable(str(error))
    except RecursionError:
        return Unreadable("it is nested too deeply")


def to_shown(value: Any) -> Any:
    """`value` as JSON for a person to read: as `to_json`, but never refused for what is in it. NaN
    stays, and what is no JSON is its text.

    Raises:
        ValueError | RecursionError: It has no end.
    """
    try:
        return to_json(value)
    except (TypeError, ValueError):
        from pydantic_core import to_jsonable_python

        return to_jsonable_python(
            value, by_alias=True, inf_nan_mode="constants", serialize_unknown=True
        )


def _finite(text: str) -> float:
    if math.isinf(number := float(text)):
        raise ValueError(f"a number of {len(text)} characters is too large")
    return number


_decode = json.JSONDecoder(parse_float=_finite).decode


def to_json(value: Any, *, round_trip: bool = False) -> Any:
    """`value` as plain JSON: models, dataclasses, dates and the like by pydantic's rules and with
    their aliases; with `round_trip` as a model reads it, so without its computed fields.

    Raises:
        TypeError | ValueError: It cannot be JSON (NaN, say, or an open file).
    """
    try:
        return json.loads(_encode(value))
    except TypeError:
        return _to_jsonable(value, round_trip)


def to_text(value: Any, *, round_trip: bool = False) -> str:
    """The text of `to_json`.

    Raises:
        TypeError | ValueError: As `to_json`.
    """
    try:
        return _encode(value)
    except TypeError:
        return json.dumps(_to_jsonable(value, round_trip))


def _to_jsonable(value: Any, round_trip: bool) -> Any:
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(value, by_alias=True, inf_nan_mode="constants", round_trip=round_trip)
