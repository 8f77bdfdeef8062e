from __future__ import annotations

import pytest

from infra.local.qstash.retry import default_backoff, delay_seconds


@pytest.mark.parametrize(
    ("retried", "seconds"), [(0, 12), (1, 148), (2, 1808), (3, 22026), (4, 86400), (5, 86400)]
)
def test_the_default_backoff_is_the_documented_table(retried: int, seconds: int) -> None:
    assert int(default_backoff(retried)) == seconds


@pytest.mark.parametrize("expression", ["1 / retried", "sqrt(-1)", "exp(10000)", "pow(-8, 0.5)"])
def test_what_cannot_be_computed_falls_back_to_the_backoff(expression: str) -> None:
    assert delay_seconds(0, expression, {}, 0) == default_backoff(0)


def test_a_delay_stays_within_a_day() -> None:
    assert delay_seconds(0, "1000000000", {}, 0) == 86400
    assert delay_seconds(0, "-5", {}, 0) == 0


def test_a_date_is_relative_to_now() -> None:
    header = {"retry-after": ["Thu, 01 Jan 1970 00:10:00 GMT"]}
    assert delay_seconds(0, None, header, 500) == 100
    assert delay_seconds(0, None, header, 900) == 0
