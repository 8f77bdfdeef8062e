"""Numbers, durations and crons as people read them."""

from __future__ import annotations

import pytest

from stashjobs import wording


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 jobs"), (1, "1 job"), (2, "2 jobs"), (1_200, "1,200 jobs")]
)
def test_one_is_singular_and_every_other_number_plural(count: int, text: str) -> None:
    assert wording.plural(count, "job") == text


def test_a_plural_may_be_irregular() -> None:
    assert wording.plural(2, "retry", "retries") == "2 retries"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (950, "950"),
        (999.4, "999"),
        (999.6, "1.0 k"),
        (9_960, "10 k"),
        (48_000, "48 k"),
        (999_400, "999 k"),
        (999_600, "1.0 M"),
        (1.2e6, "1.2 M"),
        (3e9, "3.0 G"),
    ],
)
def test_a_rough_number_has_the_unit_that_fits(value: float, text: str) -> None:
    assert wording.about(value) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"),
        (-0.1, "0 ms"),
        (0.34, "340 ms"),
        (0.9994, "999 ms"),
        (0.9996, "1.0 s"),
        (1, "1.0 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.97, "1 min"),
        (200, "3 min 20 s"),
        (3_599.7, "1 h"),
        (7 * 3_600 + 12 * 60, "7 h 12 min"),
        (86_399.9, "1 d"),
        (2 * 86_400 + 4 * 3_600, "2 d 4 h"),
    ],
)
def test_a_duration_has_the_unit_that_fits(seconds: float | None, text: str) -> None:
    assert wording.duration(seconds) == text


@pytest.mark.parametrize(
    ("per_minute", "text"),
    [(0, "0"), (0.01, "< 0.1"), (0.4, "0.4"), (7.25, "7.2"), (9.96, "10"), (1_200, "1,200")],
)
def test_a_rate_is_never_none_where_it_is_not_quite_that(per_minute: float, text: str) -> None:
    assert wording.rate(per_minute) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (None, "–"),
        (0, "0 %"),
        (0.00001, "< 0.1 %"),
        (0.042, "4.2 %"),
        (0.99999, "> 99.9 %"),
        (1, "100 %"),
    ],
)
def test_a_share_is_never_0_or_100_percent_where_it_is_not_quite_that(
    share: float | None, text: str
) -> None:
    assert wording.percent(share) == text


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("* * * * *", "every minute"),
        ("*/1 * * * *", "every minute"),
        ("*/45 * * * *", "every 45th minute of every hour"),
        ("7 * * * *", "at minute 7 of every hour"),
        ("0 3 * * *", "at 03:00 every day"),
        ("30 7 * * 1-5", "at 07:30 on Monday through Friday"),
        ("0 0 1 ? *", "at 00:00 on the first day of every month"),
        ("@daily", "at 00:00 every day"),
        ("often", ""),
        ("", ""),
    ],
)
def test_a_cron_expression_is_put_into_words(expression: str, text: str) -> None:
    assert wording.cron(expression) == text
