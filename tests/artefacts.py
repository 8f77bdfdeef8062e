"""What goes to Lambda, built for this machine by the rules of `make build`, run as Lambda runs it.

A function's process sees three folders, as in Lambda (AWS docs, "Search path for Python runtimes"):
its own code, the layer, and what the runtime brings along. Of this checkout it sees nothing.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from infra.local.lambda_runtime import new_trace_id
from infra.local.template import REGION, read_template
from infra.local.worker_process import Invocation, WorkerProcess

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

ROOT = Path(__file__).parents[1]
LAYER = "SharedLayer"
FUNCTIONS = read_template(ROOT / "template.yaml").functions
LAMBDA_PYTHON = "3.13"
# `true` where it may not be missing: in GitHub's workflows, which install it.
REQUIRED = "REQUIRE_LAMBDA_PYTHON"
# uv is where the tests' Python is; a `make test` that runs all this passes on nothing of its own.
ENVIRONMENT = {
    **{name: value for name, value in os.environ.items() if not name.startswith("MAKE")},
    "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
}


def folder_of(function: str) -> str:
    """`SendEmailFunction` is `send_email`."""
    return FUNCTIONS[function].handler.split(".")[1]


def make(target: str, artifacts: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one target as `sam build` does, in the folder that the template names."""
    makefile = ROOT / ("shared" if target == f"build-{LAYER}" else "functions") / "Makefile"
    given = [f"{name}={value}" for name, value in variables.items()]
    return subprocess.run(
        ["make", "--makefile", makefile, target, f"ARTIFACTS_DIR={artifacts}", *given],
        cwd=makefile.parent,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )


def build(name: str, folder: Path, **variables: str) -> Path:
    """Build one artefact. Where the registry cannot be reached the test is skipped, never in CI."""
    done = make(f"build-{name}", folder / name, **variables)
    if done.returncode:
        no_registry = "Failed to fetch" in done.stderr or "error sending request" in done.stderr
        if no_registry and os.environ.get("CI") != "true":
            pytest.skip(f"the package registry cannot be reached: {done.stderr}")
        pytest.fail(f"{name}: {done.stdout}{done.stderr}")
    return folder / name


@dataclass(frozen=True)
class Artefacts:
    """All of them, and a Python that can run them."""

    folder: Path
    python: str
    version: str

    @classmethod
    def for_this_machine(cls, folder: Path) -> Artefacts:
        """Not built yet. The Python is Lambda's own version where this machine has it; else the
        tests' own, unless `REQUIRED` forbids it."""
        own = f"{sys.version_info.major}.{sys.version_info.minor}"
        found = make("compiler", folder, PYTHON_VERSION=LAMBDA_PYTHON).stdout.strip()
        if not found and os.environ.get(REQUIRED) == "true":
            pytest.fail(f"no Python {LAMBDA_PYTHON} here, which {REQUIRED} asks for: install it")
        return cls(folder, found or sys.executable, LAMBDA_PYTHON if found else own)

    @property
    def variables(self) -> dict[str, str]:
        """What make is told about this machine."""
        machine = platform.machine().replace("arm64", "aarch64")
        kind = "apple-darwin" if sys.platform == "darwin" else "manylinux_2_28"
        return {"PLATFORM": f"{machine}-{kind}", "PYTHON_VERSION": self.version}

    @property
    def layer(self) -> Path:
        return self.folder / LAYER / "python"

    def build(self) -> None:
        """The layer, every function, and what Lambda's runtime brings along."""
        with ThreadPoolExecutor(2) as pool:
            names = [LAYER, *FUNCTIONS]
            list(pool.map(lambda name: build(name, self.folder, **self.variables), names))
        subprocess.run(
            [
                *("uv", "pip", "install", "--quiet", "--system-certs", "--only-binary", ":all:"),
                *("--target", self.folder / "runtime", "--python-version", self.version),
                *("--python-platform", self.variables["PLATFORM"]),
                *("--constraint", ROOT / "requirements/dev.txt", "awslambdaric", "boto3"),
            ],
            env=ENVIRONMENT,
            check=True,
        )

    def environment(self, function: str) -> dict[str, str]:
        """What Lambda sets. There are no time zones: nobody says that Lambda has them."""
        paths = (self.folder / function, self.layer, self.folder / "runtime")
        return {
            "LANG": "en_US.UTF-8",
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PYTHONTZPATH": "",
            "TZ": ":UTC",
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{self.version}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(FUNCTIONS[function].memory),
            "AWS_LAMBDA_FUNCTION_NAME": function,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_LOG_FORMAT": "JSON",
            "AWS_REGION": REGION,
            "AWS_DEFAULT_REGION": REGION,
            "LAMBDA_TASK_ROOT": str(self.folder / function),
            "_HANDLER": FUNCTIONS[function].handler,
        }

    @property
    def command(self) -> tuple[str, ...]:
        """-S: without the packages of the Python's own installation."""
        return (self.python, "-S", "-P")

    @asynccontextmanager
    async def running(
        self, function: str, settings: Mapping[str, str], log: Callable[[str], None]
    ) -> AsyncIterator[Running]:
        """A fresh process of one function."""
        process = WorkerProcess(
            FUNCTIONS[function].handler, code_version=0, log=log, python=self.command
        )
        environment = {**self.environment(function), **settings}
        await process.start(environment, self.folder / function)
        try:
            yield Running(function, process)
        finally:
            process.kill()
            await process.exited.wait()


@dataclass(frozen=True)
class Running:
    """One process of one function."""

    function: str
    process: WorkerProcess

    async def invoke(self, event: object) -> bytes:
        """Its answer to one event.

        Raises:
            FunctionFailedError: It failed, or could not be imported.
        """
        return await self.process.run(
            Invocation(
                request_id=str(uuid.uuid4()),
                payload=json.dumps(event).encode(),
                timeout=FUNCTIONS[self.function].timeout,
                arn=f"arn:aws:lambda:{REGION}:123456789012:function:{self.function}",
                trace_id=new_trace_id(),
                answer=asyncio.get_running_loop().create_future(),
            )
        )


def machine_of(library: Path) -> Any:
    """The processor that a shared library is for (ELF header, `e_machine`)."""
    header = library.read_bytes()[:20]
    assert header[:4] == b"\x7fELF", library
    known = {62: "x86_64", 183: "aarch64"}
    number = int.from_bytes(header[18:20], "little")
    return known.get(number, number)
