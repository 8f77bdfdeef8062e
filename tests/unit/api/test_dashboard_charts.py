"""The geometry of the charts."""

from __future__ import annotations

import itertools
import re
from datetime import UTC, datetime, timedelta

import pytest

from functions.api.dashboard import charts
from stashjobs.operators.statistics import Bucket, Durations

START = datetime(2026, 11, 24, tzinfo=UTC)


def hours(*values: tuple[float, float] | None) -> list[Durations]:
    """A day's hours: median and p95, or None where nothing completed."""
    return [
        Durations(START + timedelta(hours=at), *(value or (None, None)))
        for at, value in enumerate(values)
    ]


def heights(path: str) -> list[float]:
    """Of every point of a path."""
    return [float(part) for part in path.split() if part[0].isdigit()]


def test_each_tenfold_is_as_high_as_the_one_before() -> None:
    chart = charts.durations(hours((0.1, 10), (1, 10), (10, 10)))
    assert chart.ticks == ["10 s", "1 s", "100 ms"]
    assert chart.grid == [0, 50]
    assert heights(chart.lines[1].path) == [100, 50, 0]


def test_a_line_is_interrupted_where_nothing_is_known_and_a_lone_hour_is_a_point() -> None:
    line = charts.durations(hours((1, 1), (1, 1), None, (1, 1), None)).lines[0]
    assert re.fullmatch(r"M100.0 \S+ L300.0 \S+", line.path)
    assert re.fullmatch(r"M700.0 \S+h0.01", line.points), "drawn with a wide round stroke"
    first_hour = charts.durations(hours(None, None, (1, 2))).lines
    assert [one.path for one in first_hour] == ["", ""]
    assert all(one.points for one in first_hour)


def test_the_timeout_is_drawn_where_it_is_within_sight() -> None:
    slow = hours((2, 9))
    assert charts.durations(slow, timeout=10).threshold == 0
    assert charts.durations(slow, timeout=300).threshold is None


@pytest.mark.parametrize("seconds", [0.0, 0.0004, 1, 890, 50_000])
def test_every_duration_is_within_the_chart(seconds: float) -> None:
    chart = charts.durations(hours((seconds, seconds), None))
    assert len(chart.ticks) >= 2
    found = heights(chart.lines[0].points.removesuffix("h0.01"))
    assert all(0 <= height <= 100 for height in found)
    assert found


def test_a_day_without_jobs_has_charts_without_lines() -> None:
    assert [line.path for line in charts.durations(hours(None, None)).lines] == ["", ""]
    empty = charts.outcomes([Bucket(START, 0, 0, 0)])
    assert [column.bars for column in empty.columns] == [[]]


def test_every_hour_can_be_pointed_at_whatever_happened_in_it() -> None:
    columns = charts.durations(hours((1, 1), None, (2, 2), None)).columns
    assert [column.x for column in columns] == [0, 250, 500, 750]
    for one, following in itertools.pairwise(columns):
        assert one.x + one.width == following.x
    assert columns[1].label == "01:00 UTC: none completed"


def test_a_failure_rate_is_red_above_the_threshold_and_the_threshold_is_drawn_at_its_height() -> (
    None
):
    hours_of = [(95, 5), (94, 6), (100, 0), (0, 0)]  # 5 %, 6 %, none, nothing ended
    buckets = [
        Bucket(START + timedelta(hours=at), completed, failed, 0)
        for at, (completed, failed) in enumerate(hours_of)
    ]
    chart = charts.failure_rates(buckets, 0.05)
    assert [[bar.kind for bar in column.bars] for column in chart.columns] == [
        ["mild"],
        ["failed"],
        [],
        [],
    ]
    assert chart.ticks == ["10 %", "5 %", "0 %"]
    assert chart.threshold == 50
    assert [round(bar.height) for column in chart.columns for bar in column.bars] == [50, 60]
    worse = charts.failure_rates([Bucket(START, 80, 20, 0)], 0.05)
    assert worse.ticks == ["20 %", "10 %", "0 %"]
    assert worse.threshold == 75  # from the top
