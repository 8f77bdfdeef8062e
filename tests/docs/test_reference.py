"""The reference is what the docstrings and the OpenAPI document say today."""

from __future__ import annotations

import stashjobs
import stashjobs.testing
from docs.make_reference import PAGE, page


def test_the_committed_page_is_what_would_be_made() -> None:
    assert PAGE.read_text() == page(), "run `make reference`"


def test_everything_public_has_a_heading() -> None:
    headings = {line.removeprefix("#### ") for line in page().splitlines()}
    assert {*stashjobs.__all__, *stashjobs.testing.__all__} <= headings
