"""A small project in a temporary folder: a template, and handlers made of a few lines."""

import os
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from infra.local.gateway import Delivery, Gateway
from infra.local.lambda_runtime import LambdaRuntime
from infra.local.template import read_template

TEMPLATE = """
Resources:
  JobFunction:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: functions/
      Handler: functions.job.handler.handler
      Timeout: {timeout}
      Events:
        Job: {{Type: HttpApi, Properties: {{Path: '/jobs/{{name}}', Method: POST}}}}
        All: {{Type: HttpApi, Properties: {{Path: '/all/{{proxy+}}', Method: ANY}}}}
        One: {{Type: HttpApi, Properties: {{Path: /all/one, Method: GET}}}}
      {more}
"""


class Project:
    """A repository with one function, and everything that runs it."""

    def __init__(self, root: Path, exits: AsyncExitStack) -> None:
        self.root = root
        self.lines: list[str] = []
        self.deliveries: list[Delivery] = []
        self.runtime: LambdaRuntime
        self.gateway: Gateway
        self._exits = exits
        self.template(timeout=10)

    def template(self, *, timeout: float = 10, more: str = "") -> None:
        (self.root / "template.yaml").write_text(TEMPLATE.format(timeout=timeout, more=more))

    def write(self, code: str, path: str = "functions/job/handler.py") -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(code))

    async def start(self, **options: Any) -> None:
        integration_timeout = options.pop("integration_timeout", 30.0)
        self.runtime = LambdaRuntime(
            read_template(self.root / "template.yaml"),
            options.pop("environment", {}),
            self.root,
            log=lambda name, line: self.lines.append(f"{name} {line}"),
            **options,
        )
        self.gateway = Gateway(
            self.runtime,
            on_delivery=self.deliveries.append,
            integration_timeout=integration_timeout,
        )
        self._exits.push_async_callback(self.runtime.stop)
        self._exits.push_async_callback(self.gateway.stop)
        await self.gateway.start()

    async def invoke(self, event: object = None) -> Any:
        return await self.runtime.invoke("JobFunction", event)


@pytest.fixture
async def project(tmp_path: Path) -> AsyncIterator[Project]:
    async with AsyncExitStack() as exits:
        yield Project(tmp_path, exits)


def is_alive(pid: int) -> bool:
    """False also for a zombie: it holds nothing any more."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    try:
        return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def eventually(condition: Callable[[], object], seconds: float = 60) -> bool:
    """Wait until `condition` holds."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        if condition():
            return True
        time.sleep(0.02)
    return bool(condition())
