"""Charts as reportlab drawings, the same for the PDF and, as SVG, for the page.

They are drawn from lines, rectangles and texts, so that an axis has the labels that fit, and one
font and one set of colors go through the whole report.
"""

from __future__ import annotations

import math
from functools import singledispatch
from typing import TYPE_CHECKING, Any

from reportlab.graphics.shapes import Drawing, Group, Line, Rect, String
from reportlab.lib.colors import HexColor
from reportlab.pdfbase.pdfmetrics import stringWidth

from functions.generate_report.document import Bars, Ranking

if TYPE_CHECKING:
    from functions.generate_report.document import Chart

FONT, SIZE = "Helvetica", 8.0
# A page without Helvetica and Arial shows DejaVu Sans or Verdana, which are wider by as much.
WIDEST = 1.2
INK, MUTED, RULE = HexColor("#14201b"), HexColor("#5c6a64"), HexColor("#dfe6e3")

PLOT_HEIGHT = 132.0
LEGEND_HEIGHT = 20.0
AXIS_HEIGHT = 29.0
BAR_PITCH = 20.0
NAME_HEIGHT = 12.0
NAME_SHARE = 0.36  # of a ranking's width, at most, for the names
NARROW = 400.0  # a ranking that is less wide has its names above the bars
TICKS = 4


def draw(chart: Chart, width: float, font: str = FONT) -> Any:
    """A `Drawing` of a chart.

    Args:
        chart: What to draw.
        width: In points; the height follows from what there is to show.
        font: The name of the font of its texts.
    """
    drawing = _draw(chart, width)
    _set_font(drawing, font)
    return drawing


def _set_font(group: Any, font: str) -> None:
    for part in group.contents:
        if isinstance(part, String):
            part.fontName = font
        elif isinstance(part, Group):
            _set_font(part, font)


def nice_ticks(highest: float, *, whole: bool = True) -> list[float]:
    """Round values from 0 to one that is not below `highest`.

    Args:
        highest: The greatest value shown.
        whole: Whether half a one makes no sense, as with jobs.
    """
    if highest <= 0:
        return [0.0, 1.0]
    rough = highest / TICKS
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(n * power for n in (1, 2, 2.5, 5, 10) if n * power >= rough * 0.999)
    if whole:
        step = max(1.0, math.ceil(step))
    return [n * step for n in range(math.ceil(highest / step - 1e-9) + 1)]


def tick_words(value: float) -> str:
    """`1.5k`, `2M`, `0.25`."""
    for unit, size in (("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return f"{value:g}"


def width_of(text: str) -> float:
    """Of a chart's text, in points, in the widest font that it may be shown in."""
    return WIDEST * float(stringWidth(text, FONT, SIZE))


def shortened(text: str, width: float) -> str:
    """`text`, cut short with an ellipsis where it is wider than `width` points."""
    if width_of(text) <= width:
        return text
    while text and width_of(f"{text}…") > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


@singledispatch
def _draw(chart: object, _width: float) -> Any:
    raise TypeError(f"there is no drawing of a {type(chart).__name__}")


@_draw.register
def _bars(chart: Bars, width: float) -> Any:
    legend = LEGEND_HEIGHT if len(chart.series) > 1 else 0.0  # one series is what the axis says
    height = AXIS_HEIGHT + PLOT_HEIGHT + legend + 5
    drawing = Drawing(width, height)
    together = sum if chart.stacked else max
    by_label = zip(*(each.values for each in chart.series), strict=True)
    ticks = nice_ticks(max((together(values) for values in by_label), default=0))
    words = [tick_words(tick) for tick in ticks]
    left = 20 + max(width_of(word) for word in words)
    right, bottom, top = width - 4, AXIS_HEIGHT, AXIS_HEIGHT + PLOT_HEIGHT
    scale = (top - bottom) / ticks[-1]
    for tick, word in zip(ticks, words, strict=True):
        level = bottom + tick * scale
        drawing.add(Line(left, level, right, level, strokeColor=RULE, strokeWidth=0.6))
        drawing.add(_text(left - 5, level - 2.8, word, anchor="end"))
    pitch = (right - left) / len(chart.labels)
    _add_bars(drawing, chart, left, pitch, scale)
    _label_bars(drawing, chart, left, pitch)
    drawing.add(_text((left + right) / 2, 2, chart.label_axis, anchor="middle"))
    drawing.add(_sideways(9, (bottom + top) / 2, chart.value_axis))
    if legend:
        _legend(drawing, chart, left, height - 12)
    return drawing


@_draw.register
def _ranking(chart: Ranking, width: float) -> Any:
    is_narrow = width < NARROW
    pitch = BAR_PITCH + NAME_HEIGHT * is_narrow
    bottom = float(AXIS_HEIGHT if chart.value_axis else 8)
    height = bottom + len(chart.labels) * pitch
    drawing = Drawing(width, height)
    names = [shortened(label, width * (1 if is_narrow else NAME_SHARE)) for label in chart.labels]
    left = 1.0 if is_narrow else 10 + max(width_of(name) for name in names)
    room = 12 + max(width_of(words) for words in chart.words)
    ticks = nice_ticks(max(chart.values), whole=False)
    longest = ticks[-1] if chart.value_axis else max(chart.values)
    scale = (width - left - room) / longest
    for tick in ticks if chart.value_axis else [0.0]:
        x = left + tick * scale
        drawing.add(Line(x, bottom, x, height, strokeColor=RULE, strokeWidth=0.6))
        if chart.value_axis:
            anchor = "start" if is_narrow and not tick else "middle"
            drawing.add(_text(x, bottom - 12, tick_words(tick), anchor=anchor))
    for index, (name, value, words) in enumerate(
        zip(names, chart.values, chart.words, strict=True)
    ):
        y = height - (index + 1) * pitch
        middle = y + BAR_PITCH / 2 - 2.8
        drawing.add(_text(1, y + BAR_PITCH if is_narrow else middle, name, color=INK))
        drawing.add(_box(left, y + 4, max(1.0, value * scale), BAR_PITCH - 8, chart.color))
        drawing.add(_text(left + value * scale + 5, middle, words, color=INK))
    if chart.value_axis:
        drawing.add(_text(left + longest * scale / 2, 2, chart.value_axis, anchor="middle"))
    return drawing


def _add_bars(drawing: Any, chart: Bars, left: float, pitch: float, scale: float) -> None:
    all_of_them = min(26.0, pitch * 0.72)
    thickness = all_of_them if chart.stacked else all_of_them / len(chart.series)
    base = [0.0] * len(chart.labels)
    for place, series in enumerate(chart.series):
        aside = 0.0 if chart.stacked else place * thickness
        for index, value in enumerate(series.values):
            if not value:
                continue
            x = left + index * pitch + (pitch - all_of_them) / 2 + aside
            y = AXIS_HEIGHT + base[index] * scale
            drawing.add(_box(x, y, thickness, value * scale, series.color))
            if chart.stacked:
                base[index] += value


def _label_bars(drawing: Any, chart: Bars, left: float, pitch: float) -> None:
    """As many labels as fit side by side, evenly spaced."""
    widest = max(width_of(label) for label in chart.labels) + 8
    every = max(1, math.ceil(widest / pitch))
    for index in range(0, len(chart.labels), every):
        x = left + (index + 0.5) * pitch
        if x + widest / 2 > drawing.width + 4:
            break
        drawing.add(_text(x, AXIS_HEIGHT - 12, chart.labels[index], anchor="middle"))


def _legend(drawing: Any, chart: Bars, x: float, y: float) -> None:
    for series in chart.series:
        drawing.add(_box(x, y, 8, 8, series.color))
        drawing.add(_text(x + 12, y + 1, series.name, color=INK))
        x += 30 + width_of(series.name)


def _box(x: float, y: float, width: float, height: float, color: str) -> Any:
    return Rect(x, y, width, height, fillColor=HexColor(color), strokeColor=None, strokeWidth=0)


def _text(x: float, y: float, words: str, *, anchor: str = "start", color: Any = MUTED) -> Any:
    return String(x, y, words, fontName=FONT, fontSize=SIZE, fillColor=color, textAnchor=anchor)


def _sideways(x: float, y: float, words: str) -> Any:
    group = Group(_text(0, 0, words, anchor="middle"))
    group.translate(x, y)
    group.rotate(90)
    return group
