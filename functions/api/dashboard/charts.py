"""The geometry of the charts. The templates draw it as SVG: the macro `chart`.

A drawing is stretched to the width there is, so no text is in it; labels are HTML around it. What
it shows is also in a table below it, for screen readers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from functions.api.dashboard import formatting
from stashjobs import wording

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stashjobs.operators.statistics import Bucket, Durations
    from stashjobs.store.batches import BatchState

WIDTH, HEIGHT = 1_000.0, 100.0
GAP_SHARE = 0.22
TICKS = 2
LEAST_BAR = 1.5
LEAST_SPAN = 3.0
# Durations differ by powers of ten, so their axis has steps of about that, each easily named.
LADDER = (0.001, 0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3_600.0)


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
    """The bars of one hour, where it is, and what it says in words."""

    label: str
    bars: list[Bar]
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class Line:
    """The path of a line, which is interrupted where nothing is known, and that of the points that
    stand alone in it: each is drawn with a wide round stroke."""

    path: str
    points: str
    kind: str


@dataclass(frozen=True, slots=True)
class Chart:
    """Columns and lines, the labels of both axes (the highest first, each with a grid line; the
    earliest first), a height at which a threshold is, and all of it as a table."""

    columns: list[Column]
    ticks: list[str]
    hours: list[str]
    head: list[str]
    rows: list[list[str]]
    threshold: float | None = None
    lines: list[Line] = field(default_factory=list)

    @property
    def grid(self) -> list[float]:
        """The heights of the labels, but for the lowest, which is the axis."""
        steps = len(self.ticks) - 1
        return [round(HEIGHT * index / steps, 2) for index in range(steps)]


def shares(batch: BatchState) -> list[Bar]:
    """How much of a batch is done, failed or cancelled, and waiting, from left to right."""
    bars, x = [], 0.0
    for kind, jobs in (
        ("completed", batch.done),
        ("failed", batch.failed),
        ("waiting", batch.waiting),
    ):
        width = WIDTH * jobs / max(1, batch.total)
        if jobs:
            bars.append(Bar(round(x, 2), 0.0, round(width, 2), HEIGHT, kind))
        x += width
    return bars


def outcomes(buckets: Sequence[Bucket]) -> Chart:
    """What became of the jobs of each hour: stacked, the failed ones at the foot, where the eye
    compares them."""
    highest = max((one.completed + one.failed + one.cancelled for one in buckets), default=0)
    top = nice_top(highest)
    columns, rows = [], []
    for index, one in enumerate(buckets):
        parts = [("failed", one.failed), ("completed", one.completed), ("cancelled", one.cancelled)]
        numbers = [wording.number(each) for each in (one.completed, one.failed, one.cancelled)]
        label = "{}: {} completed, {} failed, {} cancelled".format(_hour(one.start), *numbers)
        columns.append(_column(label, index, len(buckets), parts, top))
        rows.append([formatting.clock(one.start), *numbers])
    ticks = [wording.about(top), wording.about(top / 2), "0"]
    head = ["Hour (UTC)", "Completed", "Failed", "Cancelled"]
    return Chart(columns, ticks, _hours(buckets), head, rows)


def failure_rates(buckets: Sequence[Bucket], threshold: float) -> Chart:
    """The share of failed jobs of each hour, and the threshold of the alert."""
    rates = [one.failure_rate or 0.0 for one in buckets]
    top = min(1.0, nice_top(max([*rates, threshold * 2]) * 100) / 100)
    columns, rows = [], []
    for index, (one, rate) in enumerate(zip(buckets, rates, strict=True)):
        kind = "failed" if rate > threshold else "mild"
        label = f"{_hour(one.start)}: {wording.percent(one.failure_rate)} failed"
        columns.append(_column(label, index, len(buckets), [(kind, rate)], top))
        ended = wording.number(one.completed + one.failed)
        rows.append([formatting.clock(one.start), wording.percent(one.failure_rate), ended])
    ticks = [f"{top * share * 100:g} %" for share in (1, 0.5, 0)]
    head = ["Hour (UTC)", "Failed", "Of so many that ended"]
    at = HEIGHT - HEIGHT * threshold / top
    return Chart(columns, ticks, _hours(buckets), head, rows, at)


def durations(hours: Sequence[Durations], timeout: float | None = None) -> Chart:
    """Median and p95 of each hour as lines; the timeout where it is within sight."""
    known = [one.p50_seconds for one in hours if one.p50_seconds is not None]
    slowest = max((one.p95_seconds for one in hours if one.p95_seconds is not None), default=1.0)
    rungs = _rungs(min(known, default=0.1), slowest)
    columns, rows = [], []
    for index, one in enumerate(hours):
        p50, p95 = wording.duration(one.p50_seconds), wording.duration(one.p95_seconds)
        told = "none completed" if one.p50_seconds is None else f"median {p50}, p95 {p95}"
        columns.append(_column(f"{_hour(one.start)}: {told}", index, len(hours), [], HEIGHT))
        rows.append([formatting.clock(one.start), p50, p95])
    lines = [
        _line("p95", [_height(one.p95_seconds, rungs) for one in hours]),
        _line("p50", [_height(one.p50_seconds, rungs) for one in hours]),
    ]
    ticks = [wording.duration(rung).replace(".0 ", " ") for rung in reversed(rungs)]
    head = ["Hour (UTC)", "Median", "p95"]
    at = _height(timeout, rungs) if timeout is not None and timeout <= rungs[-1] else None
    return Chart(columns, ticks, _hours(hours), head, rows, at, lines)


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
    whole = formatting.seconds_between(begin, end) or 1.0
    bars = []
    for one in of:
        x = formatting.seconds_between(begin, one.start) / whole * WIDTH
        width = max(LEAST_SPAN, formatting.seconds_between(one.start, one.end) / whole * WIDTH)
        x = min(x, WIDTH - width)
        bars.append(Bar(round(x, 2), 0, round(width, 2), HEIGHT, one.kind))
    return bars


def nice_top(highest: float) -> float:
    """A round number that is not below, half of which is round too."""
    if highest <= TICKS:
        return float(TICKS)
    power = 10.0 ** math.floor(math.log10(highest))
    return next(n * power for n in (1, 1.2, 1.6, 2, 3, 4, 5, 6, 8, 10) if n * power >= highest)


def _rungs(lowest: float, highest: float) -> list[float]:
    """The part of the ladder between which these are: two rungs or more."""
    last = next((at for at, rung in enumerate(LADDER) if rung >= highest), len(LADDER) - 1)
    last = max(1, last)
    first = max((at for at, rung in enumerate(LADDER[:last]) if rung <= lowest), default=0)
    return list(LADDER[first : last + 1])


def _height(seconds: float | None, rungs: Sequence[float]) -> float | None:
    """Where a duration is: in proportion to its logarithm between the two rungs around it."""
    if seconds is None:
        return None
    inside = min(max(seconds, rungs[0]), rungs[-1])
    below = max(at for at in range(len(rungs) - 1) if rungs[at] <= inside)
    part = math.log(inside / rungs[below]) / math.log(rungs[below + 1] / rungs[below])
    return round(HEIGHT - HEIGHT * (below + part) / (len(rungs) - 1), 2)


def _column(
    label: str, index: int, count: int, parts: Sequence[tuple[str, float]], top: float
) -> Column:
    pitch = WIDTH / count
    bars = _stack(index, count, parts, top)
    return Column(label, bars, round(index * pitch, 2), round(pitch, 2))


def _line(kind: str, heights: Sequence[float | None]) -> Line:
    """Through the middle of each column."""
    pitch = WIDTH / max(1, len(heights))
    steps: list[str] = []
    points: list[str] = []
    for index, height in enumerate(heights):
        if height is None:
            continue
        at = f"{(index + 0.5) * pitch:.1f} {height:g}"
        follows = index > 0 and heights[index - 1] is not None
        leads = index + 1 < len(heights) and heights[index + 1] is not None
        if follows or leads:
            steps.append(f"{'L' if follows else 'M'}{at}")
        else:
            points.append(f"M{at}h0.01")
    return Line(" ".join(steps), " ".join(points), kind)


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
    return f"{formatting.clock(start)} UTC"


def _hours(buckets: Sequence[Bucket | Durations]) -> list[str]:
    """Of every sixth hour, and of the last."""
    if not buckets:
        return []
    return [formatting.clock(buckets[index].start) for index in range(0, len(buckets), 6)]
