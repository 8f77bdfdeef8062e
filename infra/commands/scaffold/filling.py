"""The texts of a new type, filled in from the templates; and the names that these need."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import subprocess
import symtable
import sys
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from infra.commands.scaffold.texts import Misfit
from infra.commands.scaffold.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPLATES = Path(__file__).parent / "templates"
# Those into which the new type brings names of its own.
MODULES = ("handler.py.txt", "test.py.txt")
CONDITIONAL = re.compile(r"<<if (not )?(\w+)>>\n(.*?)<<end>>\n", re.DOTALL)
EXAMPLE = Wanted("example-of-mine", "/example", timeout=1, retries=0, schedule="")


def filled(name: str, wanted: Wanted, *, format_it: bool = False) -> str:
    """A template with each `<<name>>` filled in; `<<name!r>>` is a literal of Python's. What stands
    from a line `<<if name>>` to a line `<<end>>` is there only where that is so.

    Raises:
        Misfit: What comes out cannot be formatted as Python.
    """
    values = wanted.values()

    def chosen(match: re.Match[str]) -> str:
        negated, condition, body = match.groups()
        return body if bool(values[condition]) != bool(negated) else ""

    text = _with_values(CONDITIONAL.sub(chosen, (TEMPLATES / name).read_text()), wanted)
    return _formatted(name, text) if format_it else text


@cache
def names_in_use() -> frozenset[str]:
    """What the modules of every type call something else by: what they import and from which
    packages, their parameters and their variables. The members of a class do not count."""
    found: set[str] = set()
    for name in MODULES:
        every_case = CONDITIONAL.sub(lambda match: match[3], (TEMPLATES / name).read_text())
        text = _with_values(every_case, EXAMPLE)
        found |= {
            node.module.split(".")[0]
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.ImportFrom) and node.module
        }
        for table in _scopes(symtable.symtable(text, name, "exec")):
            is_class = table.get_type() == "class"
            found |= {
                symbol.get_name()
                for symbol in table.get_symbols()
                if not (is_class and symbol.is_local())
            }
    return frozenset(found - set(EXAMPLE.python_names))


def _scopes(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    yield table
    for child in table.get_children():
        yield from _scopes(child)


def _with_values(text: str, wanted: Wanted) -> str:
    values = wanted.values()

    def value(match: re.Match[str]) -> str:
        # A text of JSON's is one of Python's too, in double quotes.
        plain = values[match[1]]
        return json.dumps(plain, ensure_ascii=False) if match[2] else str(plain)

    return re.sub(r"<<(\w+)(!r)?>>", value, text)


def _formatted(name: str, python: str) -> str:
    """As `make check` wants it: how lines break depends on how long the names are."""
    if importlib.util.find_spec("ruff") is None:
        return python
    command = [sys.executable, "-m", "ruff", "format", "--line-length", "100", "-"]
    done = subprocess.run(command, input=python, capture_output=True, text=True, check=False)
    if done.returncode:
        said = " ".join(done.stderr.split())
        raise Misfit(f"{name}: ruff does not format what was made from it: {said}")
    return done.stdout
