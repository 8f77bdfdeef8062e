"""The types of an enqueue's options."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from stashjobs.producer.options import EnqueueOptions, Options


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("user_id", 1.5),
        ("user_id", True),
        ("organization_id", b"o_1"),
        ("delay", "60"),
        ("delay", True),
        ("at", "2030-01-01T00:00:00Z"),
        ("idempotency_key", ("a", 1)),
        ("retries", 1.0),
        ("retries", True),
        ("headers", [("a", "b")]),
        ("headers", {"a": 1}),
        ("callback", 1),
        ("failure_callback", b"https://a.example"),
        ("metadata", "text"),
        ("encrypted", "yes"),
        ("priority", 1),
    ],
)
def test_a_wrong_type_is_a_type_error_that_names_the_option(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=name):
        Options.of({name: value})


def test_ids_are_kept_as_text() -> None:
    options = Options.of({"user_id": 7, "organization_id": UUID(int=1), "idempotency_key": 0})
    assert options.user_id == "7"
    assert options.organization_id == "00000000-0000-0000-0000-000000000001"
    assert options.idempotency_key == "0"


def test_none_is_as_if_left_out() -> None:
    nothing: EnqueueOptions = dict.fromkeys(EnqueueOptions.__annotations__)  # type: ignore[assignment]
    assert Options.of(nothing) == Options()
