"""Somebody who follows the guides."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tests import programs
from tests.docs.blocks import ROOT
from tests.docs.surroundings import INSTEAD

if TYPE_CHECKING:
    from pathlib import Path

    from infra.local.stack import Stack

PATIENCE_SECONDS = 60


class Reader:
    """Has `make dev` running, its environment activated, and a folder of their own.

    Args:
        stack: What runs.
        folder: For their own.
        programs_at: Goes before the environment's own programs (`tests.preloaded`).
    """

    def __init__(self, stack: Stack, folder: Path, programs_at: Path) -> None:
        self._stack = stack
        self._folder = folder / "beside-dev"
        self._elsewhere = folder / "elsewhere"
        for each in (self._folder, self._elsewhere):
            each.mkdir()
            for name in ("functions", "infra", "tests", "benchmarks", "template.yaml"):
                (each / name).symlink_to(ROOT / name)
        (self._folder / ".stashjobs").symlink_to(stack.home)
        prices = ROOT / "shared" / "stashjobs" / "tools" / "prices.toml"
        (self._folder / "my-prices.toml").symlink_to(prices)
        (self._folder / "jobs.dump").touch()  # for `backup restore`, which is not run
        (self._folder / "app.py").write_text("import os; print(os.environ['QSTASH_URL'])")
        self.environment = {
            **os.environ,
            **stack.environment,
            "PATH": f"{sys.prefix}/bin:{os.environ['PATH']}",
            "PYTHONPATH": str(self._folder),
            "TOKEN": stack.environment["ADMIN_TOKEN"],
        }
        self._programs_at = programs_at

    @property
    def folder(self) -> Path:
        """Where the commands run."""
        return self._folder

    def run(self, script: str, standard_input: str = "") -> str:
        """What `bash` prints. A failure fails the test, with what was said."""
        programs.need_those_of(script)
        ran = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self._folder,
            env={**self.environment, "PATH": f"{self._programs_at}:{self.environment['PATH']}"},
            input=standard_input,
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
        assert ran.returncode == 0, f"{script}\n{ran.stdout}{ran.stderr}"
        return ran.stdout

    def serve(self, command: str) -> None:
        """Start what runs until it is stopped, wait until it says where it listens, stop it."""
        free_port = re.sub(r"--port \d+", "--port 0", command)
        with subprocess.Popen(
            ["bash", "-c", f"exec {free_port}"],
            cwd=self._elsewhere,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as server:
            assert server.stdout is not None
            said = ""
            for line in server.stdout:
                said += line
                if "http://127.0.0.1:" in line:
                    break
            server.terminate()
            said += server.stdout.read()
        assert "http://127.0.0.1:" in said, said

    def here(self, text: str) -> str:
        """The same with the ports of this system, and a job of it that waits."""
        ports = self._stack.ports
        written = {
            "127.0.0.1:8700": f"127.0.0.1:{ports.gateway}",
            "127.0.0.1:8705": f"127.0.0.1:{ports.stripe}",
            "localhost:8025": f"127.0.0.1:{ports.mailbox}",
            **INSTEAD,
        }
        for each, real in written.items():
            text = text.replace(each, real)
        if "JOB_ID" in text:
            command = "stashjobs enqueue create-notification --example --delay 3600 --json"
            text = text.replace("JOB_ID", json.loads(self.run(command))["jobId"])
        return text
