"""A report as PDF, by reportlab: A4, page numbers, tables that break across pages."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    CondPageBreak,
    Frame,
    KeepTogether,
    PageTemplate,
    Paragraph,
    Spacer,
    Table,
    TableStyle,
)

from functions.generate_report import charts, fonts
from functions.generate_report.document import GREEN, RED, Ranking, Series
from functions.generate_report.fonts import printable

if TYPE_CHECKING:
    from functions.generate_report.document import Chart, Column, Figure, Report, Section
    from functions.generate_report.document import Table as Rows

WIDTH, HEIGHT = A4
MARGIN = 18 * mm
INNER = WIDTH - 2 * MARGIN
INK, MUTED, RULE, PALE = map(HexColor, ("#14201b", "#5c6a64", "#dfe6e3", "#f3f7f5"))
# What a cell shows of a text from data: as many letters as fit the narrowest column of a page.
CELL_CHARACTERS = 400
FIRST_ROWS = 110  # a table begins on the next page where less than this is left of one
# So many rows are on a table's last page at least, where they are short enough to be surely there.
LAST_ROWS, SHORT_CHARACTERS = 3, 60


def _style(name: str, size: float, leading: float, **more: Any) -> ParagraphStyle:
    plain = {"fontName": fonts.REGULAR, "textColor": INK, "splitLongWords": 1}
    return ParagraphStyle(name, fontSize=size, leading=leading, **(plain | more))


BOLD = {"fontName": fonts.BOLD}
BRAND = _style("brand", 9, 12, textColor=HexColor(GREEN), **BOLD)
TITLE = _style("title", 25, 30, **BOLD)
PERIOD = _style("period", 11.5, 16, textColor=MUTED)
HEADING = _style("heading", 13, 18, spaceBefore=17, spaceAfter=5, **BOLD)
TEXT = _style("text", 9, 13, textColor=MUTED, spaceAfter=5)
EMPTY = _style(
    "empty", 10, 14, textColor=MUTED, backColor=PALE, borderPadding=9, leftIndent=9, rightIndent=9
)
LABEL = _style("label", 8, 11, textColor=MUTED)
NOTE = _style("note", 7.6, 10.5, textColor=MUTED)
CELL = _style("cell", 8.4, 11.5)
CELL_RIGHT = _style("cell-right", 8.4, 11.5, alignment=2)
HEAD = _style("head", 8, 11, textColor=MUTED, **BOLD)
HEAD_RIGHT = _style("head-right", 8, 11, textColor=MUTED, alignment=2, **BOLD)


def render(report: Report) -> bytes:
    """The report's PDF."""
    output = io.BytesIO()
    document = BaseDocTemplate(
        output,
        pagesize=A4,
        leftMargin=MARGIN,
        rightMargin=MARGIN,
        topMargin=MARGIN,
        bottomMargin=20 * mm,
        title=f"{printable(report.title)}, {report.period.label}",
        author=printable(report.brand),
        subject=report.period_line,
        creator="stashjobs",
        lang="en",
    )
    frame = Frame(
        MARGIN,
        20 * mm,
        INNER,
        HEIGHT - MARGIN - 20 * mm,
        leftPadding=0,
        rightPadding=0,
        topPadding=0,
        bottomPadding=0,
    )
    document.addPageTemplates(PageTemplate("page", [frame]))
    story = [*_head(report), _figures(report.figures)]
    for section in report.sections:
        story += _section(section)
    document.build(story, canvasmaker=_numbered(report))
    return output.getvalue()


def _words(text: str, style: ParagraphStyle) -> Any:
    return Paragraph(escape(printable(text)), style)


def _head(report: Report) -> list[Any]:
    return [
        _words(report.brand, BRAND),
        Spacer(0, 3),
        _words(report.title, TITLE),
        Spacer(0, 3),
        _words(report.period_line, PERIOD),
        _words(report.scope, PERIOD),
        Spacer(0, 14),
    ]


def _figures(figures: Any) -> Any:
    gap = 8.0
    width = (INNER - gap * (len(figures) - 1)) / len(figures)
    cells: list[Any] = []
    widths: list[float] = []
    for figure in figures:
        if cells:
            cells.append("")
            widths.append(gap)
        cells.append(_figure(figure, width - 20))
        widths.append(width)
    cards = [
        style
        for column in range(0, len(cells), 2)
        for style in (
            ("BACKGROUND", (column, 0), (column, 0), PALE),
            ("LINEBEFORE", (column, 0), (column, 0), 2, HexColor(GREEN)),
        )
    ]
    padding = [
        ("LEFTPADDING", (0, 0), (-1, -1), 10),
        ("RIGHTPADDING", (0, 0), (-1, -1), 8),
        ("TOPPADDING", (0, 0), (-1, -1), 8),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 9),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ]
    return Table([cells], colWidths=widths, style=TableStyle([*padding, *cards]))


def _figure(figure: Figure, width: float) -> list[Any]:
    size = 19.0
    value = printable(figure.value)
    while size > 9 and stringWidth(value, fonts.BOLD, size) > width:
        size -= 0.5
    good = {True: HexColor(GREEN), False: HexColor(RED), None: MUTED}[figure.is_good]
    return [
        _words(figure.label, LABEL),
        _words(figure.value, _style("value", size, 25, **BOLD)),
        _words(figure.note, _style("figure-note", 7.6, 10.5, textColor=good)),
    ]


def _section(section: Section) -> list[Any]:
    head: list[Any] = [_words(section.title, HEADING)]
    if section.text:
        head.append(_words(section.text, TEXT))
    if section.empty:
        return [KeepTogether([*head, Spacer(0, 7), _words(section.empty, EMPTY), Spacer(0, 7)])]
    story: list[Any] = []
    if section.chart is not None:
        drawing = charts.draw(_printable_chart(section.chart), INNER, fonts.REGULAR)
        story.append(KeepTogether([*head, Spacer(0, 3), drawing]))
        head = []
    if section.table is not None:
        story += [CondPageBreak(FIRST_ROWS), *head, _table(section.table)]
    return story


def _table(table: Rows) -> Any:
    shares = sum(column.share for column in table.columns)
    body = [
        [_cell(text, column) for text, column in zip(row, table.columns, strict=True)]
        for row in table.rows
    ]
    heads = [
        _words(column.title, HEAD_RIGHT if column.align == "right" else HEAD)
        for column in table.columns
    ]
    last = table.rows[-LAST_ROWS:]
    together = all(len(text) <= SHORT_CHARACTERS for row in last for text in row)
    return Table(
        [heads, *body],
        colWidths=[INNER * column.share / shares for column in table.columns],
        repeatRows=1,
        splitInRow=1,
        style=TableStyle(
            [
                ("VALIGN", (0, 0), (-1, -1), "TOP"),
                ("LINEBELOW", (0, 0), (-1, 0), 0.9, MUTED),
                ("LINEBELOW", (0, 1), (-1, -1), 0.5, RULE),
                ("LEFTPADDING", (0, 0), (-1, -1), 4),
                ("RIGHTPADDING", (0, 0), (-1, -1), 4),
                ("TOPPADDING", (0, 0), (-1, -1), 4),
                ("BOTTOMPADDING", (0, 0), (-1, -1), 4.5),
                *([("NOSPLIT", (0, -len(last)), (-1, -1))] if together else []),
            ]
        ),
    )


def _cell(text: str, column: Column) -> Any:
    if len(text) > CELL_CHARACTERS:
        text = f"{text[: CELL_CHARACTERS - 1]}…"
    return _words(text, CELL_RIGHT if column.align == "right" else CELL)


def _printable_chart(chart: Chart) -> Chart:
    labels = [printable(label) for label in chart.labels]
    if isinstance(chart, Ranking):
        return replace(chart, labels=labels, words=[printable(each) for each in chart.words])
    series = [Series(printable(each.name), each.color, each.values) for each in chart.series]
    return replace(chart, labels=labels, series=series)


def _numbered(report: Report) -> type[Any]:
    """A canvas that knows, when it writes a page's foot, how many pages there are."""

    class Numbered(Canvas):  # type: ignore[misc, unused-ignore]  # reportlab has no types
        def __init__(self, *arguments: Any, **options: Any) -> None:
            super().__init__(*arguments, **options)
            self._pages: list[dict[str, Any]] = []

        def showPage(self) -> None:  # noqa: N802 - reportlab's name
            self._pages.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            for page in self._pages:
                self.__dict__.update(page)
                _foot(self, report, self._pageNumber, len(self._pages))
                super().showPage()
            super().save()

    return Numbered


def _foot(canvas: Any, report: Report, number: int, total: int) -> None:
    canvas.setStrokeColor(RULE)
    canvas.setLineWidth(0.6)
    canvas.line(MARGIN, 15 * mm, WIDTH - MARGIN, 15 * mm)
    canvas.setFont(fonts.REGULAR, 7.6)
    canvas.setFillColor(MUTED)
    canvas.drawString(MARGIN, 11 * mm, printable(report.generated_line))
    canvas.drawRightString(WIDTH - MARGIN, 11 * mm, f"Page {number} of {total}")
    if number > 1:
        head = printable(f"{report.title}, {report.period.label}")
        canvas.drawCentredString(WIDTH / 2, 11 * mm, head)
