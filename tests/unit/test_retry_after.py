"""`Retry-After`: a number or a date, within bounds, or nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from stashjobs.retry_after import retry_after


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("12", 12), ("0.5", 0.5), ("-3", 0), ("999999999", 3600), ("inf", None), ("nan", None)],
)
def test_seconds_are_bounded(value: str, seconds: float | None) -> None:
    assert retry_after({"RETRY-AFTER": value}, longest=3600) == seconds


@pytest.mark.parametrize("zone", ["GMT", "-0000"])
def test_it_may_be_a_date(zone: str) -> None:
    then = format_datetime(datetime.now(UTC) + timedelta(hours=2))
    seconds = retry_after({"Retry-After": then.replace("+0000", zone)}, longest=10_000)
    assert seconds is not None
    assert 7_000 <= seconds <= 7_200


@pytest.mark.parametrize("headers", [None, {}, {"Retry-After": ""}, {"Retry-After": "soon"}])
def test_what_is_no_time_counts_as_none(headers: dict[str, str] | None) -> None:
    assert retry_after(headers, longest=3600) is None
