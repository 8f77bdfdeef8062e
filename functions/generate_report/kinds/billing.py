"""Billing: which subscriptions there are, what they bring in a month, and which came and went."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from functions.generate_report import formatting, sql
from functions.generate_report.document import (
    BLUE,
    GREEN,
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
from functions.send_email.formatting import money
from stashjobs import wording

if TYPE_CHECKING:
    from functions.generate_report.kinds.reading import Figures, Rows
    from functions.generate_report.period import Period

TITLE = "Billing report"
EMPTY = "There was no paying subscription at the end of this period."
MOST_BARS = 8


def read(figures: Figures) -> dict[str, Any]:
    """All figures of the report, as its JSON format has them. Amounts are in the currency's
    smallest unit."""
    return {
        "revenue": figures.rows(sql.REVENUE),
        "before": figures.before.rows(sql.REVENUE),
        "byPlan": figures.rows(sql.SUBSCRIPTIONS_BY_PLAN),
        "byStatus": figures.rows(sql.SUBSCRIPTIONS_BY_STATUS),
        "byDay": figures.rows(sql.STARTED_AND_ENDED_BY_DAY),
    }


def figures(data: dict[str, Any], period: Period) -> list[Figure]:
    """The numbers at the top: revenue in the currency that brings the most."""
    started = sum(row["started"] for row in data["byDay"])
    ended = sum(row["ended"] for row in data["byDay"])
    paying = sum(row["subscriptions"] for row in data["revenue"])
    paying_before = sum(row["subscriptions"] for row in data["before"])
    return [
        _revenue(data["revenue"], data["before"], period),
        Figure(
            "Paying subscriptions",
            wording.number(paying),
            formatting.change(paying, paying_before, period.days),
        ),
        Figure("Started", wording.number(started), "in this period"),
        Figure("Ended", wording.number(ended), "in this period"),
    ]


def sections(data: dict[str, Any], period: Period) -> list[Section]:
    """What is under the numbers."""
    return [
        _comings_and_goings(data["byDay"], period),
        *_revenue_by_plan(data["byPlan"]),
        _plans(data["byPlan"]),
        _statuses(data["byStatus"]),
    ]


def _revenue(revenue: Rows, before: Rows, period: Period) -> Figure:
    label = "Monthly revenue (estimate)"
    if not revenue:
        return Figure(label, "–")
    first, *others = revenue
    same = [row["mrr"] for row in before if row["currency"] == first["currency"]]
    note = formatting.change(first["mrr"], sum(same), period.days)
    if others:
        note = "and " + ", ".join(money(row["mrr"], row["currency"]) for row in others)
    return Figure(label, money(first["mrr"], first["currency"]), note)


def _comings_and_goings(by_day: Rows, period: Period) -> Section:
    title = "Started and ended"
    if not by_day:
        return Section(title, empty="No subscription started or ended in this period.")
    series = [
        Series("Started", GREEN, bar_values(period, by_day, "started")),
        Series("Ended", RED, bar_values(period, by_day, "ended")),
    ]
    axis = bar_axis(period, "of the change")
    chart = Bars(bar_labels(period), series, "Subscriptions", axis, stacked=False)
    return Section(title, chart=chart)


def _revenue_by_plan(plans: Rows) -> list[Section]:
    """One chart for the currency that brings the most; amounts of two currencies do not compare."""
    if not plans or not plans[0]["mrr"]:
        return []
    currency = plans[0]["currency"]
    largest = [row for row in plans if row["currency"] == currency and row["mrr"]][:MOST_BARS]
    return [
        Section(
            f"Monthly revenue by plan ({currency})",
            chart=Ranking(
                [row["plan"] for row in largest],
                [row["mrr"] for row in largest],
                [money(row["mrr"], currency) for row in largest],
                "",
                BLUE,
            ),
        )
    ]


def _plans(plans: Rows) -> Section:
    if not plans:
        return Section("Plans", empty=EMPTY)
    columns = [
        Column("Plan", 3),
        Column("Subscriptions", 1.2, "right"),
        Column("Seats", 0.9, "right"),
        Column("A month", 1.4, "right"),
    ]
    rows = [
        [
            row["plan"],
            wording.number(row["subscriptions"]),
            wording.number(row["seats"]),
            money(row["mrr"], row["currency"]) if row["currency"] else "–",
        ]
        for row in plans
    ]
    note = (
        "At the end of the period, with the prices of today: a year's price counts as a twelfth, "
        "discounts and taxes are left out. Where a price is metered or in tiers, only the invoice "
        "tells, and the subscription counts as nothing."
    )
    return Section("Plans", note, table=Table(columns, rows))


def _statuses(statuses: Rows) -> Section:
    if not statuses:
        return Section("Statuses", empty="There was no subscription at the end of this period.")
    total = sum(row["subscriptions"] for row in statuses)
    columns = [
        Column("Status", 3),
        Column("Subscriptions", 1.2, "right"),
        Column("Share", 0.9, "right"),
    ]
    rows = [
        [
            row["status"].replace("_", " "),
            wording.number(row["subscriptions"]),
            formatting.share(row["subscriptions"], total),
        ]
        for row in statuses
    ]
    return Section("Statuses", table=Table(columns, rows))
