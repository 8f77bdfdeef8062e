"""Days, and numbers in words."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reportlab.pdfbase.pdfmetrics import stringWidth

from functions.generate_report import charts, formatting
from functions.generate_report.handler import generate_report
from functions.generate_report.kinds.reading import bar_values
from functions.generate_report.period import Period
from stashjobs import InvalidPayload

if TYPE_CHECKING:
    from functions.generate_report.models import ReportRequest


def request(**payload: Any) -> ReportRequest:
    return generate_report.read_payload({"kind": "analytics", **payload})


def period(first: str, last: str, timezone: str = "UTC") -> Period:
    return Period(date.fromisoformat(first), date.fromisoformat(last), timezone)


def test_the_example_survives_the_journey_to_the_row() -> None:
    made = generate_report.read_payload(generate_report.example())
    assert generate_report.read_payload(generate_report.dump_payload(made)) == made


@pytest.mark.parametrize(
    ("payload", "problem"),
    [
        ({"from": "2026-02-01", "to": "2026-01-31"}, "to is before from"),
        ({"from": "2025-01-01", "to": "2026-01-02"}, "367 days apart; a report covers 366 at most"),
        ({"from": "2020-01-01"}, "days before today, the last day where there is no to; a report"),
        ({"from": "9999-12-31"}, "from: Input should be less than or equal to 2999-12-31"),
        ({"to": "9999-12-31"}, "to: Input should be less than or equal to 2999-12-31"),
        ({"to": "0001-01-01"}, "to: Input should be greater than or equal to 1970-01-01"),
        ({"from": "0001-01-01"}, "from: Input should be greater than or equal to 1970-01-01"),
        ({"timezone": "Mars/Olympus"}, "timezone: must be a time zone's name"),
        ({"timezone": "../../etc/passwd"}, "timezone: must be a time zone's name"),
        ({"kind": "gossip"}, "'analytics', 'usage' or 'billing'"),
        ({"from": "soon"}, "from: "),
        ({"linkHours": 200}, "linkHours: "),
    ],
)
def test_a_wrong_request_is_refused_in_words(payload: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidPayload) as caught:
        request(**payload)
    assert problem in str(caught.value)


@pytest.mark.parametrize("timezone", ["UTC", "Pacific/Kiritimati", "Etc/GMT+12"])
@pytest.mark.parametrize("asked", [{"to": "2999-12-31"}, {"to": "1970-01-01"}])
def test_the_days_around_any_period_are_days_too(asked: dict[str, str], timezone: str) -> None:
    made = Period.of(request(**asked, timezone=timezone))
    for each in (made, made.before):
        assert each.start.astimezone(UTC) < each.end.astimezone(UTC)


def test_days_that_are_not_said_are_counted_back_from_today() -> None:
    late = datetime(2026, 3, 31, 23, 30, tzinfo=UTC)  # in Rome the next day has begun
    assert Period.of(request(), late) == period("2026-03-02", "2026-03-31")
    rome = Period.of(request(timezone="Europe/Rome"), late)
    assert (rome.first_day, rome.last_day) == (date(2026, 3, 3), date(2026, 4, 1))
    assert Period.of(request(**{"from": "2026-03-20"}), late).days == 12
    assert Period.of(request(to="2026-02-28"), late) == period("2026-01-30", "2026-02-28")


def test_days_are_those_of_the_zone_also_when_the_clocks_change() -> None:
    day = period("2026-03-29", "2026-03-29", "Europe/Rome")
    assert day.start.astimezone(UTC) == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert day.end.astimezone(UTC) == datetime(2026, 3, 29, 22, tzinfo=UTC)


@pytest.mark.parametrize(
    ("first", "last", "label"),
    [
        ("2026-05-03", "2026-05-03", "3 May 2026"),
        ("2026-05-01", "2026-05-31", "1 – 31 May 2026"),
        ("2026-05-01", "2026-06-30", "1 May – 30 Jun 2026"),
        ("2025-12-01", "2026-01-31", "1 Dec 2025 – 31 Jan 2026"),
    ],
)
def test_a_period_in_words(first: str, last: str, label: str) -> None:
    assert period(first, last).label == label


@given(st.dates(date(2000, 1, 1), date(2100, 1, 1)), st.integers(1, 366))
def test_every_day_belongs_to_a_bar(first: date, days: int) -> None:
    last = date.fromordinal(first.toordinal() + days - 1)
    over = Period(first, last, "UTC")
    assert over.step_of(first) == 0
    assert over.step_of(last) == len(over.steps) - 1
    assert len(over.steps) <= 92
    assert over.before.days == days


def test_a_week_s_bar_is_the_sum_of_its_days() -> None:
    year = period("2025-06-01", "2026-05-31")
    days = [(date(2025, 6, 1), 2), (date(2025, 6, 2), 3), (date(2026, 5, 31), 7)]
    values = bar_values(year, [{"day": day, "total": total} for day, total in days], "total")
    assert (values[0], values[-1], sum(values)) == (5, 7, 12)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (formatting.share(1, 3), "33.3 %"),
        (formatting.share(3, 3), "100 %"),
        (formatting.share(0, 3), "0 %"),
        (formatting.share(0, 0), "–"),
        (formatting.change(112, 100, 30), "+12 % on the 30 days before"),
        (formatting.change(88, 100, 1), "−12 % on the day before"),
        (formatting.change(100, 100, 7), "as in the 7 days before"),
        (formatting.change(5, 0, 7), "none in the 7 days before"),
        (formatting.change(0, 0, 7), ""),
    ],
)
def test_a_number_in_words(said: str, expected: str) -> None:
    assert said == expected


@given(st.floats(1e-6, 1e12, allow_nan=False))
def test_an_axis_goes_a_little_beyond_its_highest_value(highest: float) -> None:
    ticks = charts.nice_ticks(highest, whole=False)
    assert ticks[0] == 0
    assert ticks[-2] < highest * (1 + 1e-6)
    assert highest <= ticks[-1] * (1 + 1e-6)
    assert 3 <= len(ticks) <= 6


def test_jobs_are_counted_in_whole_ones() -> None:
    assert charts.nice_ticks(1) == [0, 1]
    assert charts.nice_ticks(3) == [0, 1, 2, 3]
    assert charts.nice_ticks(0) == [0, 1]


def test_a_long_label_is_cut_to_its_room() -> None:
    assert charts.shortened("x" * 200, 60).endswith("x…")
    assert stringWidth(charts.shortened("x" * 200, 60), "Helvetica", 8) <= 60
