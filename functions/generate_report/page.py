"""A report as one HTML page that needs nothing else: charts are SVG in the page itself."""

from __future__ import annotations

import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from reportlab.graphics import renderSVG

from functions.generate_report import charts

if TYPE_CHECKING:
    from functions.generate_report.document import Chart, Report

# In points of the drawing, which the page stretches to its own width: 8 become 11 or so. Each chart
# is in the page twice, since a phone would make them 5.
WIDE, NARROW = 560.0, 250.0


def render(report: Report) -> bytes:
    """The page, in UTF-8."""
    return _environment().get_template("report.html").render(report=report).encode()


def svg(chart: Chart, width: float) -> Markup:
    """The chart as an SVG element. reportlab builds it as a document, so texts are escaped."""
    drawn: str = renderSVG.drawToString(charts.draw(chart, width), useClip=True)
    element = drawn[drawn.index("<svg") :]
    # Three dots as a tooltip, and an id that the next chart would have too.
    element = re.sub(r'<(title|desc)>\.\.\.</\1>| id="group"', "", element)
    return Markup(element)  # noqa: S704 - see above


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.filters["svg"] = svg
    environment.globals |= {"WIDE": WIDE, "NARROW": NARROW}
    return environment
