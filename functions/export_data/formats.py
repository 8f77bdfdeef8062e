"""The formats of an export. Each writer gets rows in batches and passes bytes on as they come."""

from __future__ import annotations

import csv
import io
import re
import tempfile
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import ExitStack

    from functions.export_data.entities import Column

CONTENT_TYPES = {
    "csv": "text/csv; charset=utf-8",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "jsonl": "application/x-ndjson",
}

# What makes a spreadsheet take a cell of a CSV for a formula (OWASP, "CSV Injection"), with the
# full-width forms that some take for the same.
_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_FORMULA_WITHIN = re.compile(r"(;|(?<=[\s\S])[\t\r\n])(?=\"*[=+\-@\uff1d\uff0b\uff0d\uff20])")

# Microsoft, "Excel specifications and limits". Characters are UTF-16 units there.
SHEET_ROWS = 1_048_576
CELL_CHARACTERS = 32_767
CUT_SHORT = " … [cut short: Excel takes no more]"
_LINE_END = re.compile(r"\r\n?")
# What OOXML writes as `_x0001_` and the like, and a text that would be taken for one.
_ESCAPED = re.compile(r"[\x00-\x08\x0b-\x1f\ufffe\uffff]|_x[0-9A-Fa-f]{4}_")
_ESCAPE_CHARACTERS = 7
COLUMN_WIDTHS = {"text": 24, "number": 11, "time": 20, "json": 48}  # in characters
FILTER_WIDTH = 4  # of a heading's button
COPY_BYTES = 1024 * 1024


class Sink(Protocol):
    """Where the bytes go."""

    def write(self, content: bytes) -> None:
        """Take more of the file."""


class Writer(Protocol):
    """One file in the making."""

    def add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write rows, in the order of the columns."""

    def finish(self) -> None:
        """Write what is left. After that the sink has all of the file."""


def harmless(text: str) -> str:
    """`text` as a cell that no spreadsheet takes for a formula: with an apostrophe before it, where
    it would be one; and within it, where it would be one in a spreadsheet that separates by `;`,
    for which quotes do not keep a cell of ours together."""
    text = _FORMULA_WITHIN.sub(r"\1'", text)
    return f"'{text}" if _FORMULA.match(text) else text


def excel_text(text: str) -> str:
    """`text` as a cell of a workbook can hold it: lines end with U+000A, as in Excel, and what is
    longer than Excel takes is cut, with a mark that says so."""
    text = _LINE_END.sub("\n", text)
    # No character is longer than an escape, so most texts need not be measured.
    if len(text) * _ESCAPE_CHARACTERS <= CELL_CHARACTERS or _size(text) <= CELL_CHARACTERS:
        return text
    room = CELL_CHARACTERS - len(CUT_SHORT)
    shortest, longest = 0, min(len(text), room)
    while shortest < longest:
        middle = (shortest + longest + 1) // 2
        if _size(text[:middle]) <= room:
            shortest = middle
        else:
            longest = middle - 1
    return text[:shortest] + CUT_SHORT


def _size(text: str) -> int:
    """In UTF-16 units, escapes written out."""
    units = len(text.encode("utf-16-le", "surrogatepass")) // 2
    return units + _ESCAPE_CHARACTERS * len(_ESCAPED.findall(text))


class CsvWriter:
    """RFC 4180, UTF-8 with the mark by which Excel knows it; times in ISO 8601."""

    def __init__(self, sink: Sink, columns: Sequence[str]) -> None:
        self._sink = sink
        self._text = io.StringIO(newline="")
        self._csv = csv.writer(self._text)
        self._text.write("\ufeff")
        self._csv.writerow(columns)

    def add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self._csv.writerows([_csv_cell(value) for value in row] for row in rows)
        self._pass_on()

    def finish(self) -> None:
        self._pass_on()

    def _pass_on(self) -> None:
        self._sink.write(self._text.getvalue().encode())
        self._text.seek(0)
        self._text.truncate()


class JsonLinesWriter:
    """One JSON object a line, as Postgres wrote it."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink

    def add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        self._sink.write("".join(f"{line}\n" for (line,) in rows).encode())

    def finish(self) -> None:
        pass


class XlsxWriter:
    """A workbook, with another sheet where one is full. Headings have a filter, and units.

    A workbook is a ZIP whose parts can only be put together at the end, so it grows on disk, row by
    row, and is passed on from there.
    """

    def __init__(
        self,
        sink: Sink,
        columns: Mapping[str, Column],
        folder: Path,
        *,
        title: str,
        sheet_rows: int = SHEET_ROWS,
    ) -> None:
        import xlsxwriter

        self._sink = sink
        self._columns = columns
        self._title = title.capitalize()
        self._path = folder / "export.xlsx"
        self._sheet_rows = sheet_rows
        self._book = xlsxwriter.Workbook(
            self._path,
            {
                "constant_memory": True,
                "tmpdir": str(folder),
                "use_zip64": True,
                "strings_to_formulas": False,
                "strings_to_urls": False,
                "strings_to_numbers": False,
            },
        )
        self._heading = self._book.add_format({"bold": True, "bottom": 1})
        self._plain = self._book.add_format()
        self._time = self._book.add_format({"num_format": "yyyy-mm-dd hh:mm:ss"})
        self._begin_sheet()

    def add(self, rows: Sequence[tuple[Any, ...]]) -> None:
        for row in rows:
            if self._row == self._sheet_rows:
                self._filter_sheet()
                self._begin_sheet()
            for position, value in enumerate(row):
                if value is not None:
                    self._write(position, value)
            self._row += 1

    def finish(self) -> None:
        self._filter_sheet()
        self._book.close()
        with self._path.open("rb") as file:
            while content := file.read(COPY_BYTES):
                self._sink.write(content)

    def give_up(self) -> None:
        """Close the sheets' temporary files, which an unfinished workbook leaves open."""
        for sheet in self._book.worksheets():
            sheet.row_data_fh.close()

    def _begin_sheet(self) -> None:
        number = len(self._book.worksheets()) + 1
        self._sheet = self._book.add_worksheet(self._title + (f" {number}" if number > 1 else ""))
        for position, (name, column) in enumerate(self._columns.items()):
            unit = "UTC" if column.kind == "time" else column.unit
            heading = f"{name} ({unit})" if unit else name
            width = max(COLUMN_WIDTHS[column.kind], len(heading) + FILTER_WIDTH)
            self._sheet.set_column(position, position, width)
            self._sheet.write_string(0, position, heading, self._heading)
        self._sheet.freeze_panes(1, 0)
        self._row = 1

    def _filter_sheet(self) -> None:
        self._sheet.autofilter(0, 0, self._row - 1, len(self._columns) - 1)

    def _write(self, position: int, value: Any) -> None:
        if isinstance(value, str):
            text = excel_text(value)
            if text.startswith("<r>") and text.endswith("</r>"):
                # XlsxWriter takes this for rich text that is already XML, unless it makes the rich
                # text itself, of two parts at least.
                self._sheet.write_rich_string(self._row, position, text[0], self._plain, text[1:])
            else:
                # A string cell is never a formula, whatever it begins with.
                self._sheet.write_string(self._row, position, text)
        elif isinstance(value, datetime):
            naive = value.replace(tzinfo=None)  # Excel knows no zones; the snapshot's is UTC
            self._sheet.write_datetime(self._row, position, naive, self._time)
        else:
            self._sheet.write_number(self._row, position, value)


def writer(
    format_name: str,
    sink: Sink,
    columns: Mapping[str, Column],
    exits: ExitStack,
    *,
    title: str,
) -> Writer:
    """The writer of a format.

    Args:
        format_name: `csv`, `xlsx` or `jsonl`.
        sink: Where the file goes.
        columns: By their names, in their order.
        exits: What is to be tidied up, however it ends.
        title: The name of a workbook's sheet.
    """
    if format_name == "csv":
        return CsvWriter(sink, list(columns))
    if format_name == "jsonl":
        return JsonLinesWriter(sink)
    folder = Path(exits.enter_context(tempfile.TemporaryDirectory(prefix="export-")))
    workbook = XlsxWriter(sink, columns, folder, title=title)
    exits.callback(workbook.give_up)
    return workbook


def _csv_cell(value: Any) -> Any:
    if isinstance(value, str):
        return harmless(value)
    return value.isoformat() if isinstance(value, datetime) else value
