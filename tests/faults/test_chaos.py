"""A small chaos run; `make chaos N=20000` is the large one."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


def test_a_chaos_run_loses_and_doubles_nothing(repository: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "infra.local.chaos"]
    options = ["--jobs", "150", "--seed", "7", "--seconds", "240"]
    run = subprocess.run(
        [*command, *options], cwd=repository, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "--seed 7" in run.stdout
