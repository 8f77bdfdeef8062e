"""One family of errors: where they are, and where they are imported from."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

import stashjobs
from stashjobs import errors
from stashjobs.observability import redaction

if TYPE_CHECKING:
    from pathlib import Path

# What only a test or a developer's machine raises; the layer has neither folder.
ELSEWHERE = {"tools", "testing"}
EXCEPTIONS = {"Exception", "BaseException", "RuntimeError", "ValueError", "LookupError"}


def test_every_error_of_the_layer_is_in_errors(repository: Path) -> None:
    layer = repository / "shared/stashjobs"
    family = {name for name, value in vars(errors).items() if isinstance(value, type)}
    found = {
        f"{path.relative_to(layer)}: {node.name}"
        for path in layer.rglob("*.py")
        if path.relative_to(layer).parts[0] not in {*ELSEWHERE, "errors.py"}
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).rpartition(".")[2] in family | EXCEPTIONS for base in node.bases)
    }
    assert found == {
        # What Sentry is given in place of an exception. It is never raised.
        "observability/redaction.py: Redacted",
        # These two are caught where they are raised, and reach no caller.
        "producer/retry_delay.py: ExpressionError",
        "recovery/relay.py: _QStashTakesNone",
    }


def test_every_error_is_exported() -> None:
    declared = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert declared <= set(stashjobs.__all__)
    assert all(getattr(stashjobs, name) is getattr(errors, name) for name in declared)


def test_all_that_is_exported_is_there() -> None:
    assert [name for name in stashjobs.__all__ if not hasattr(stashjobs, name)] == []


@pytest.mark.parametrize(
    ("module", "told"),
    [
        ("fastapi", "pip install 'stashjobs[api]'"),
        ("aws_lambda_powertools.logging", "pip install 'stashjobs[worker]'"),
        ("PIL", "install the package that has it, and add it to the extra of that function"),
    ],
)
def test_a_missing_module_is_told_with_the_extra_that_brings_it(module: str, told: str) -> None:
    missing = ModuleNotFoundError(f"No module named {module!r}", name=module)
    assert errors.how_to_install(module) == told
    assert redaction.one_line(missing) == f"ModuleNotFoundError: {missing} ({told})"
