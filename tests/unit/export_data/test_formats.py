"""The writers alone: cells, formulas, sheets."""

from __future__ import annotations

import csv
import io
import tempfile
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl.utils.escape import unescape

from functions.export_data import formats
from functions.export_data.entities import Column

WHEN = datetime(2026, 6, 9, 14, 30, 5, tzinfo=UTC)
FORMULAS = [
    "=1+1",
    "=cmd|' /C calc'!A0",
    "+1",
    "-1+1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1+1",
    '=HYPERLINK("https://evil.example","click")',
]


class Bytes:
    """A sink in memory."""

    def __init__(self) -> None:
        self.content = b""

    def write(self, content: bytes) -> None:
        self.content += content


def csv_rows(rows: list[tuple[Any, ...]], columns: list[str]) -> list[list[str]]:
    sink = Bytes()
    writer = formats.CsvWriter(sink, columns)
    writer.add(rows)
    writer.finish()
    return list(csv.reader(io.StringIO(sink.content.decode("utf-8-sig"), newline="")))


def workbook(rows: list[tuple[Any, ...]], folder: Path, **options: Any) -> Any:
    sink = Bytes()
    columns = options.pop("columns", {f"c{n}": Column("") for n in range(len(rows[0]))})
    writer = formats.XlsxWriter(sink, columns, folder, title="jobs", **options)
    writer.add(rows)
    writer.finish()
    return openpyxl.load_workbook(io.BytesIO(sink.content))


def test_excel_is_told_that_a_csv_is_utf_8() -> None:
    sink = Bytes()
    formats.CsvWriter(sink, ["é"]).finish()
    assert sink.content == "\ufeffé\r\n".encode()


def test_values_in_csv() -> None:
    rows = csv_rows([('a\nb,"c" é 🎉', -5, 1.5, None, WHEN)], ["a", "b", "c", "d", "e"])
    assert rows[1] == ['a\nb,"c" é 🎉', "-5", "1.5", "", "2026-06-09T14:30:05+00:00"]


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_text_is_a_formula_in_csv(formula: str) -> None:
    assert csv_rows([(formula,)], ["c"])[1] == [f"'{formula}"]


@given(st.text())
def test_a_text_comes_back_with_an_apostrophe_at_most(text: str) -> None:
    safe = formats.harmless(text)
    assert safe.removeprefix("'") == text.removeprefix("'") or safe == f"'{text}"
    assert not safe.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))


@pytest.mark.parametrize("before", ["u;", 'u;"', "u\t", "u\n", "u\r\n", ";"])
def test_no_text_is_a_formula_where_a_semicolon_separates(before: str) -> None:
    sink = Bytes()
    writer = formats.CsvWriter(sink, ["a", "b"])
    writer.add([("first", f'{before}=HYPERLINK("https://evil.example")')])
    writer.finish()
    text = sink.content.decode("utf-8-sig")
    for separator in ";\t":
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
            assert not [cell for cell in row if cell.lstrip('"').startswith("=")]


@pytest.mark.parametrize("text", ["a; b", "a;b", "x = 1", "a - b; c - d", "10;20"])
def test_a_text_without_a_formula_is_written_as_it_is(text: str) -> None:
    assert csv_rows([(text,)], ["c"])[1] == [text]


@pytest.mark.parametrize("formula", FORMULAS[:5] + FORMULAS[8:])
def test_no_text_is_a_formula_or_a_link_in_xlsx(formula: str, tmp_path: Path) -> None:
    book = workbook([(formula,)], tmp_path)
    cell = book.active["A2"]
    # openpyxl shows texts that begin with = as formulas, unless the file says that they are texts.
    assert (cell.value, cell.data_type, cell.hyperlink) == (formula, "s", None)


def test_values_in_xlsx(tmp_path: Path) -> None:
    [heads, cells] = workbook([("é 🎉", -5, 1.5, None, WHEN)], tmp_path).active.iter_rows(
        values_only=True
    )
    assert heads == ("c0", "c1", "c2", "c3", "c4")
    assert cells == ("é 🎉", -5, 1.5, None, WHEN.replace(tzinfo=None))


def test_a_full_sheet_is_followed_by_another(tmp_path: Path) -> None:
    book = workbook([(f"r{n}",) for n in range(7)], tmp_path, sheet_rows=4)
    found = [[cell for (cell,) in sheet.iter_rows(values_only=True)] for sheet in book]
    assert found == [["c0", "r0", "r1", "r2"], ["c0", "r3", "r4", "r5"], ["c0", "r6"]]
    assert book.sheetnames == ["Jobs", "Jobs 2", "Jobs 3"]
    assert [sheet.auto_filter.ref for sheet in book] == ["A1:A4", "A1:A4", "A1:A2"]


def test_a_heading_has_its_unit_and_fits_its_column(tmp_path: Path) -> None:
    columns = {
        "createdAt": Column("", "time"),
        "duration": Column("", "number", unit="s"),
        "a-name-that-is-longer-than-what-is-under-it": Column("", "number"),
    }
    sheet = workbook([(WHEN, 1.5, 2)], tmp_path, columns=columns).active
    heads = [cell.value for cell in next(sheet.iter_rows())]
    assert heads == ["createdAt (UTC)", "duration (s)", list(columns)[2]]
    widths = [sheet.column_dimensions[letter].width for letter in "ABC"]
    assert all(width > len(head) for width, head in zip(widths, heads, strict=True))


def test_a_text_that_is_too_long_for_excel_says_so(tmp_path: Path) -> None:
    value = workbook([("x" * 40_000,)], tmp_path).active["A2"].value
    assert len(value) == formats.CELL_CHARACTERS
    assert value.endswith("[cut short: Excel takes no more]")


@pytest.mark.parametrize(
    "text",
    [
        "<r>Sale: 5 < 10</r>",
        "<r></r>",
        "<r><t>bold</t></r>",
        "<r>& é 🎉 \"'</r>",
        "<r> <r></r>",
        "<r>",
        "<t>x</t>",
        "20 < 30 & 40",
        "_x0041_",
    ],
)
def test_a_text_that_looks_like_the_workbook_s_own_xml_stays_a_text(
    tmp_path: Path, text: str
) -> None:
    assert cell(text, tmp_path) == text


def test_lines_end_as_excel_ends_them(tmp_path: Path) -> None:
    assert cell("a\r\nb\rc\n" * 5_000, tmp_path) == "a\nb\nc\n" * 5_000


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("🎉" * 20_000, "🎉"),
        ("x🎉" * 11_000, "🎉x"),
        ("\x01" * 5_000, "\x01"),
        ("_x0041_" * 5_000, "_x0041_"),
        ("\r\n" * 40_000, "\n"),
        ("<r>" + "5 < 10" * 10_000 + "</r>", "<r>5 < 10"),
    ],
)
def test_what_is_too_long_for_excel_is_measured_as_excel_does(
    tmp_path: Path, text: str, kept: str
) -> None:
    made = formats.excel_text(text)
    assert made.endswith(formats.CUT_SHORT)
    assert set(made.removesuffix(formats.CUT_SHORT)) <= set(kept)
    assert "�" not in made.encode("utf-16").decode("utf-16", "replace")
    assert formats.CELL_CHARACTERS - 7 < formats._size(made) <= formats.CELL_CHARACTERS
    assert cell(text, tmp_path) == made


@given(st.text(alphabet=st.sampled_from("<r>/t& \r\n\x01_x0041🎉a"), max_size=40))
def test_any_text_makes_a_workbook_that_can_be_opened(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        assert cell(text, Path(folder)) == formats.excel_text(text)


def cell(text: str, folder: Path) -> Any:
    value = workbook([(text,)], folder).active["A2"].value
    return unescape(value) if isinstance(value, str) else value


def test_the_workbook_s_folder_is_gone_also_after_a_failure() -> None:
    exits = ExitStack()
    writer = formats.writer("xlsx", Bytes(), {"a": Column("")}, exits, title="jobs")
    writer.add([("x",)])
    assert isinstance(writer, formats.XlsxWriter)
    folder = writer._path.parent
    assert list(folder.iterdir())

    exits.close()  # without `finish`, as after a failure

    assert not folder.exists()
