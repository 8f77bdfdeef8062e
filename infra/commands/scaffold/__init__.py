"""What `stashjobs new` makes: the files of a new job type, and its entries in those there are.

Everything is worked out first, as text; nothing is written before all of it is known to fit. What
has to be listed where is what tests/infra asks for.
"""

from __future__ import annotations

import contextlib
import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from infra.commands.scaffold import entries
from infra.commands.scaffold.filling import filled
from infra.commands.scaffold.proof import prove
from infra.commands.scaffold.texts import Misfit, YamlText

if TYPE_CHECKING:
    from pathlib import Path

    from infra.commands.scaffold.wanted import Wanted

TEMPLATE = "template.yaml"
ALARMS = "infra/alarms.yaml"
DASHBOARD = "infra/dashboard.yaml"
OVERVIEW = "docs/creating-jobs.md"


@dataclass(frozen=True)
class Change:
    """One file. `before` is None where it is new."""

    path: str
    before: str | None
    after: str

    @property
    def diff(self) -> str:
        old = "/dev/null" if self.before is None else f"a/{self.path}"
        lines = difflib.unified_diff(
            (self.before or "").splitlines(keepends=True),
            self.after.splitlines(keepends=True),
            old,
            f"b/{self.path}",
        )
        return "".join(lines)


def work_out(root: Path, wanted: Wanted, jobs: list[str]) -> list[Change]:
    """All that the new type needs, as changes of files under `root`. Nothing is written.

    Args:
        root: The checkout.
        wanted: The new type.
        jobs: The types that there are, as the templates call them: `SendEmail`.

    Raises:
        Misfit: A file is not as it was when this was written, so there is no telling where an
            entry belongs; or nothing of the connections is left to give; or what would be written
            does not do what it is to do (`proof`).
    """
    changes = [
        Change(path, None, filled(name, wanted, format_it=path.endswith(".py")))
        for name, path in {
            "init.py.txt": f"functions/{wanted.folder}/__init__.py",
            "handler.py.txt": f"functions/{wanted.folder}/handler.py",
            "test.py.txt": f"tests/integration/{wanted.folder}/test_handler.py",
            "page.md.txt": f"docs/{wanted.type}.md",
        }.items()
    ]
    for path, edit in {TEMPLATE: _in_template, ALARMS: _in_alarms}.items():
        before = (root / path).read_text()
        text = YamlText(path, before)
        edit(text, wanted, jobs)
        changes.append(Change(path, before, text.text))
    for path, add in {DASHBOARD: entries.in_dashboard, OVERVIEW: entries.in_overview}.items():
        before = (root / path).read_text()
        changes.append(Change(path, before, add(path, before, wanted)))
    prove(root, {each.path: each.after for each in changes}, wanted)
    return changes


def carry_out(root: Path, changes: list[Change]) -> None:
    """Write all of them, or none: what was written before something went wrong is taken back.

    Raises:
        Misfit: A file is not what it was when the changes were worked out. Nothing was changed.
        OSError: Nothing was changed.
    """
    for change in changes:
        if _text_of(root / change.path) != change.before:
            raise Misfit(f"{change.path} was changed meanwhile; run this again")
    folders: list[Path] = []
    written: list[Change] = []
    try:
        for change in changes:
            path = root / change.path
            missing = [each for each in path.parents if not each.exists()]
            for folder in reversed(missing):
                folder.mkdir()
                folders.append(folder)
            written.append(change)
            _replace(path, change.after)
    except BaseException:
        for change in written:
            if change.before is None:
                (root / change.path).unlink(missing_ok=True)
            elif (root / change.path).read_text() != change.before:
                _replace(root / change.path, change.before)
        for folder in reversed(folders):
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


def _text_of(path: Path) -> str | None:
    return path.read_text() if path.exists() else None


def _replace(path: Path, text: str) -> None:
    """A reader sees the old text or the new one; the file keeps its mode and its ends of lines."""
    unfinished = path.with_name(f".{path.name}.new")
    by_windows = path.exists() and b"\r\n" in path.read_bytes()
    try:
        unfinished.write_text(text, newline="\r\n" if by_windows else "\n")
        if path.exists():
            unfinished.chmod(path.stat().st_mode & 0o777)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _in_template(text: YamlText, wanted: Wanted, jobs: list[str]) -> None:
    for budget in text.keys("Mappings", "Connections"):
        entries.share_connections(text, budget, wanted)
    functions = [f"{job}Function" for job in jobs]
    last = text.last_of(functions, "Resources").removesuffix("Function")
    text.add_after(filled("function.yaml.txt", wanted), "Resources", f"{last}Logs", apart=True)
    if wanted.has_url:
        entries.tell_function_url(text, wanted)
    output = f"{wanted.logical}FunctionName:\n  Value: !Ref {wanted.logical}Function\n"
    text.add_after(output, "Outputs", f"{last}FunctionName")


def _in_alarms(text: YamlText, wanted: Wanted, jobs: list[str]) -> None:
    slow = text.last_of([f"{job}IsSlow" for job in jobs], "Resources")
    text.add_after(filled("is_slow.yaml.txt", wanted), "Resources", slow, apart=True)
    stack = text.last_of(jobs, "Resources")
    text.add_after(filled("alarms.yaml.txt", wanted), "Resources", stack, apart=True)
    output = f"{wanted.logical}Errors:\n  Value: !GetAtt {wanted.logical}.Outputs.Errors\n"
    text.add_after(output, "Outputs", f"{stack}Errors")
