"""The guides name what there is: every check of the doctor, and commands that exist. (Messages:
`tests/docs/test_messages.py`.)"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from stashjobs.tools.cli import COMMANDS
from stashjobs.tools.doctor import GROUPS

ROOT = Path(__file__).parents[2]
DEPLOYMENT = (ROOT / "docs" / "deployment.md").read_text()
TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text()
CHECKS = [check.subject for group in GROUPS for check in group]


@pytest.mark.parametrize("subject", CHECKS)
def test_every_check_ticks_a_box_of_the_checklist(subject: str) -> None:
    assert f"**{subject}**" in DEPLOYMENT


@pytest.mark.parametrize("subject", sorted(set(re.findall(r"\*\*([^*.]+)\*\*", TROUBLESHOOTING))))
def test_troubleshooting_sends_nobody_to_a_check_that_is_not_there(subject: str) -> None:
    assert subject in CHECKS


@pytest.mark.parametrize(
    "command",
    sorted(set(re.findall(r"(?m)(?:^|`) *stashjobs ([a-z]+)", DEPLOYMENT + TROUBLESHOOTING))),
)
def test_every_command_of_the_guides_exists(command: str) -> None:
    assert command in COMMANDS
