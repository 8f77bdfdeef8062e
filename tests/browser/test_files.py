"""What a person opens outside the dashboard: reports, emails and the mailbox, on a phone too."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from functions.generate_report import page as report_page
from functions.generate_report.document import (
    GREEN,
    RED,
    Bars,
    Column,
    Figure,
    Ranking,
    Report,
    Section,
    Series,
    Table,
)
from functions.generate_report.period import Period
from functions.send_email import rendering
from functions.send_email.models import Email
from infra.local.mailbox import pages
from infra.local.mailbox.store import Mail
from tests.browser import faces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, Page

TYPES = ["send-email", "resize-customer-profile-images", "process-stripe-webhook"]
# A call that no line of a phone has room for.
ERROR = "TimeoutError: https://api.example.com/v1/customers/cus_NffrFeUfNV2Hib/subscriptions"
REPORT = Report(
    title="Background job report",
    period=Period(date(2026, 5, 1), date(2026, 5, 31), "Europe/Rome"),
    scope="All organizations",
    brand="Acme",
    generated_at=datetime(2026, 6, 1, tzinfo=UTC),
    figures=[Figure("Time at work", "24 min 14 s", "as in the 31 days before")] * 4,
    sections=[
        Section(
            "Jobs by day",
            chart=Bars(
                [f"{day} May" for day in range(1, 32)],
                [Series("Completed", GREEN, range(31)), Series("Failed", RED, range(31))],
                "Jobs",
                "Day of creation",
            ),
        ),
        Section("Duration", chart=Ranking(TYPES, [9.8, 7.5, 0.1], ["9.8 s"] * 3, "Seconds")),
        Section(
            "Job types",
            table=Table(
                [Column("Type", 2), *(Column(name, 1, "right") for name in ("Jobs", "Failed"))],
                [[name, "1,234,567", "12 May, 13:04"] for name in TYPES],
            ),
        ),
        Section(
            "Errors",
            table=Table([Column("Error", 3), Column("Types")], [[ERROR, ", ".join(TYPES)]]),
        ),
    ],
)
SUBSCRIBED = Email.model_validate(
    {
        "template": "subscriptionCreated",
        "to": "ada@example.com",
        "data": {
            "name": "Ada",
            "planName": "Team",
            "amount": 1200,
            "currency": "eur",
            "interval": "month",
            "renewsAt": "2026-09-30T12:00:00Z",
            "manageUrl": "https://example.com/billing",
        },
    }
)
# Of the texts in an element, those of which a part is not on the screen, and of a chart's texts
# those that are smaller than nine pixels or over another one.
CUT = """() => [...document.querySelectorAll('h1, h2, p, dt, dd, td, th, text')].filter(each => {
  const box = each.getBoundingClientRect();
  return box.height > 1 && (box.left < 0 || box.right > innerWidth + 0.5);
}).map(each => each.textContent)"""
SMALL = """() => [...document.querySelectorAll('svg text')].filter(each => {
  const box = each.getBoundingClientRect();
  return each.textContent.length > 2 && box.width && Math.min(box.width, box.height) < 9;
}).map(each => each.textContent)"""
OVERLAPPING = """() => [...document.querySelectorAll('svg')].flatMap(svg => {
  const texts = [...svg.querySelectorAll('text')]
    .map(each => [each.textContent, each.getBoundingClientRect()]).filter(([, box]) => box.width);
  return texts.flatMap(([one, a], at) => texts.slice(at + 1).filter(([, b]) =>
    Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1 &&
    Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 4).map(([other]) => [one, other]));
})"""
CHECKS = {"cut": CUT, "small": SMALL, "overlapping": OVERLAPPING}


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    window = chromium.new_page()
    yield window
    window.close()


@pytest.mark.parametrize("face", ["wide", "narrow"])
def test_a_report_is_readable_from_a_phone_to_a_desk(page: Page, face: str) -> None:
    page.set_content(report_page.render(REPORT).decode())
    page.evaluate(faces.script(face))
    for width in (320, 390, 701, 768, 1440):
        page.set_viewport_size({"width": width, "height": 800})
        for name, code in CHECKS.items():
            assert page.evaluate(code) == [], (width, name)


@pytest.mark.parametrize("width", [320, 390])
def test_a_label_of_an_email_is_on_one_line(page: Page, width: int) -> None:
    page.set_content(rendering.render(SUBSCRIBED, rendering.Brand("Acme")).html)
    page.evaluate(faces.script("wide"))
    page.set_viewport_size({"width": width, "height": 800})
    assert page.evaluate(CUT) == []
    lines = page.eval_on_selector_all(
        "th",
        """cells => cells.map(cell => {
            const range = document.createRange();
            range.selectNodeContents(cell);
            return [cell.textContent, range.getClientRects().length];
        })""",
    )
    assert lines == [["Plan", 1], ["Price", 1], ["Renews on", 1]]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_mailbox_is_as_light_or_dark_as_the_system(page: Page, scheme: str) -> None:
    mail = Mail(
        "mail-1", "2026-05-01T12:00:00+00:00", "jobs@example.com", ["ada@example.com"], "Welcome"
    )
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.set_viewport_size({"width": 390, "height": 800})
    for html in (pages.index([mail], []), pages.mail(mail, "text", "{}", "/admin/jobs/1")):
        page.set_content(html)
        page.add_style_tag(path=Path(pages.__file__).parent / "style.css")
        [red, green, blue] = page.evaluate(
            "getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)"
        )
        assert (red + green + blue > 600) == (scheme == "light")
        assert page.evaluate(CUT) == []
