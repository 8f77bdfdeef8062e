"""The PDF prints what reports say, whatever the data is."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pypdf
import pytest
from fontpkg_ibm_plex_sans_condensed import ROOT

from functions.generate_report import fonts, formatting, pdf
from functions.generate_report.document import Column, Figure, Ranking, Report, Section, Table
from functions.generate_report.models import ReportRequest
from functions.generate_report.period import Period
from functions.send_email.formatting import money

if TYPE_CHECKING:
    from collections.abc import Sequence

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def printed(
    figures: Sequence[Figure] = (Figure("Jobs", "1"),), sections: Sequence[Section] = ()
) -> tuple[str, Any]:
    """The text of a report with these, and the reader of its PDF."""
    request = ReportRequest.model_validate(
        {"kind": "usage", "format": "pdf", "from": "2026-05-01", "to": "2026-05-31"}
    )
    report = Report(
        title="Usage report",
        period=Period.of(request, NOW),
        scope="All organizations",
        brand="stashjobs",
        generated_at=NOW,
        figures=figures,
        sections=sections,
    )
    reader = pypdf.PdfReader(io.BytesIO(pdf.render(report)))
    return "\n".join(page.extract_text() for page in reader.pages), reader


def test_a_decrease_has_its_minus_sign() -> None:
    text, _ = printed([Figure("Jobs", "88", formatting.change(88, 100, 30))])
    assert "−12 % on the 30 days before" in text


@pytest.mark.parametrize("currency", ["INR", "KRW", "ILS", "VND", "EUR", "GBP", "JPY", "PLN"])
def test_a_currency_has_its_sign(currency: str) -> None:
    amount = money(124_900, currency)
    text, _ = printed([Figure("Revenue", amount)])
    assert amount.replace("\N{NO-BREAK SPACE}", " ") in text
    assert "?" not in text


def test_every_font_is_embedded_and_small() -> None:
    chart = Ranking(["a"], [1.0], ["1"], "Jobs")
    rows = Table([Column("Type")], [["a"]])
    _, reader = printed(sections=[Section("Types", chart=chart, table=rows)])
    found = [
        font.get_object() for page in reader.pages for font in page["/Resources"]["/Font"].values()
    ]
    embedded = {
        font["/BaseFont"].partition("+")[2]
        for font in found
        if "/FontFile2" in font.get("/FontDescriptor", {})
    }
    assert embedded == {"IBMPlexSansCond-Regular", "IBMPlexSansCond-Bold"}
    assert sum(file.stat().st_size for file in (ROOT / "files").iterdir()) < 2_000_000


def test_a_letter_that_the_font_lacks_is_a_question_mark() -> None:
    assert fonts.printable("用户 a\tb ☃") == "?? a b ?"


@pytest.mark.parametrize("rows", [0, 1, 200])
def test_a_table_of_any_length_breaks_across_pages(rows: int) -> None:
    table = Table([Column("Type"), Column("Jobs", align="right")], [["a", "1"]] * rows)
    text, reader = printed(sections=[Section("Types", table=table)])
    assert len(reader.pages) >= rows / 60
    assert text.count("Jobs") >= len(reader.pages) - 1  # the head is on each of its pages


@pytest.mark.parametrize("columns", [1, 4, 9])
def test_a_cell_of_any_length_ends_in_no_layout_error(columns: int) -> None:
    for text in ("x" * 5_000, "line\n" * 1_000, "<b>&" * 1_000, ""):
        table = Table([Column("C")] * columns, [[text] * columns])
        printed(sections=[Section("Texts", table=table)])


@pytest.mark.parametrize("rows", range(28, 36))
def test_no_page_ends_a_table_with_a_single_row(rows: int) -> None:
    table = Table([Column("Type")], [[f"row-{number}"] for number in range(rows)])
    _, reader = printed(sections=[Section("Types", table=table)])
    last = reader.pages[-1].extract_text()
    assert len(reader.pages) == 1 or last.count("row-") >= pdf.LAST_ROWS
