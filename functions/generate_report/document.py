"""What a report says, before it is a PDF or a page: key figures, charts and tables, in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from functions.generate_report.period import Period

# Also those of the emails.
GREEN, RED, AMBER, GREY, BLUE = "#17895f", "#d2483f", "#e0a030", "#b4bfba", "#3c6fb4"


@dataclass(frozen=True)
class Figure:
    """A number that stands for itself, and a word on how it compares. `is_good` colors that word;
    None leaves it neutral."""

    label: str
    value: str
    note: str = ""
    is_good: bool | None = None


@dataclass(frozen=True)
class Series:
    """The values of one color in a chart, one for each label of its axis."""

    name: str
    color: str
    values: Sequence[float]


@dataclass(frozen=True)
class Bars:
    """Upright bars over time: the series stacked, where together they are a whole, else side by
    side."""

    labels: Sequence[str]
    series: Sequence[Series]
    value_axis: str
    label_axis: str
    stacked: bool = True


@dataclass(frozen=True)
class Ranking:
    """Level bars, the longest first, each with its value in words."""

    labels: Sequence[str]
    values: Sequence[float]
    words: Sequence[str]
    value_axis: str
    color: str = GREEN


Chart = Bars | Ranking


@dataclass(frozen=True)
class Column:
    """`share` is its part of the table's width, next to those of the others."""

    title: str
    share: float = 1.0
    align: Literal["left", "right"] = "left"


@dataclass(frozen=True)
class Table:
    """Rows of texts."""

    columns: Sequence[Column]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Section:
    """A heading and what is under it. `empty` takes the place of a chart and a table that have
    nothing to show."""

    title: str
    text: str = ""
    chart: Chart | None = None
    table: Table | None = None
    empty: str = ""


@dataclass(frozen=True)
class Report:
    """All of it. `data` is what the JSON format has."""

    title: str
    period: Period
    scope: str
    brand: str
    generated_at: datetime
    figures: Sequence[Figure]
    sections: Sequence[Section]
    data: dict[str, Any] = field(default_factory=dict)

    @property
    def period_line(self) -> str:
        """`1 – 31 May 2026 (Europe/Rome)`."""
        return f"{self.period.label} ({self.period.timezone})"

    @property
    def generated_line(self) -> str:
        """When it was made, in the time zone of its days."""
        return f"Generated {self.generated_at:%d %b %Y, %H:%M} ({self.period.timezone})"
