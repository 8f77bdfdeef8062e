"""The geometry of the charts. The templates draw it as SVG: `_charts.html`.

A drawing is stretched to the width there is, so no text is in it; labels are HTML around it. What
it shows is also a table below it, for whoever does not see it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from functions.api.dashboard import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stashjobs.statistics import Bucket

WIDTH, HEIGHT = 1_000.0, 100.0
GAP_SHARE = 0.22
TICKS = 2
LEAST_BAR = 1.5
LEAST_SPAN = 3.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A rectangle, and which kind of thing it stands for."""

    x: float
    y: float
    width: float
    height: float
    kind: str


@dataclass(frozen=True, slots=True)
class Column:
    """The bars of one hour, and what they say in words."""

    label: str
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class Chart:
    """Columns, the labels of both axes (the highest first, the earliest first), and a height at
    which a threshold is."""

    columns: list[Column]
    ticks: list[str]
    hours: list[str]
    threshold: float | None = None


def outcomes(buckets: Sequence[Bucket]) -> Chart:
    """What became of the jobs of each hour: stacked, the failed ones at the foot, where the eye
    compares them."""
    highest = max((one.completed + one.failed + one.cancelled for one in buckets), default=0)
    top = nice_top(highest)
    columns = []
    for index, one in enumerate(buckets):
        parts = [("failed", one.failed), ("completed", one.completed), ("cancelled", one.cancelled)]
        label = (
            f"{_hour(one.start)}: {words.number(one.completed)} completed, "
            f"{words.number(one.failed)} failed, {words.number(one.cancelled)} cancelled"
        )
        columns.append(Column(label, _stack(index, len(buckets), parts, top)))
    return Chart(columns, [words.about(top), words.about(top / 2), "0"], _hours(buckets))


def failure_rates(buckets: Sequence[Bucket], threshold: float) -> Chart:
    """The share of failed jobs of each hour, and the threshold of the alert."""
    rates = [one.failure_rate or 0.0 for one in buckets]
    top = min(1.0, nice_top(max([*rates, threshold * 2]) * 100) / 100)
    columns = []
    for index, (one, rate) in enumerate(zip(buckets, rates, strict=True)):
        kind = "failed" if rate > threshold else "mild"
        label = f"{_hour(one.start)}: {words.percent(one.failure_rate)} failed"
        columns.append(Column(label, _stack(index, len(buckets), [(kind, rate)], top)))
    ticks = [f"{top * share * 100:g} %" for share in (1, 0.5, 0)]
    return Chart(columns, ticks, _hours(buckets), HEIGHT - HEIGHT * threshold / top)


def sparkline(hours: Sequence[tuple[int, int]]) -> list[Bar]:
    """Jobs per hour, with the failed ones among them."""
    top = max((jobs for jobs, _ in hours), default=0) or 1
    return [
        bar
        for index, (jobs, failed) in enumerate(hours)
        for bar in _stack(index, len(hours), [("failed", failed), ("mild", jobs - failed)], top)
    ]


@dataclass(frozen=True, slots=True)
class Span:
    """Something that took time."""

    start: datetime
    end: datetime
    kind: str


def spans(of: Sequence[Span]) -> list[Bar]:
    """Spans of time side by side on one line; the shortest can still be seen."""
    if not of:
        return []
    begin, end = min(one.start for one in of), max(one.end for one in of)
    whole = words.seconds_between(begin, end) or 1.0
    bars = []
    for one in of:
        x = words.seconds_between(begin, one.start) / whole * WIDTH
        width = max(LEAST_SPAN, words.seconds_between(one.start, one.end) / whole * WIDTH)
        x = min(x, WIDTH - width)
        bars.append(Bar(round(x, 2), 0, round(width, 2), HEIGHT, one.kind))
    return bars


def nice_top(highest: float) -> float:
    """A round number that is not below, half of which is round too."""
    if highest <= TICKS:
        return float(TICKS)
    power = 10.0 ** math.floor(math.log10(highest))
    return next(n * power for n in (1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10) if n * power >= highest)


def _stack(index: int, count: int, parts: Sequence[tuple[str, float]], top: float) -> list[Bar]:
    pitch = WIDTH / count
    x, width = index * pitch + pitch * GAP_SHARE / 2, pitch * (1 - GAP_SHARE)
    bars, y = [], HEIGHT
    for kind, value in parts:
        if value > 0:
            height = min(y, max(LEAST_BAR, value / top * HEIGHT))
            y -= height
            bars.append(Bar(round(x, 2), round(y, 2), round(width, 2), round(height, 2), kind))
    return bars


def _hour(start: datetime) -> str:
    return f"{words.clock(start)} UTC"


def _hours(buckets: Sequence[Bucket]) -> list[str]:
    """Of every sixth hour, and of the last."""
    if not buckets:
        return []
    return [words.clock(buckets[index].start) for index in range(0, len(buckets), 6)]
