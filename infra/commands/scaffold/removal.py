"""What `stashjobs remove` takes out: the reverse of `work_out`, whatever was written into the files
of the type meanwhile."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from infra.commands.scaffold import Change, carry_out
from infra.commands.scaffold.entries import ALARMS, DASHBOARD, LISTS_TYPES, TEMPLATE, without
from infra.commands.scaffold.proof import Misfit, read

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from infra.commands.scaffold.wanted import Wanted

ENDS = "(?:Function|FunctionName|FunctionUrl|IsSlow|Logs|NewVersionErrors)"


def own_files(root: Path, wanted: Wanted) -> list[Path]:
    """The folders and the page that are the type's alone, as far as they are there."""
    own = (
        f"functions/{wanted.folder}",
        f"tests/integration/{wanted.folder}",
        f"docs/{wanted.type}.md",
    )
    return [root / path for path in own if (root / path).exists()]


def work_out(root: Path, wanted: Wanted) -> list[Change]:
    """The files that list the type, without it. Nothing is written.

    Raises:
        Misfit: An entry would be left, or a file cannot be read.
    """
    before = {path: (root / path).read_text() for path in LISTS_TYPES}
    after = without(before, wanted)
    refuse_rest(after, wanted)
    with tempfile.TemporaryDirectory() as name:
        copy = Path(name) / TEMPLATE
        copy.write_text(after[TEMPLATE])
        read(copy)
    return [
        Change(path, before[path], after[path]) for path in before if before[path] != after[path]
    ]


def refuse_rest(texts: Mapping[str, str], wanted: Wanted) -> None:
    """Leave nothing in a template that names what is gone.

    Raises:
        Misfit: The message quotes the line.
    """
    for path in (TEMPLATE, ALARMS, DASHBOARD):
        if left := re.search(rf"^.*\b{wanted.logical}{ENDS}\b.*", texts[path], re.MULTILINE):
            raise Misfit(
                f"{path} names {wanted.type} in {left[0].strip()!r}; take that out yourself, then "
                "run this again"
            )


def users(root: Path, wanted: Wanted) -> list[str]:
    """The files of others that import the type, by their paths."""
    own = own_files(root, wanted)
    name = rf"functions(?:\.| import (?:.*\b)?){wanted.folder}\b"
    imported = re.compile(rf"^\s*(?:from|import) {name}", re.MULTILINE)
    return [
        str(path.relative_to(root))
        for path in _code(root)
        if not any(path.is_relative_to(each) for each in own)
        if imported.search(path.read_text(errors="replace"))
    ]


def _code(root: Path) -> Iterator[Path]:
    for folder in ("functions", "infra", "tests"):
        yield from sorted((root / folder).rglob("*.py"))


def remove(root: Path, changes: list[Change], own: list[Path]) -> None:
    """Write the changes and delete the files, all of it or nothing.

    Raises:
        Misfit: A file is not what it was when the changes were worked out. Nothing was changed.
        OSError: Nothing was changed.
    """
    with tempfile.TemporaryDirectory(dir=root, prefix=".stashjobs-removed-") as name:
        moved: list[tuple[Path, Path]] = []
        try:
            for number, path in enumerate(own):
                moved.append((path, Path(name) / str(number)))
                path.rename(moved[-1][1])
            carry_out(root, changes)
        except BaseException:
            for path, aside in moved:
                with contextlib.suppress(FileNotFoundError):
                    aside.rename(path)
            raise
        shutil.rmtree(name, ignore_errors=True)
        Path(name).mkdir(exist_ok=True)  # what `TemporaryDirectory` deletes at its end
