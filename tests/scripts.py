"""Programs that tests put in another's place."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def write_python(program: Path, source: str) -> None:
    """A program that runs this source by this Python, whose path may have spaces: a first line
    `#!` takes none (execve(2), "Interpreter scripts")."""
    code = program.with_name(f"{program.name}_source.py")
    code.write_text(source)
    command = shlex.join([sys.executable, str(code)])
    program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
    program.chmod(0o755)
