"""Payloads of any type that a model may have arrive as they were given, as values or as JSON."""

from __future__ import annotations

import enum
import json
import types
from dataclasses import make_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, PrivateAttr, TypeAdapter, create_model
from typing_extensions import TypedDict

from stashjobs import InvalidPayload
from stashjobs.job_type import JobType
from stashjobs.sameness import is_same
from stashjobs.store import jsonb
from tests.examples import examples

ROME = ZoneInfo("Europe/Rome")


class Colour(enum.Enum):
    RED = "red"
    BLUE = 2


zones = st.sampled_from([UTC, timezone(timedelta(hours=-9, minutes=-30)), ROME, None])
# The hours around both changes of the clock, and any other.
spans = [("1970-01-02", "2100-01-01"), ("2026-10-25T01", "2026-10-25T04")]
spans.append(("2026-03-29T01", "2026-03-29T04"))
moments = st.one_of(*(st.datetimes(*map(datetime.fromisoformat, span)) for span in spans))


@st.composite
def datetimes(draw: st.DrawFn) -> datetime:
    moment: datetime = draw(moments)
    return moment.replace(tzinfo=draw(zones), fold=draw(st.integers(0, 1)))


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
Typed = tuple[Any, st.SearchStrategy[Any]]
LEAVES: list[Typed] = [
    (int, st.integers(-(10**30), 10**30)),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bool, st.booleans()),
    (str, texts),
    (type(None), st.none()),
    (date, st.dates(date(1, 1, 1))),
    (datetime, datetimes()),
    (time, st.times()),
    (timedelta, st.timedeltas(timedelta(days=-99_999), timedelta(days=99_999))),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False, places=3)),
    (UUID, st.uuids()),
    (Colour, st.sampled_from(Colour)),
    (bytes, texts.map(str.encode)),
]
KEYS: list[Typed] = [
    (str, texts),
    (int, st.integers(-(10**18), 10**18)),
    (UUID, st.uuids()),
    (date, st.dates(date(1, 1, 1))),
]
names = st.lists(
    st.sampled_from(["a", "b", "createdAt", "x1"]), min_size=1, max_size=3, unique=True
)


@st.composite
def grown(draw: st.DrawFn, inner: st.SearchStrategy[Any]) -> Any:
    """A type around other types."""
    kind = draw(st.sampled_from(["list", "dict", "tuple", "optional", "model", "data", "typed"]))
    if kind in {"model", "data", "typed"}:
        fields = {name: draw(inner) for name in draw(names)}
        members = {name: each for name, (each, _) in fields.items()}
        values = {name: strategy for name, (_, strategy) in fields.items()}
        made = _with_fields(kind, members)
        if kind == "typed":
            return made, st.fixed_dictionaries(values)
        return made, st.builds(made, **values)
    each, strategy = draw(inner)
    if kind == "list":
        return types.GenericAlias(list, (each,)), st.lists(strategy, max_size=3)
    if kind == "tuple":
        return types.GenericAlias(tuple, (each, int)), st.tuples(strategy, st.integers(0, 9))
    if kind == "optional":
        return each | None, st.none() | strategy
    key, keys = draw(st.sampled_from(KEYS))
    return types.GenericAlias(dict, (key, each)), st.dictionaries(keys, strategy, max_size=3)


def _with_fields(kind: str, members: dict[str, Any]) -> Any:
    if kind == "model":

        class Base(BaseModel):
            model_config = ConfigDict(arbitrary_types_allowed=True)
            _made: UUID = PrivateAttr(default_factory=lambda: UUID(int=len(members)))

        fields: dict[str, Any] = {name: (each, ...) for name, each in members.items()}
        return create_model("Model", __base__=Base, **fields)
    if kind == "data":
        return make_dataclass("Data", list(members.items()))
    return TypedDict("Typed", members)  # type: ignore[operator]


typed = st.recursive(st.sampled_from(LEAVES), grown, max_leaves=4)


def job_of(payload_type: Any) -> JobType[Any, Any]:
    def function(payload: Any, context: Any) -> None:
        """Never run."""

    made: JobType[Any, Any] = JobType(
        function,
        type="typed",
        endpoint="/x",
        retries=0,
        timeout=1,
        retry_delay=None,
        rate=None,
        parallelism=None,
    )
    made.__dict__["payload_type"] = payload_type
    return made


@settings(deadline=None, max_examples=examples(40))
@given(st.data())
def test_what_is_given_as_a_value_or_as_json_arrives_as_it_was(data: st.DataObject) -> None:
    payload_type, values = data.draw(typed)
    value = data.draw(values)
    job = job_of(payload_type)
    plain = TypeAdapter(payload_type)
    if not is_same(plain.validate_json(plain.dump_json(value)), value):
        # A union's JSON may be read as its other member.
        with pytest.raises(InvalidPayload, match="not the same"):
            job.dump_payload(value)
        return
    document = job.dump_payload(value)
    assert is_same(job.read_payload(json.loads(jsonb.text_of(document))), value)
    # A producer that has only JSON: another language, HTTP, SQL.
    assert is_same(job.read_payload(job.dump_payload(document)), value)


@pytest.mark.parametrize("number", [1e16, -1e16, 1.5e300, 123456789012345678.0, 5e-324, 0.1])
def test_a_float_is_written_so_that_jsonb_keeps_it_a_float(number: float) -> None:
    text = jsonb.text_of({"a": number, 'e+" e+1': "1e+16"})
    assert json.loads(text) == {"a": number, 'e+" e+1': "1e+16"}
    assert isinstance(json.loads(text)["a"], float)
    assert "e+" not in text.partition(",")[0]
