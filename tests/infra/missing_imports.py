"""Run inside an artefact: `python missing_imports.py functions.send_email`.

Imports every module of a package and looks for whatever a module would import later on, inside a
function. Prints what is missing as JSON, and from where things came.
"""

import ast
import importlib
import importlib.util
import json
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType


def modules(package: str) -> Iterator[ModuleType]:
    """The package and all in it."""
    found = importlib.import_module(package)
    yield found
    for each in pkgutil.iter_modules(getattr(found, "__path__", []), f"{package}."):
        yield from modules(each.name)


def imports(tree: ast.AST) -> Iterator[str]:
    """The names of all modules that are imported when the code runs."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        else:
            yield from imports(node)


def is_there(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def main(package: str) -> None:
    missing = [
        f"{module.__name__}: {name}"
        for module in modules(package)
        for name in imports(ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8")))
        if not is_there(name)
    ]
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    print(json.dumps({"missing": missing, "files": sorted(file for file in files if file)}))


if __name__ == "__main__":
    main(sys.argv[1])
