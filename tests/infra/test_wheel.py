"""The package as an app elsewhere installs it: the wheel, with the core dependencies alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import zipfile
from typing import TYPE_CHECKING

import pytest

import stashjobs
from tests import wheels

if TYPE_CHECKING:
    from pathlib import Path

    from stashjobs.testing import Jobs

CHANGELOG = (wheels.ROOT / "CHANGELOG.md").read_text()
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
    return wheels.build(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def app_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wheels.python_with(wheel, tmp_path_factory.mktemp("app") / "venv")


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
    metadata = wheels.metadata_of(wheel)
    assert metadata["Version"] == stashjobs.__version__
    assert metadata["License-Expression"] == "MIT"
    assert "cli" in (metadata.get_all("Provides-Extra") or [])


def test_the_changelog_has_a_dated_section_of_this_version_under_what_is_not_released() -> None:
    headings = re.findall(r"^## \[(.*?)\](?: - (\d{4}-\d\d-\d\d))?$", CHANGELOG, re.MULTILINE)
    (first, _), (second, date), *_ = headings
    assert (first, second) == ("Unreleased", stashjobs.__version__)
    assert date


@pytest.mark.parametrize(
    "file",
    [
        "stashjobs/py.typed",
        "stashjobs/store/migrations/0001_job_executions.sql",
        "stashjobs/tools/prices.toml",
        f"stashjobs-{stashjobs.__version__}.dist-info/licenses/LICENSE",
    ],
)
def test_the_wheel_has(wheel: Path, file: str) -> None:
    with zipfile.ZipFile(wheel) as archive:
        assert file in archive.namelist()


def test_the_wheel_has_no_function_and_no_test(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        tops = {name.split("/")[0] for name in archive.namelist()}
    assert tops == {
        "stashjobs",
        "pytest_stashjobs.py",
        f"stashjobs-{stashjobs.__version__}.dist-info",
    }
