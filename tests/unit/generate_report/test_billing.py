"""The numbers at the top of the billing report, and what they are compared with."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from functions.generate_report.kinds import billing
from functions.generate_report.period import Period

JUNE = Period(date(2026, 6, 1), date(2026, 6, 30), "UTC")


def row(mrr: int, subscriptions: int, currency: str = "USD") -> dict[str, Any]:
    return {"currency": currency, "mrr": mrr, "subscriptions": subscriptions}


@pytest.mark.parametrize(
    ("now", "before", "notes"),
    [
        ([row(120_000, 6)], [row(100_000, 4)], ["+20 %", "+50 %"]),
        ([row(80_000, 2)], [row(100_000, 4)], ["−20 %", "−50 %"]),
        # Another currency's revenue is not compared, its subscriptions are.
        ([row(120_000, 6)], [row(100_000, 4), row(9, 8, "EUR")], ["+20 %", "−50 %"]),
        ([row(120_000, 6)], [], ["none", "none"]),
    ],
)
def test_revenue_and_subscriptions_are_compared_with_the_time_before(
    now: list[dict[str, Any]], before: list[dict[str, Any]], notes: list[str]
) -> None:
    data = {"revenue": now, "before": before, "byDay": []}
    found = billing.figures(data, JUNE)[:2]
    assert [each.note.partition(" on ")[0].partition(" in ")[0] for each in found] == notes
    assert found[0].value == f"${now[0]['mrr'] / 100:,.2f}"


def test_subscriptions_of_all_currencies_and_days_are_added_up() -> None:
    days = [{"started": 2, "ended": 1}, {"started": 3, "ended": 4}]
    data = {"revenue": [row(9, 6), row(8, 2, "EUR")], "before": [], "byDay": days}
    assert [each.value for each in billing.figures(data, JUNE)[1:]] == ["8", "5", "5"]
