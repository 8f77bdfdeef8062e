"""Usage: which organizations and users had jobs run, and how many."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functions.generate_report import formatting, sql
from functions.generate_report.document import (
    BLUE,
    GREEN,
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

if TYPE_CHECKING:
    from functions.generate_report.kinds.reading import Figures, Rows
    from functions.generate_report.period import Period

TITLE = "Usage report"
EMPTY = "No job was created in this period."
MOST_BARS = 10


def read(figures: Figures) -> dict[str, Any]:
    """All figures of the report, as its JSON format has them."""
    return {
        "totals": figures.row(sql.USAGE_TOTALS),
        "before": figures.before.row(sql.USAGE_TOTALS),
        "byDay": figures.rows(sql.USAGE_BY_DAY),
        "byOrganization": figures.rows(sql.USAGE_BY_ORGANIZATION),
        "byUser": figures.rows(sql.USAGE_BY_USER),
    }


def figures(data: dict[str, Any], period: Period) -> list[Figure]:
    """The numbers at the top."""
    now, before = data["totals"], data["before"]
    counted = [("Jobs", "total"), ("Organizations", "organizations"), ("Users", "users")]
    return [
        *(
            Figure(
                label,
                wording.number(now[key]),
                formatting.change(now[key], before[key], period.days),
            )
            for label, key in counted
        ),
        Figure(
            "Time at work",
            wording.duration(now["seconds"]),
            formatting.change(now["seconds"], before["seconds"], period.days),
        ),
    ]


def sections(data: dict[str, Any], period: Period) -> list[Section]:
    """What is under the numbers."""
    return [
        _by_day(data["byDay"], period),
        _largest(data["byOrganization"]),
        _by_organization(data["byOrganization"]),
        _by_user(data["byUser"]),
    ]


def _by_day(by_day: Rows, period: Period) -> Section:
    title = "Jobs by week" if period.is_by_week else "Jobs by day"
    if not by_day:
        return Section(title, empty=EMPTY)
    series = [Series("Jobs", GREEN, bar_values(period, by_day, "total"))]
    axis = bar_axis(period, "of creation")
    return Section(title, chart=Bars(bar_labels(period), series, "Jobs", axis))


def _largest(organizations: Rows) -> Section:
    title = "Largest organizations"
    if not organizations:
        return Section(title, empty="No job of this period belongs to an organization.")
    largest = organizations[:MOST_BARS]
    return Section(
        title,
        chart=Ranking(
            [row["organizationId"] for row in largest],
            [row["total"] for row in largest],
            [wording.number(row["total"]) for row in largest],
            "Jobs",
            BLUE,
        ),
    )


def _by_organization(organizations: Rows) -> Section:
    if not organizations:
        return Section("Organizations", empty="No job of this period belongs to an organization.")
    columns = [
        Column("Organization", 2.6),
        Column("Jobs", 1, "right"),
        Column("Failed", 0.9, "right"),
        Column("Users", 0.9, "right"),
        Column("Time at work", 1.3, "right"),
        Column("Last", 1.4, "right"),
    ]
    rows = [
        [
            row["organizationId"],
            wording.number(row["total"]),
            wording.number(row["failed"]),
            wording.number(row["users"]),
            wording.duration(row["seconds"]),
            formatting.moment(row["lastAt"]),
        ]
        for row in organizations
    ]
    note = "The 25 with the most jobs." if len(organizations) == 25 else ""
    return Section("Organizations", note, table=Table(columns, rows))


def _by_user(users: Rows) -> Section:
    if not users:
        return Section("Users", empty="No job of this period belongs to a user.")
    columns = [
        Column("User", 2.4),
        Column("Organization", 2),
        Column("Jobs", 1, "right"),
        Column("Failed", 0.9, "right"),
        Column("Last", 1.4, "right"),
    ]
    rows = [
        [
            row["userId"],
            row["organizationId"] or "–",
            wording.number(row["total"]),
            wording.number(row["failed"]),
            formatting.moment(row["lastAt"]),
        ]
        for row in users
    ]
    note = "The 25 with the most jobs." if len(users) == 25 else ""
    return Section("Users", note, table=Table(columns, rows))
