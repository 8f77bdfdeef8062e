"""Every page of the dashboard, in a real browser: it fits every width, and axe finds nothing."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from functions.api import dashboard
from tests.browser.conftest import NOWHERE
from tests.browser.jobs import LONG_TYPE

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

    from tests.browser.jobs import Jobs

PATHS = (
    "/admin",
    "/admin/jobs",
    "/admin/jobs?status=failed&period=7d",
    "/admin/jobs?user=nobody",
    "/admin/jobs/{failed}",
    "/admin/jobs/{failed}/edit",
    "/admin/batches",
    "/admin/batches/{failed}",
    "/admin/schedules",
    "/admin/types",
    "/admin/types/create-notification",
    f"/admin/types/{LONG_TYPE}",
    "/admin/alerts",
    "/admin/audit",
    "/admin/audit/access",
    "/admin/sign-in",
    NOWHERE,
)
STYLE = Path(dashboard.__file__).parent / "static" / "dashboard.css"
# The page that asks before all that match are changed: a form leads there.
ASKED_FIRST = "/admin/jobs?status=failed&metadata=source%3Dtest&period=7d"
# Pause updating, and open what is folded. What holds for the first rows of a table, of which there
# are some of every kind, and for the last one, holds for those between.
STILL = """document.getElementById('pause')?.click();
document.querySelectorAll('details').forEach(one => { one.open = true });
document.querySelectorAll('tbody tr:nth-child(n+9):not(:last-child)')
    .forEach(one => one.remove())"""
# What is inside a chart is the picture that its title and its table describe.
WITHOUT_PICTURES = "document.querySelectorAll('.chart-plot g').forEach(one => one.remove())"
AXE = """rules => axe.run({resultTypes: ['violations'], preload: false, ...rules}).then(
    found => found.violations.map(one => [one.id, one.nodes.map(node => node.failureSummary)]))"""
# From a small phone to a large screen, and on both sides of each width at which the layout changes.
BREAKS = {int(each) for each in re.findall(r"max-width: (\d+)px\)", STYLE.read_text())}
EDGES = {320, 390, 1920, *BREAKS, *(each + 1 for each in BREAKS)}
# Between them the wide face is what can go over; the content is never wider than 1320.
WIDTHS = {"wide": sorted({*EDGES, *range(320, 1361, 80)}), "narrow": sorted(EDGES)}
# What is off the screen, cut off by what it is in, or too small to be read. What can be scrolled to
# within its own region is none of these.
MISFITS = """width => {
    const found = [], all = selector => [...document.querySelectorAll(selector)]
    const apart = '.hidden, .scroll, .skip, pre, .cards thead'
    const seen = one => one.checkVisibility() && !one.closest(apart)
    const said = one => `${one.localName}.${one.className} ${one.textContent.trim().slice(0, 40)}`
    const wide = document.documentElement.scrollWidth
    if (wide > width) found.push([`the page is ${wide} wide`])
    for (const one of all('a, button, input, td, th, dt, dd, h1, h2, p, li, time, .badge, .who')) {
        const box = one.getBoundingClientRect()
        if ((box.left < 0 || box.right > width + 0.5) && box.width && seen(one))
            found.push([said(one), 'is off the screen'])
    }
    for (const one of all('.cards td, .cards th, .cards tr, .card, .figure'))
        if (one.scrollWidth > one.clientWidth + 1 && seen(one) && !one.querySelector('pre'))
            found.push([said(one), `shows ${one.clientWidth} of ${one.scrollWidth}`])
    for (const one of all('.error-line, .error-box'))
        if (seen(one) && one.clientWidth < 150)
            found.push([said(one), `has ${one.clientWidth} px for the reason`])
    const rows = Object.values(Object.groupBy(all('.nav a'), one => Math.round(one.offsetTop)))
    if (rows.length > 1 && rows.at(-1).length < 2) found.push(['a link of the navigation is alone'])
    return found
}"""
# The dark changes colours alone, and a phone where things are.
COLOURS_AND_PLACES = {
    "runOnly": {
        "type": "rule",
        "values": [
            "button-name",
            "color-contrast",
            "label",
            "link-in-text-block",
            "link-name",
            "scrollable-region-focusable",
            "select-name",
            "target-size",
        ],
    }
}


def show(page: Page, path: str, failed: str) -> None:
    """One of `PATHS` or the page that asks first, with nothing folded and nothing moving."""
    page.goto(path.format(failed=failed))
    if path == ASKED_FIRST:
        page.get_by_role("button", name="Retry all that match…").click()
        page.get_by_role("heading", name=re.compile("^Retry 13 jobs")).wait_for()
    page.evaluate(STILL)


@pytest.mark.parametrize("part", range(3))
def test_every_page_fits_every_width_in_two_faces_and_axe_finds_nothing(
    open_page: Callable[..., Page], jobs: Jobs, part: int
) -> None:
    """All of it on a page that is loaded once."""
    from axe_playwright_python.base import AXE_FILE_PATH

    failed = jobs.add_a_day()
    page = open_page()
    page.context.add_init_script(path=AXE_FILE_PATH)
    wrong = []
    for path in (*PATHS, ASKED_FIRST)[part::3]:
        page.set_viewport_size({"width": 1440, "height": 900})
        page.emulate_media(color_scheme="light")
        show(page, path, failed)
        for face, widths in WIDTHS.items():
            page.evaluate("face => wear(face)", face)
            assert page.evaluate("face => document.fonts.check(`14px ${face}`)", face)
            for width in widths:
                page.set_viewport_size({"width": width, "height": 900})
                wrong += [(path, face, width, *found) for found in page.evaluate(MISFITS, width)]
        page.evaluate(WITHOUT_PICTURES)
        page.set_viewport_size({"width": 1440, "height": 900})
        wrong += [(path, "light", *found) for found in page.evaluate(AXE, {})]
        page.evaluate("wear('wide')")
        page.emulate_media(color_scheme="dark")
        page.set_viewport_size({"width": 390, "height": 900})
        wrong += [(path, "dark", *found) for found in page.evaluate(AXE, COLOURS_AND_PLACES)]
    assert wrong == []
