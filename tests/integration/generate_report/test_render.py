"""Reports of a real Postgres, in every format."""

from __future__ import annotations

import io
import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pypdf
import pytest

from functions.generate_report.handler import generate_report
from tests.deliveries import deliver

if TYPE_CHECKING:
    from tests.buckets import Bucket
    from tests.deliveries import Table

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
MAY = {"from": "2026-05-01", "to": "2026-05-31"}
LONG = "organization-with-a-name-" * 8
ATTACK = "<script>alert(1)</script>&\"'"


def add(table: Table, number: int, **fields: Any) -> None:
    at = fields.pop("at", NOON)
    row: dict[str, Any] = {
        "job_id": f"job-{number}",
        "job_type": "probe",
        "status": "completed",
        "payload": "{}",
        "max_attempts": 3,
        "attempt": 1,
        "created_at": at,
        "started_at": at,
        "completed_at": at + timedelta(seconds=2),
        **fields,
    }
    if row["status"] in {"pending", "retrying"}:
        row["completed_at"] = None
    names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
    table.run(f"INSERT INTO job_executions ({names}) VALUES ({marks})", *row.values())


def subscribe(table: Table, number: int, **fields: Any) -> None:
    row: dict[str, Any] = {
        "subscription_id": f"sub_{number}",
        "customer_id": "cus_1",
        "status": "active",
        "price_id": "price_team",
        "quantity": 1,
        "unit_amount": 1200,
        "currency": "eur",
        "billing_interval": "month",
        "interval_count": 1,
        "started_at": NOON - timedelta(days=100),
        "event_id": "evt",
        "event_created": NOON,
        "reading": 1,
        **fields,
    }
    if row["unit_amount"] is not None:
        row.setdefault("interval_amount", row["unit_amount"] * row["quantity"])
    names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
    table.run(f"INSERT INTO subscriptions ({names}) VALUES ({marks})", *row.values())


def report(table: Table, bucket: Bucket, kind: str, format_name: str, **payload: Any) -> bytes:
    request = {"kind": kind, "format": format_name, **MAY, **payload}
    job_id = table.add(generate_report, request)
    answer = deliver(generate_report, job_id, seconds=190)
    assert answer.status == 200, answer.document
    row = table.row(job_id)
    assert row["result"]["key"] == f"reports/{job_id}/{kind}.{format_name}"
    return bucket.read(row["result"]["key"])


def data(table: Table, bucket: Bucket, kind: str, **payload: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(report(table, bucket, kind, "json", **payload))
    return found


def pages(content: bytes) -> list[str]:
    """The text of each page; a line break in a cell is no break of the text."""
    return [page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages]


# --- the figures


def test_analytics_counts_outcomes_durations_and_errors(table: Table, bucket: Bucket) -> None:
    for number in range(6):
        add(table, number)
    add(table, 6, status="failed", error="ResendError: 500\nat line 3", attempt=3)
    add(table, 7, status="failed", error="ResendError: 500\nat line 9", job_type="other")
    add(table, 8, status="pending", at=NOON + timedelta(days=1))
    add(table, 9, at=NOON - timedelta(days=31))  # in the period before

    found = data(table, bucket, "analytics")

    assert found["period"] == {**MAY, "timezone": "UTC"}
    totals = found["totals"]
    assert (totals["total"], totals["completed"], totals["failed"], totals["open"]) == (9, 6, 2, 1)
    assert (totals["p50"], totals["p95"], totals["retried"]) == (2.0, 2.0, 1)
    assert found["before"]["total"] == 1
    assert [(row["day"], row["total"]) for row in found["byDay"]] == [
        ("2026-05-10", 8),
        ("2026-05-11", 1),
    ]
    [error] = found["topErrors"]
    assert (error["error"], error["count"], error["jobTypes"]) == (
        "ResendError: 500",
        2,
        ["other", "probe"],
    )


def test_an_error_is_masked_before_it_is_cut(table: Table, bucket: Bucket) -> None:
    key = "sk_live_" + "a1B2" * 6
    for number, before in enumerate((150, 185, 192, 300)):
        add(table, number, status="failed", error="x" * (before - 1) + f" {key} was refused")

    errors = [row["error"] for row in data(table, bucket, "analytics")["topErrors"]]

    assert all("sk_live" not in error and len(error) <= 200 for error in errors)
    assert any("[hidden] was refused" in error for error in errors)


def test_a_day_is_that_of_the_time_zone(table: Table, bucket: Bucket) -> None:
    add(table, 1, at=datetime(2026, 4, 30, 22, 30, tzinfo=UTC))  # in Rome it is 1 May
    assert data(table, bucket, "analytics")["totals"]["total"] == 0
    found = data(table, bucket, "analytics", timezone="Europe/Rome")
    assert [row["day"] for row in found["byDay"]] == ["2026-05-01"]


def test_usage_is_by_organization_and_by_user(table: Table, bucket: Bucket) -> None:
    for number, (organization, user) in enumerate(
        [("o_1", "u_1"), ("o_1", "u_2"), ("o_2", "u_3"), (None, None)]
    ):
        add(table, number, organization_id=organization, user_id=user)

    found = data(table, bucket, "usage")

    totals = found["totals"]
    assert (totals["total"], totals["organizations"], totals["users"]) == (4, 2, 3)
    assert totals["seconds"] == 8
    assert [(row["organizationId"], row["total"]) for row in found["byOrganization"]] == [
        ("o_1", 2),
        ("o_2", 1),
    ]
    assert len(found["byUser"]) == 3

    only = data(table, bucket, "usage", organizationId="o_1")
    assert (only["organizationId"], only["totals"]["total"]) == ("o_1", 2)


def test_billing_estimates_the_revenue_of_a_month(table: Table, bucket: Bucket) -> None:
    subscribe(table, 1, quantity=3)  # 36.00
    subscribe(table, 2, unit_amount=12_000, billing_interval="year", price_id="price_year")  # 10.00
    subscribe(table, 3, unit_amount=3_000, interval_count=3, price_id="price_quarter")  # 10.00
    subscribe(table, 4, unit_amount=500, currency="usd")
    subscribe(table, 5, status="trialing")
    subscribe(table, 6, status="canceled", ended_at=NOON)
    subscribe(table, 7, status="canceled", ended_at=NOON + timedelta(days=300))  # 12.00
    subscribe(table, 8, started_at=NOON + timedelta(days=60))
    subscribe(table, 9, started_at=NOON, unit_amount=None, billing_interval=None)
    subscribe(table, 10, status="incomplete_expired", started_at=NOON)

    found = data(table, bucket, "billing")

    assert found["revenue"] == [
        {"currency": "EUR", "subscriptions": 5, "mrr": 6800},
        {"currency": "USD", "subscriptions": 1, "mrr": 500},
    ]
    assert found["byDay"] == [{"day": "2026-05-10", "started": 1, "ended": 1}]
    assert {row["status"]: row["subscriptions"] for row in found["byStatus"]} == {
        "active": 5,
        "trialing": 1,
        "canceled": 1,
    }
    text = " ".join(pages(report(table, bucket, "billing", "pdf")))
    assert "€68.00" in text
    assert "and $5.00" in text


def test_the_revenue_of_a_week_and_of_a_day_is_that_of_a_twelfth_of_a_year(
    table: Table, bucket: Bucket
) -> None:
    subscribe(table, 1, unit_amount=1_200, billing_interval="week", price_id="by-week")
    subscribe(
        table,
        2,
        unit_amount=600,
        billing_interval="week",
        interval_count=2,
        quantity=2,
        price_id="by-week",
    )
    subscribe(table, 3, unit_amount=120, billing_interval="day", price_id="by-day")
    by_week, by_day = 5_200 + 2_600, 3_650  # 52 / 12 and 365 / 12 of the price

    found = data(table, bucket, "billing")

    assert found["revenue"] == [{"currency": "EUR", "subscriptions": 3, "mrr": by_week + by_day}]
    assert [(row["plan"], row["seats"], row["mrr"]) for row in found["byPlan"]] == [
        ("by-week", 3, by_week),
        ("by-day", 1, by_day),
    ]


@pytest.mark.parametrize(
    ("failed_before", "failed_now", "marks"),
    [(1, 3, ["bad", "bad"]), (3, 1, ["good", "good"]), (2, 2, [])],
)
def test_what_got_better_is_marked_as_good_and_what_got_worse_as_bad(
    table: Table, bucket: Bucket, failed_before: int, failed_now: int, marks: list[str]
) -> None:
    for days, failed in ((40, failed_before), (0, failed_now)):
        for number in range(10):
            status = "failed" if number < failed else "completed"
            at = NOON - timedelta(days=days)
            add(table, days * 10 + number, status=status, at=at, error=None)

    html = report(table, bucket, "analytics", "html").decode()

    assert re.findall(r'class="note (\w+)"', html) == marks


# --- the pages


@pytest.mark.parametrize("kind", ["analytics", "usage", "billing"])
@pytest.mark.parametrize("format_name", ["pdf", "html"])
def test_an_empty_period_is_said_in_words(
    table: Table, bucket: Bucket, kind: str, format_name: str
) -> None:
    content = report(table, bucket, kind, format_name)
    text = " ".join(pages(content)) if format_name == "pdf" else content.decode()
    assert "1 – 31 May 2026 (UTC)" in text
    assert "in this period" in text
    assert "None" not in text
    assert "nan" not in text


def test_the_pdf_has_title_period_figures_and_numbered_pages(table: Table, bucket: Bucket) -> None:
    for number in range(60):
        add(table, number, job_type=f"type-{number:02}", at=NOON + timedelta(hours=number))

    content = report(table, bucket, "analytics", "pdf", timezone="Europe/Rome")

    found = pages(content)
    assert len(found) >= 2
    assert "Background job report" in found[0]
    assert "1 – 31 May 2026 (Europe/Rome)" in found[0]
    assert "All organizations" in found[0]
    for label in ("Success rate", "100 %", "Jobs by day", "Day of creation", "Seconds"):
        assert label in found[0]
    for number, page in enumerate(found, start=1):
        assert f"Page {number} of {len(found)}" in page
        assert "Generated " in page
    assert all(f"type-{number:02}" in " ".join(found) for number in range(60))
    metadata = pypdf.PdfReader(io.BytesIO(content)).metadata
    assert metadata is not None
    assert metadata.title == "Background job report, 1 – 31 May 2026"


class Outline(HTMLParser):
    """Tags in balance."""

    VOID = frozenset({"meta", "br"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("kind", ["analytics", "usage"])
def test_what_users_wrote_is_shown_and_not_run(table: Table, bucket: Bucket, kind: str) -> None:
    add(table, 1, organization_id=ATTACK, user_id=ATTACK, job_type=ATTACK)
    add(table, 2, organization_id=ATTACK, job_type=ATTACK, status="failed", error=ATTACK)

    html = report(table, bucket, kind, "html", organizationId=ATTACK).decode()

    outline = Outline(html)
    assert "script" not in outline.seen
    assert outline.seen.count("svg") == 4  # two charts, wide and narrow
    assert "&lt;script&gt;" in html
    assert not re.search(r"<(link|iframe|img|object)\b|@import|url\(|src=", html)
    assert ATTACK[:8] in " ".join(pages(report(table, bucket, kind, "pdf")))


@pytest.mark.parametrize("kind", ["analytics", "usage", "billing"])
def test_long_names_and_other_alphabets_fit(table: Table, bucket: Bucket, kind: str) -> None:
    for number in range(3):
        add(table, number, organization_id=LONG, user_id="用户-" + LONG, job_type=LONG)
    add(table, 3, status="failed", error="x" * 5_000)
    subscribe(table, 1, price_id=LONG, started_at=NOON)

    html = report(table, bucket, kind, "html").decode()
    text = "".join(pages(report(table, bucket, kind, "pdf"))).replace("\n", "")

    assert LONG[:100] in html
    assert LONG[:100] in text
    assert kind != "usage" or ("用户" in html and "??-organization" in text)


def test_the_email_says_what_it_is(table: Table, bucket: Bucket) -> None:
    report(table, bucket, "usage", "html", email=["ada@example.com"], linkHours=1)

    [mail] = [row for row in table.rows() if row["job_type"] == "send-email"]
    data_of_mail = mail["payload"]["data"]
    assert data_of_mail["title"] == "Usage report for 1 – 31 May 2026"
    assert data_of_mail["size"].endswith("kB")


def test_a_year_is_shown_by_the_week(table: Table, bucket: Bucket) -> None:
    add(table, 1)
    year = {"from": "2025-06-01", "to": "2026-05-31"}
    text = " ".join(pages(report(table, bucket, "analytics", "pdf", **year)))
    assert "Jobs by week" in text
    assert "Week of creation" in text
