"""The code blocks of the README and the guides."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """What stands between two fences.

    Attributes:
        page: The file's path in the repository.
        line: Where it begins.
        language: The word behind the first fence; empty for a picture or an output.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(language: str | None = None) -> list[Block]:
    """All blocks, or those of one language, page by page."""
    found = [
        Block(
            str(page.relative_to(ROOT)),
            text.count("\n", 0, match.start()) + 1,
            match[1],
            match[2],
        )
        for page in PAGES
        for text in [page.read_text()]
        for match in FENCED.finditer(text)
    ]
    return [each for each in found if language is None or each.language == language]
