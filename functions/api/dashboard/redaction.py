"""What a page shows of a payload (`operators.masking`), and what becomes of it by an edit.

A hidden value is stood in for by `HIDDEN`. An operator who edits such a payload writes the value
anew: put back, it could be sent wherever the rest was edited to.
"""

from __future__ import annotations

from typing import Any

from stashjobs.operators.masking import HIDDEN, is_secret, mask, mask_text

__all__ = [
    "HIDDEN", "CannotRestore", "error_kind", "excerpt", "is_secret", "mask", "mask_text", "restore",
]  # fmt: skip
EXCERPT = 300
LONGEST_KIND = 80


class CannotRestore(ValueError):
    """A payload was edited, and a value of it is still hidden. The message says where."""


def excerpt(text: str) -> str:
    """The beginning of an error, for one line of a table. Masked before it is cut: a part of a key
    could not be told by its form."""
    return mask_text(text)[:EXCERPT]


def error_kind(text: str) -> str:
    """What comes before the colon of an error, or its beginning, as far as nothing is hidden in
    it: a word to look for in other errors."""
    return mask_text(text).partition(":")[0].partition(HIDDEN)[0][:LONGEST_KIND].rstrip()


def restore(edited: Any, original: Any) -> Any:
    """The original where nothing was edited, else the edited document, which must have no hidden
    value then: what else was changed may be where the secret goes to.

    Raises:
        CannotRestore: A value is hidden, and something was edited. The message says where.
    """
    if edited == mask(original):
        return original
    _refuse_hidden(edited, "payload")
    return edited


def _refuse_hidden(edited: Any, place: str) -> None:
    if isinstance(edited, dict):
        for name, value in edited.items():
            _refuse_hidden(value, f"{place}.{name}")
    elif isinstance(edited, list):
        for index, value in enumerate(edited):
            _refuse_hidden(value, f"{place}[{index}]")
    elif isinstance(edited, str) and HIDDEN in edited:
        raise CannotRestore(
            f"{place}: a hidden value is kept only where nothing is edited; write the value itself"
        )
