"""A program that is missing costs tests; the run says which, how many, and how to get it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import pgbouncer
from tests.programs import CHROMIUM, PGBOUNCER, Program, costs

if TYPE_CHECKING:
    from pathlib import Path

NOWHERE = Program(("no-such-program",), "apt-get install -y no-such-program")


def test_a_program_is_found_by_any_of_its_names() -> None:
    assert Program(("no-such-program", "sh"), "").path().endswith("/sh")


def test_without_a_program_a_test_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt-get install -y no-such-program"):
        NOWHERE.path()


def test_without_a_program_ci_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install -y no-such-program"):
        NOWHERE.path()


@pytest.mark.parametrize(
    ("ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)]
)
def test_without_pgbouncer_its_tests_are_skipped_but_fail_in_ci(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("tests.programs.SBIN", "/nowhere")
    with (
        pytest.raises(outcome, match=re.escape(PGBOUNCER.missing)),
        pgbouncer.running(tmp_path, "postgresql://127.0.0.1:9/none"),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


def test_the_tests_that_each_missing_program_cost_are_counted() -> None:
    skipped = ["Skipped: only Linux", *[f"Skipped: {CHROMIUM.missing}"] * 2, PGBOUNCER.missing]
    assert list(costs(skipped)) == [
        f"chromium is missing, so 2 tests were skipped. To run them: {CHROMIUM.install}",
        f"pgbouncer is missing, so 1 test was skipped. To run them: {PGBOUNCER.install}",
    ]


def test_the_last_line_of_a_run_says_what_is_missing(repository: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if "PYTEST" not in name}
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", "tests/browser"],
        cwd=repository,
        env=environment | {"PATH": "/nowhere", "CI": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout
    assert ran.stdout.splitlines()[-1].startswith("chromium is missing, so ")
