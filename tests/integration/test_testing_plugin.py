"""The plugin in somebody else's repository, where only the wheel is installed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from stashjobs.servers.postgres import Postgres

ROOT = Path(__file__).parents[2]
# What else is installed here, and is no business of that project.
OTHERS_OFF = ["-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:asyncio"]
SCHEMA = """
import psycopg
import pytest

@pytest.fixture(scope="session")
def stashjobs_template(stashjobs_template):
    with psycopg.connect(stashjobs_template) as connection:
        connection.execute("CREATE TABLE signed_up (email text PRIMARY KEY)")
    return stashjobs_template
"""
APP = """
from stashjobs import Context, job

@job("welcome", endpoint="/api/jobs/welcome")
def welcome(payload: dict, context: Context) -> str:
    context.connection.execute("INSERT INTO signed_up VALUES (%s)", [payload["to"]])
    return payload["to"]
"""
TESTS = """
import sys

import psycopg
import stashjobs
from app import welcome

def test_it_is_the_wheel():
    assert "site" in stashjobs.__file__
    assert not [name for name in sys.modules if name.partition(".")[0] in {"infra", "functions"}]

def test_a_job_is_enqueued_delivered_and_recorded(jobs):
    welcome.enqueue({"to": "ada@example.com"})
    jobs.assert_enqueued(welcome, {"to": "ada@example.com"})
    [done] = jobs.drain()
    assert done.job.result == "ada@example.com"

def test_nothing_of_the_test_before_is_left(jobs):
    assert jobs.rows() == []
    with psycopg.connect(jobs.database_url) as connection:
        assert connection.execute("SELECT * FROM signed_up").fetchall() == []

def test_a_failure_tells_what_is_there(jobs):
    welcome.enqueue({"to": "bob@example.com"})
    jobs.assert_enqueued(welcome, {"to": "ada@example.com"})
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel in it, as pip puts it there."""
    folder = tmp_path_factory.mktemp("site")
    options = ["--target", "wheel", "--directory", str(folder)]
    build = [sys.executable, "-m", "hatchling", "build", *options]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    return folder


def pytest_in(project: Path, site: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    own = {"PATH": os.environ["PATH"], "PYTHONPATH": str(site), "HOME": str(project)}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *OTHERS_OFF],
        cwd=project,
        env={**own, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name, text in {"conftest.py": SCHEMA, "app.py": APP, "test_app.py": TESTS}.items():
        (tmp_path / name).write_text(textwrap.dedent(text))
    (tmp_path / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\npythonpath = .\n")
    return tmp_path


def test_the_guide_is_a_test_file_that_passes(site: Path, tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "testing.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_guide.py").write_text("\n".join(blocks))
    run = pytest_in(tmp_path, site)
    assert f"{guide.count('def test_') + 1} passed" in run.stdout, run.stdout + run.stderr


@pytest.mark.parametrize("given", [False, True], ids=["of-the-wheel", "of-a-url"])
def test_a_project_of_its_own_tests_its_jobs(
    site: Path, project: Path, postgres: Postgres, given: bool
) -> None:
    told = {"TEST_POSTGRES_URL": postgres.url} if given else {}
    run = pytest_in(project, site, **told)
    assert "1 failed, 3 passed" in run.stdout, run.stdout + run.stderr
    assert 'it is "bob@example.com", not "ada@example.com"' in run.stdout
