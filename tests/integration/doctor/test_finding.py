"""The report: what a check's own failure becomes, and what the command says."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from stashjobs.errors import SettingError
from stashjobs.tools import doctor
from stashjobs.tools.cli import main
from stashjobs.tools.doctor import postgres
from stashjobs.tools.doctor.finding import Check, Level, Verdict, green, red, run

if TYPE_CHECKING:
    from pathlib import Path


def crash() -> Verdict:
    raise RuntimeError("secret-of-a-test is wrong")


def test_a_check_that_crashes_is_a_red_finding_and_the_others_go_on(
    settings: pytest.MonkeyPatch,
) -> None:
    settings.setenv("QSTASH_TOKEN", "secret-of-a-test")
    crashed, fine = run([[Check("crash", crash), Check("fine", lambda: green("fine"))]])
    assert (crashed.level, fine.level) == (Level.RED, Level.GREEN)
    assert crashed.what == "the check failed: RuntimeError: [QSTASH_TOKEN] is wrong"


def test_a_check_that_does_not_answer_is_red_when_its_time_is_up() -> None:
    gate = threading.Event()

    def hang() -> Verdict:
        gate.wait(120)
        return green("late")

    began = time.monotonic()
    [finding] = run([[Check("hang", hang)]], seconds=0.1)
    gate.set()
    assert finding.level == Level.RED
    assert time.monotonic() - began < 60


def test_what_cannot_be_reached_is_said_once(settings: pytest.MonkeyPatch) -> None:
    settings.setenv("POSTGRES_URL", "postgresql://nobody:secret-word@127.0.0.1:9/none")
    first, *rest = run([postgres.CHECKS])
    assert (first.level, "\n" in first.what) == (Level.RED, False)
    assert first.what.startswith("cannot be reached: ")
    assert {(one.level, one.what) for one in rest} == {(Level.GREY, "not checked: see Postgres")}


def test_a_missing_setting_is_red_and_a_missing_package_is_not_checked() -> None:
    def setting() -> Verdict:
        raise SettingError("X is not set")

    def package() -> Verdict:
        raise ModuleNotFoundError("no", name="stripe")

    levels = [each.level for each in run([[Check("a", setting)], [Check("b", package)]])]
    assert levels == [Level.RED, Level.GREY]


def invoke(*arguments: str) -> Any:
    before = dict(os.environ)
    try:
        return CliRunner().invoke(main, ["doctor", *arguments])
    finally:
        os.environ.clear()
        os.environ.update(before)


@pytest.mark.parametrize(("verdict", "code"), [(green("good"), 0), (red("bad", "mend it"), 1)])
def test_red_is_the_exit_code_and_says_what_to_do(
    settings: pytest.MonkeyPatch, repository: Path, verdict: Verdict, code: int
) -> None:
    settings.chdir(repository)
    found = run([[Check("it", lambda: verdict)]])
    settings.setattr(doctor, "examine", lambda: found)
    result = invoke()
    assert result.exit_code == code
    assert ("-> mend it" in result.output) == bool(code)
    document = json.loads(invoke("--json").stdout)
    assert (document["worst"], document["findings"][0]["subject"]) == (verdict.level, "it")
