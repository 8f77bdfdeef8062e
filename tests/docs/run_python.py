"""`python -m tests.docs.run_python`: run the source on standard input, in which `async with` may
stand at the top, as it does in a guide."""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
from typing import Any

from stashjobs import database, dispatcher


def run(source: str) -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    code = compile(source, "<guide>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    try:
        result = eval(code, names)  # noqa: S307 - a guide of this repository
        if inspect.iscoroutine(result):
            asyncio.run(result)
    finally:
        database.close_pool()
        database.close()
        dispatcher.close()


if __name__ == "__main__":
    run(sys.stdin.read())
