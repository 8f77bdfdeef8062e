"""The package as an app elsewhere installs it: the wheel, with the core dependencies alone."""

from __future__ import annotations

import email
import importlib.metadata
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement

import stashjobs
from tests.translation import ROOT

if TYPE_CHECKING:
    from pathlib import Path

    from stashjobs.testing import Jobs

# What a worker, the API, the command line and the tests need; an app that enqueues does not.
NOT_NEEDED = (
    "aws_lambda_powertools",
    "boto3",
    "click",
    "cryptography",
    "fastapi",
    "jinja2",
    "resend",
    "stripe",
)
AN_APP = """
import importlib.util, json
from pydantic import BaseModel
from stashjobs import Context, job

class Email(BaseModel):
    to: str

@job("send-email", endpoint="/api/jobs/email")
def send_email(email: Email, context: Context) -> None:
    raise NotImplementedError

enqueued = send_email.enqueue(Email(to="ada@example.com"), user_id="u_1")
there = [name for name in NOT_NEEDED if importlib.util.find_spec(name)]
import stashjobs
print(json.dumps({"jobId": enqueued.job_id, "published": enqueued.published, "there": there,
                  "from": stashjobs.__file__}))
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    options = ["--target", "wheel", "--directory", str(folder)]
    build = [sys.executable, "-m", "hatchling", "build", *options]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    [built] = folder.glob("*.whl")
    return built


def closure(requirements: list[str]) -> set[str]:
    """The installed distributions that these ask for, and those that they ask for in turn."""
    found: set[str] = set()
    waiting = [Requirement(each) for each in requirements]
    for each in waiting:  # grows
        found.add(re.sub(r"[-_.]+", "-", each.name).lower())
        for inner in map(Requirement, importlib.metadata.requires(each.name) or []):
            asked = [{"extra": extra} for extra in each.extras or {""}]
            if inner.marker is None or any(map(inner.marker.evaluate, asked)):
                waiting.append(inner)
    return found


@pytest.fixture(scope="module")
def app_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Python with the wheel and, linked from here, what its metadata asks for; nothing else."""
    folder = tmp_path_factory.mktemp("app") / "venv"
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    tag = f"python{sys.version_info.major}.{sys.version_info.minor}"
    packages = folder / "lib" / tag / "site-packages"
    options = ["--quiet", "--offline", "--no-deps", "--python", str(python)]
    subprocess.run([f"{sys.prefix}/bin/uv", "pip", "install", *options, str(wheel)], check=True)
    core = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    for name in closure(core):
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or []} - {"..", "__pycache__"}:
            if not (packages / top).exists():
                (packages / top).symlink_to(str(distribution.locate_file(top)))
    return python


def test_an_app_enqueues_with_nothing_but_the_core(app_python: Path, jobs: Jobs) -> None:
    environment = {
        name: os.environ[name]
        for name in ("POSTGRES_URL", "QSTASH_URL", "QSTASH_TOKEN", "BASE_URL", "STAGE")
    }
    done = subprocess.run(
        [app_python, "-I", "-W", "error", "-c", f"NOT_NEEDED = {NOT_NEEDED}\n{AN_APP}"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert str(app_python.parents[1]) in told["from"]
    assert (told["there"], told["published"]) == ([], True)
    [row] = jobs.rows()
    assert (row["job_id"], row["user_id"]) == (told["jobId"], "u_1")
    assert row["payload"] == {"to": "ada@example.com"}


def test_the_wheel_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [path] = [name for name in archive.namelist() if name.endswith("METADATA")]
        metadata = email.message_from_bytes(archive.read(path))
    assert metadata["Version"] == stashjobs.__version__
    assert metadata["License-Expression"] == "MIT"
    assert "cli" in (metadata.get_all("Provides-Extra") or [])


@pytest.mark.parametrize(
    "file",
    [
        "stashjobs/py.typed",
        "stashjobs/migrations/0001_job_executions.sql",
        "stashjobs/cli/scaffold/templates/handler.py.txt",
        f"stashjobs-{stashjobs.__version__}.dist-info/licenses/LICENSE",
    ],
)
def test_the_wheel_has(wheel: Path, file: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert file in archive.namelist()


def test_the_wheel_has_no_function_and_no_test(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert tops == {"stashjobs", f"stashjobs-{stashjobs.__version__}.dist-info"}
