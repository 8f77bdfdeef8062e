"""The texts of a new type, filled in from the templates; and the names that these need."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import symtable
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import jinja2

from infra.commands.scaffold.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPLATES = jinja2.Environment(  # noqa: S701 - code and Markdown, not HTML
    block_start_string="<%",
    block_end_string="%>",
    variable_start_string="<<",
    variable_end_string=">>",
    trim_blocks=True,
    keep_trailing_newline=True,
    undefined=jinja2.StrictUndefined,
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
)
EXAMPLE = Wanted("example-of-mine", "/example", timeout=1, retries=0)


def filled(name: str, wanted: Wanted) -> str:
    """A template with the type's values, its Python formatted as `make check` wants it."""
    text = TEMPLATES.get_template(f"{name}.txt").render(wanted.values())
    if not name.endswith(".py") or importlib.util.find_spec("ruff") is None:
        return text
    command = [sys.executable, "-m", "ruff", "format", "--line-length", "100", "-"]
    formatted = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    # What is no Python stays as it is; `proof` says why.
    return text if formatted.returncode else formatted.stdout


@cache
def names_in_use() -> frozenset[str]:
    """What the modules of every type call something else by: what they import and from which
    packages, their parameters and their variables. The members of a class do not count."""
    found: set[str] = set()
    for name in ("handler.py", "test.py"):
        for wanted in (EXAMPLE, replace(EXAMPLE, encrypted=True)):
            text = filled(name, wanted)
            found |= set(re.findall(r"^from (\w+)", text, re.MULTILINE))
            for scope in _scopes(symtable.symtable(text, name, "exec")):
                is_class = scope.get_type() == "class"
                found |= {
                    symbol.get_name()
                    for symbol in scope.get_symbols()
                    if not (is_class and symbol.is_local())
                }
    return frozenset(found - set(EXAMPLE.python_names))


def _scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _scopes(child)
