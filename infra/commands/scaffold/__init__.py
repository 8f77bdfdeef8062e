"""What `stashjobs new` makes: the files of a new job type, and its entries in those there are.

Everything is worked out first, as text; nothing is written before all of it is known to fit. What
has to be listed where is what tests/infra asks for.
"""

from __future__ import annotations

import contextlib
import difflib
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.commands.scaffold.entries import (
    LISTS_TYPES,
    TEMPLATE,
    entries,
    insert,
    share_connections,
)
from infra.commands.scaffold.filling import filled
from infra.commands.scaffold.proof import Misfit, prove, prove_templates

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from infra.commands.scaffold.wanted import Wanted


@dataclass(frozen=True)
class Change:
    """One file. `before` is None where it is new."""

    path: str
    before: str | None
    after: str

    @property
    def diff(self) -> str:
        lines = difflib.unified_diff(
            (self.before or "").splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            "/dev/null" if self.before is None else f"a/{self.path}",
            f"b/{self.path}",
        )
        return "".join(lines)


def new_files(wanted: Wanted) -> dict[str, str]:
    """The texts of those that are the type's own, by their paths."""
    return {
        f"functions/{wanted.folder}/__init__.py": filled("init.py", wanted),
        f"functions/{wanted.folder}/handler.py": filled("handler.py", wanted),
        f"tests/integration/{wanted.folder}/test_handler.py": filled("test.py", wanted),
        f"docs/{wanted.type}.md": filled("page.md", wanted),
    }


def listed(texts: Mapping[str, str], wanted: Wanted) -> dict[str, str]:
    """Those of the texts (by their paths) in which the type is listed, with its entries.

    Raises:
        Misfit: A file has no place for an entry, or no connection is left to give.
    """
    after: dict[str, str] = {}
    for path, place, entry in entries(wanted):
        after[path] = insert(path, after.get(path, texts[path]), place, entry)
    after[TEMPLATE] = share_connections(
        after[TEMPLATE], f"{wanted.logical}Function", wanted.parallelism
    )
    return after


def work_out(root: Path, wanted: Wanted) -> list[Change]:
    """All that the new type needs, as changes of files under `root`. Nothing is written.

    Raises:
        Misfit: A file has no place for an entry, or no connection is left to give, or what would
            be written does not do what it is to do (`proof`).
    """
    before = {path: (root / path).read_text() for path in LISTS_TYPES}
    after = new_files(wanted) | listed(before, wanted)
    prove(root, after, wanted)
    return [Change(path, before.get(path), text) for path, text in after.items()]


def list_anew(root: Path, wanted: Wanted) -> list[Change]:
    """The entries alone, of a type whose code is there. Nothing is written.

    Raises:
        Misfit: As `work_out`.
    """
    before = {path: (root / path).read_text() for path in LISTS_TYPES}
    after = listed(before, wanted)
    prove_templates(after, wanted)
    return [Change(path, before[path], text) for path, text in after.items()]


def carry_out(root: Path, changes: list[Change]) -> None:
    """Write all of them, or none: what was written before something went wrong is taken back.

    Raises:
        Misfit: A file is not what it was when the changes were worked out. Nothing was changed.
        OSError: Nothing was changed.
    """
    for change in changes:
        path = root / change.path
        if (path.read_text() if path.exists() else None) != change.before:
            raise Misfit(f"{change.path} was changed meanwhile; run this again")
    written: list[Change] = []
    try:
        for change in changes:
            written.append(change)
            _replace(root / change.path, change.after)
    except BaseException:
        for change in written:
            path = root / change.path
            if change.before is not None:
                if path.read_text() != change.before:
                    _replace(path, change.before)
                continue
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # others' files are in it
                path.parent.rmdir()
        raise


def _replace(path: Path, text: str) -> None:
    """A reader sees the old text or the new one; the file keeps its mode and its ends of lines."""
    path.parent.mkdir(parents=True, exist_ok=True)
    by_windows = path.exists() and b"\r\n" in path.read_bytes()
    unfinished = path.with_name(f".{path.name}.new")
    try:
        unfinished.write_text(text, newline="\r\n" if by_windows else "\n")
        if path.exists():
            shutil.copymode(path, unfinished)
        unfinished.replace(path)
    finally:
        with contextlib.suppress(OSError):
            unfinished.unlink()
