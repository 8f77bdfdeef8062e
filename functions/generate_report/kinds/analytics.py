"""Analytics: how many jobs ran, how they ended, how long they took, and what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functions.generate_report import formatting, sql
from functions.generate_report.document import (
    AMBER,
    GREEN,
    GREY,
    RED,
    Bars,
    Column,
    Figure,
    Ranking,
    Section,
    Series,
    Table,
)
from functions.generate_report.kinds.reading import bar_axis, bar_labels, bar_values
from stashjobs import wording
from stashjobs.observability import redaction
from stashjobs.operators import masking

if TYPE_CHECKING:
    from functions.generate_report.kinds.reading import Figures, Rows
    from functions.generate_report.period import Period

TITLE = "Background job report"
EMPTY = "No job was created in this period."
MOST_BARS = 10
LONGEST_ERROR = 200


def read(figures: Figures) -> dict[str, Any]:
    """All figures of the report, as its JSON format has them."""
    errors = figures.rows(sql.TOP_ERRORS)
    for row in errors:
        row["error"] = redaction.shortened(masking.mask_text(row["error"]), LONGEST_ERROR)
    return {
        "totals": figures.row(sql.TOTALS),
        "before": figures.before.row(sql.TOTALS),
        "byDay": figures.rows(sql.OUTCOMES_BY_DAY),
        "byType": figures.rows(sql.OUTCOMES_BY_TYPE),
        "topErrors": errors,
    }


def figures(data: dict[str, Any], period: Period) -> list[Figure]:
    """The numbers at the top."""
    now, before = data["totals"], data["before"]
    ended, ended_before = _ended(now), _ended(before)
    rate = formatting.share(now["completed"], ended)
    rate_before = formatting.share(before["completed"], ended_before)
    return [
        Figure(
            "Jobs created",
            wording.number(now["total"]),
            formatting.change(now["total"], before["total"], period.days),
        ),
        Figure(
            "Success rate",
            rate,
            f"{rate_before} before" if ended_before else "",
            _is_better(now["completed"], ended, before["completed"], ended_before),
        ),
        Figure(
            "Failed",
            wording.number(now["failed"]),
            f"{wording.number(before['failed'])} before",
            None if now["failed"] == before["failed"] else now["failed"] < before["failed"],
        ),
        Figure(
            "Median duration",
            wording.duration(now["p50"]),
            "" if now["p95"] is None else f"95 % within {wording.duration(now['p95'])}",
        ),
    ]


def sections(data: dict[str, Any], period: Period) -> list[Section]:
    """What is under the numbers."""
    return [
        _by_day(data["byDay"], period),
        _durations(data["byType"]),
        _by_type(data["byType"]),
        _errors(data["topErrors"]),
    ]


def _ended(totals: dict[str, Any]) -> int:
    return int(totals["completed"] + totals["failed"])


def _is_better(now: int, whole: int, before: int, whole_before: int) -> bool | None:
    if not whole or not whole_before or now * whole_before == before * whole:
        return None
    return now * whole_before > before * whole


def _by_day(by_day: Rows, period: Period) -> Section:
    title = "Jobs by week" if period.is_by_week else "Jobs by day"
    if not by_day:
        return Section(title, empty=EMPTY)
    shown = [
        ("Completed", GREEN, "completed"),
        ("Failed", RED, "failed"),
        ("Cancelled", GREY, "cancelled"),
        ("Not yet ended", AMBER, "open"),
    ]
    series = [Series(name, color, bar_values(period, by_day, key)) for name, color, key in shown]
    chart = Bars(
        bar_labels(period),
        [each for each in series if any(each.values)],
        "Jobs",
        bar_axis(period, "of creation"),
    )
    return Section(title, chart=chart)


def _durations(by_type: Rows) -> Section:
    title = "Duration by type"
    timed = [row for row in by_type if row["p95"] is not None]
    if not timed:
        return Section(title, empty="No job completed in this period.")
    slowest = sorted(timed, key=lambda row: -row["p95"])[:MOST_BARS]
    return Section(
        title,
        "95 of 100 completed jobs of a type took no longer than this.",
        chart=Ranking(
            [row["jobType"] for row in slowest],
            [row["p95"] for row in slowest],
            [wording.duration(row["p95"]) for row in slowest],
            "Seconds",
        ),
    )


def _by_type(by_type: Rows) -> Section:
    if not by_type:
        return Section("Job types", empty=EMPTY)
    columns = [
        Column("Type", 2.4),
        Column("Jobs", 1, "right"),
        Column("Completed", 1.1, "right"),
        Column("Failed", 0.9, "right"),
        Column("Success rate", 1.2, "right"),
        Column("Median", 1.1, "right"),
        Column("95 % within", 1.2, "right"),
    ]
    rows = [
        [
            row["jobType"],
            wording.number(row["total"]),
            wording.number(row["completed"]),
            wording.number(row["failed"]),
            formatting.share(row["completed"], _ended(row)),
            wording.duration(row["p50"]),
            wording.duration(row["p95"]),
        ]
        for row in by_type
    ]
    note = "The success rate is of the jobs that completed or failed; the rest has not ended yet."
    return Section("Job types", note, table=Table(columns, rows))


def _errors(errors: Rows) -> Section:
    title = "Most frequent errors"
    if not errors:
        return Section(title, empty="No job failed in this period.")
    columns = [
        Column("Error", 3.8),
        Column("Job types", 2),
        Column("Jobs", 0.7, "right"),
        Column("Last", 1.4, "right"),
    ]
    rows = [
        [
            row["error"],
            ", ".join(row["jobTypes"]),
            wording.number(row["count"]),
            formatting.moment(row["lastAt"]),
        ]
        for row in errors
    ]
    return Section(title, table=Table(columns, rows))
