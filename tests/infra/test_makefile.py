"""What `make` does on machines that differ, without doing it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def make(*arguments: str, **variables: str) -> str:
    """What it says."""
    return subprocess.run(
        ["make", *arguments],
        cwd=ROOT,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=True,
    ).stdout


@pytest.mark.parametrize(("target", "upgrades"), [("lock", False), ("upgrade", True)])
def test_only_an_upgrade_moves_pins_that_still_fit(target: str, upgrades: bool) -> None:
    commands = make("--dry-run", "--assume-old=.venv/.ready", target).split("uv pip compile")[1:]
    assert len(commands) > 5
    assert {"--upgrade" in command for command in commands} == {upgrades}
    assert {"--system-certs" in command for command in commands} == {True}


def test_a_cache_that_cannot_be_written_to_is_replaced_and_told(tmp_path: Path) -> None:
    show = "show:;@echo $$UV_CACHE_DIR"
    usable, unusable = tmp_path / "not/yet", tmp_path / "file/uv"
    (tmp_path / "file").touch()
    assert make("--eval", show, "show", UV_CACHE_DIR=str(usable)) == f"{usable}\n"
    told, used = make("--eval", show, "show", UV_CACHE_DIR=str(unusable)).splitlines()
    assert used == str(ROOT / ".venv/.uv-cache")
    assert told == (
        f"{tmp_path / 'file'} cannot be written to, so packages are kept in {used}; "
        "set UV_CACHE_DIR to keep them elsewhere."
    )


def test_processes_keep_what_they_compile() -> None:
    show = "show:;@echo $${PYTHONDONTWRITEBYTECODE-kept}"
    assert make("--eval", show, "show", PYTHONDONTWRITEBYTECODE="1") == "kept\n"


def test_a_python_that_is_too_old_is_told_in_one_sentence(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    given = [f"PYTHON={old}", f"VENV={tmp_path / 'venv'}", f"{tmp_path / 'venv'}/.ready"]
    ran = subprocess.run(["make", *given], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert f"Python 3.11 or newer is needed, and {old} is not: install one" in ran.stderr
    assert not (tmp_path / "venv").exists()
