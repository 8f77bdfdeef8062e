"""Every link between the pages leads to what is there."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

from tests.docs.blocks import FENCED, ROOT

if TYPE_CHECKING:
    from pathlib import Path

PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob(".github/**/*.md")])
INDEX = ROOT / "docs" / "README.md"
LINK = re.compile(r"\]\(([^)\s]+)\)")
MADE_BY_THE_READER = {
    "functions/say_hello/handler.py",
    "functions/send_sms/handler.py",
    "tests/integration/say_hello/test_handler.py",
}
ELSEWHERE = re.compile(r"(https?|mailto):")


def prose(page: Path) -> str:
    return re.sub(r"`[^`\n]*`", "", FENCED.sub("", page.read_text()))


@cache
def anchors(page: Path) -> set[str]:
    """GitHub's: the heading in lower case, without punctuation, its spaces as hyphens."""
    headings = re.findall(r"^#+ (.+)$", FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links(page: Path) -> list[tuple[Path, str]]:
    """Of one page: the file that each link leads to, and the place in it."""
    found = [link for link in LINK.findall(prose(page)) if not ELSEWHERE.match(link)]
    parted = [link.partition("#") for link in found]
    return [
        ((page.parent / file).resolve() if file else page, anchor) for file, _, anchor in parted
    ]


def test_every_link_leads_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {file}#{anchor}"
        for page in PAGES
        for file, anchor in links(page)
        if not file.exists() or (anchor and anchor not in anchors(file))
    ]
    assert broken == []


def test_the_index_lists_every_page_once() -> None:
    """But the pages of job types that `stashjobs new` has made: its table lists them."""
    listed = [file for file, _ in links(INDEX) if file.parent == INDEX.parent]
    of_types = {file for file, _ in links(INDEX.with_name("creating-jobs.md"))} - set(listed)
    assert sorted(listed) == sorted(set(ROOT.glob("docs/*.md")) - {INDEX} - of_types)


def test_every_source_file_that_a_page_names_is_there() -> None:
    named = re.compile(
        r"`((?:functions|shared|infra|tests|benchmarks|docs)/[\w/.-]+\.(?:py|sql|yaml|md|sh))(?:::\w+)?`"
    )
    missing = [
        f"{page.name}: {file}"
        for page in PAGES
        for file in named.findall(page.read_text())
        if not (ROOT / file).exists() and file not in MADE_BY_THE_READER
    ]
    assert missing == []


def test_every_test_that_a_page_names_is_there() -> None:
    named = {
        pair
        for page in PAGES
        for pair in re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", page.read_text())
    }
    assert named
    missing = [
        f"{file}::{name}" for file, name in named if f"def {name}(" not in (ROOT / file).read_text()
    ]
    assert missing == []
