"""From a signed POST to a completed row, over the whole local system: by the very commands of
docs/webhooks.md."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
from dotenv import dotenv_values

from infra.local.stack import Stack, in_thread
from tests import programs
from tests.clusters import make_ready
from tests.stacks import ROOT, ended

if TYPE_CHECKING:
    import pytest

PAGE = (ROOT / "docs" / "webhooks.md").read_text()
[SETTINGS] = re.findall(r"```dotenv\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)


async def run(command: str, stack: Stack) -> str:
    """Run a command of the page in a shell, next to the stack's own `.stashjobs`."""
    programs.need_those_of(command)
    told = command.replace("http://127.0.0.1:8700", stack.urls["app"])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    answer = await in_thread(
        lambda: subprocess.run(
            ["sh", "-euc", told],
            cwd=stack.home.parent,
            env={"PATH": path, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=False,
        )
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout


async def test_every_command_of_the_page_ends_in_a_completed_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {name: value or "" for name, value in dotenv_values(stream=io.StringIO(SETTINGS)).items()}
    make_ready(tmp_path / ".stashjobs" / "postgres")
    async with Stack(ROOT, tmp_path / ".stashjobs", durable=False, settings=own) as stack:
        monkeypatch.setenv("POSTGRES_URL", stack.environment["POSTGRES_URL"])
        *posts, by_hand = [await run(command, stack) for command in COMMANDS]
        answers = [json.loads(post) for post in posts]
        assert all(answer["created"] is True for answer in answers), answers
        github, resend, stripe, acme = [await ended(answer["jobId"]) for answer in answers]
        example = await ended(by_hand.split()[0])

        done = [github, resend, stripe, acme, example]
        assert [(job.status, job.attempt) for job in done] == [("completed", 1)] * 5
        assert github.result["summary"] == "ada opened acme/app issue #1: It breaks"
        assert resend.result["status"] == "bounced"
        assert stripe.result["ignored"] == "customer.created"
        assert acme.result == {"ignored": "no handler for acme order.paid"}
        assert example.result["summary"].startswith("octocat pushed 1 commit")
        with psycopg.connect(stack.urls["postgres"]) as connection:
            assert connection.execute("SELECT status, reason FROM emails").fetchall() == [
                ("bounced", "Permanent General: No such mailbox.")
            ]
