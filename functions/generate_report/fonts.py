"""The fonts of a report's PDF, which are embedded: those that every PDF reader has know neither the
minus sign nor the signs of most currencies."""

from __future__ import annotations

from fontpkg_ibm_plex_sans_condensed import ROOT
from reportlab.pdfbase.pdfmetrics import registerFont
from reportlab.pdfbase.ttfonts import TTFont

REGULAR, BOLD = "IBMPlexSansCondensed-Regular", "IBMPlexSansCondensed-Bold"


def _registered(name: str) -> TTFont:
    font = TTFont(name, ROOT / "files" / f"{name}.ttf")
    registerFont(font)
    return font


# Both faces have the same letters.
_LETTERS = frozenset(_registered(REGULAR).face.charToGlyph) & frozenset(
    _registered(BOLD).face.charToGlyph
)


def printable(text: str) -> str:
    """`text` in the letters that the fonts have; another is `?`. The HTML format has all."""
    return "".join(letter if ord(letter) in _LETTERS else _instead(letter) for letter in text)


def _instead(letter: str) -> str:
    return " " if letter.isspace() else "?"
