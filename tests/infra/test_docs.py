"""The guides name what there is: every check of the doctor, and commands that exist. (Messages:
`tests/docs/test_messages.py`.)"""

from __future__ import annotations

import re
from pathlib import Path

from stashjobs.tools.cli import COMMANDS
from stashjobs.tools.doctor import GROUPS

ROOT = Path(__file__).parents[2]
DEPLOYMENT = (ROOT / "docs" / "deployment.md").read_text()
TROUBLESHOOTING = (ROOT / "docs" / "troubleshooting.md").read_text()
CHECKS = [check.subject for group in GROUPS for check in group]


def test_every_check_ticks_a_box_of_the_checklist() -> None:
    assert [subject for subject in CHECKS if f"**{subject}**" not in DEPLOYMENT] == []


def test_troubleshooting_sends_nobody_to_a_check_that_is_not_there() -> None:
    named = set(re.findall(r"\*\*([^*.]+)\*\*", TROUBLESHOOTING))
    assert named
    assert named <= set(CHECKS)


def test_every_command_of_the_guides_exists() -> None:
    guides = DEPLOYMENT + TROUBLESHOOTING
    named = set(re.findall(r"(?m)(?:^|`) *stashjobs ([a-z][a-z-]*)", guides))
    assert named
    assert named <= COMMANDS.keys()
