"""What a contributor relies on: the hooks and the command line's page."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from stashjobs.tools.cli import COMMANDS

ROOT = Path(__file__).parents[2]
HOOKS: list[dict[str, Any]] = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())[
    "repos"
][0]["hooks"]
MAKEFILE = (ROOT / "Makefile").read_text()


def test_the_hooks_are_a_valid_configuration() -> None:
    command = [sys.executable, "-m", "pre_commit", "validate-config", ".pre-commit-config.yaml"]
    subprocess.run(command, cwd=ROOT, check=True)


@pytest.mark.parametrize("hook", HOOKS, ids=lambda hook: hook["id"])
def test_a_hook_runs_what_make_check_runs(hook: dict[str, Any]) -> None:
    tool, *options = hook["entry"].removeprefix(".venv/bin/").split()
    assert (Path(sys.prefix) / "bin" / tool).exists()
    command = " ".join([tool, *(each for each in options if each != "--force-exclude")])
    recipe = MAKEFILE.partition("\ncheck:")[2].partition("\n\n")[0]
    assert command in recipe.replace("ruff check\n", "ruff check \n")


def test_every_command_is_on_the_page_of_the_command_line() -> None:
    table = (ROOT / "docs" / "command-line.md").read_text()
    named = re.findall(r"`([a-z-]+)`", "\n".join(re.findall(r"^\| (`.+?) \|", table, re.MULTILINE)))
    assert sorted(named) == sorted(COMMANDS)
