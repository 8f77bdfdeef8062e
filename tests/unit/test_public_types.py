"""`tests/typing/example_app.py`, which type checkers look at, leaves out nothing that is public."""

from __future__ import annotations

import ast
from pathlib import Path

import stashjobs

APP = Path(__file__).parents[1] / "typing" / "example_app.py"


def test_the_example_app_uses_everything_that_is_exported() -> None:
    imported = {
        alias.name
        for node in ast.walk(ast.parse(APP.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "stashjobs"
        for alias in node.names
    }
    assert imported == set(stashjobs.__all__)


def test_the_package_says_that_it_is_typed() -> None:
    assert (Path(stashjobs.__file__).parent / "py.typed").exists()
