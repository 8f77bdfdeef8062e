"""docs/producers.md: apps in other languages enqueue jobs, and the jobs come to their end."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from playwright._impl._driver import compute_driver_executable

from infra.local.stack import in_thread
from tests import programs
from tests.stacks import ROOT, ended, local_stack

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "producers.md").read_text()
BLOCKS = re.findall(r"^```(sh|ts|python)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
# Playwright brings a Node along that runs TypeScript as it is.
NODE = str(compute_driver_executable()[0])
SAID = ["From curl.", "From TypeScript.", "From Python.", "From a Python app."]
ORIGINAL = "From a Node.js app."


def run(language: str, source: str, folder: Path) -> str:
    """The block's last line of output."""
    if language == "sh":
        programs.need_those_of(source)
        command = ["bash", "-euo", "pipefail", "-c", source]
    elif language == "ts":
        file = folder / "producer.mts"
        file.write_text(source)
        command = [NODE, str(file)]
    else:
        command = [sys.executable, "-W", "error", "-c", f"import json\n{source}"]
    done = subprocess.run(
        command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, f"{source}\n{done.stdout}{done.stderr}"
    return done.stdout.strip().splitlines()[-1]


async def test_every_example_enqueues_a_job_that_is_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local_stack(tmp_path / "stack", monkeypatch) as stack:
        monkeypatch.setenv("TOKEN", stack.environment["ADMIN_TOKEN"])
        monkeypatch.setenv("PATH", f"{sys.prefix}/bin:{os.environ['PATH']}")
        for said in [*SAID, ORIGINAL]:
            [(language, source)] = [each for each in BLOCKS if said in each[1]]
            answer = await in_thread(lambda s=source, ln=language: run(ln, s, tmp_path))  # type: ignore[misc]
            job = await ended(json.loads(answer)["jobId"])
            assert (job.job_type, job.status) == ("create-notification", "completed"), job.error
            assert job.attempt == 1
            if said == ORIGINAL:  # made from the message, when it was delivered
                assert (job.user_id, job.organization_id) == ("u_1", "o_1")


@pytest.mark.parametrize("said", [*SAID, ORIGINAL])
def test_every_example_is_on_the_page_once(said: str) -> None:
    assert sum(said in source for _, source in BLOCKS) == 1
