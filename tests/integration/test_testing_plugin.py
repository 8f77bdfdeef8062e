"""The plugin in somebody else's repository, where only the wheel is installed."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests import wheels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stashjobs.tools.servers.postgres import Postgres

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

@job("fails", endpoint="/api/jobs/fails", encrypted=True)
def fails(payload: dict, context: Context) -> str:
    raise ValueError("no luck")
"""
TESTS = """
import sys

import psycopg
import stashjobs
from app import fails, welcome

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

def test_an_encrypted_job_runs_with_nothing_more_than_the_extra(jobs):
    fails.enqueue({"to": "ada@example.com"})
    jobs.assert_enqueued(fails, {"to": "ada@example.com"})
    done = jobs.drain()
    assert [each.job.status for each in done][-1] == "failed"

def test_qstash_refuses_and_hangs(jobs):
    jobs.qstash.status = 503
    assert not welcome.enqueue({"to": "ada@example.com"}).published
    jobs.qstash.hangs = True

def test_the_next_test_has_a_qstash_that_works(jobs):
    assert welcome.enqueue({"to": "ada@example.com"}).published

def test_nothing_of_the_shell_leads_out(jobs):
    import os
    assert [name for name, value in os.environ.items() if "real" in value] == []

def test_a_failure_tells_what_is_there(jobs):
    welcome.enqueue({"to": "bob@example.com"})
    jobs.assert_enqueued(welcome, {"to": "ada@example.com"})
"""


# What may be in a developer's shell.
SHELL = {
    "SENTRY_DSN": "http://real@127.0.0.1:9/1",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9/real",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/real",
    "POSTGRES_URL": "postgresql://real@127.0.0.1:9/real",
    "POSTGRES_READ_URL": "postgresql://real@127.0.0.1:9/real",
    "RESEND_API_KEY": "re_real",
    "STRIPE_SECRET_KEY": "sk_real",
    "PAYLOAD_KEYS": "real:",
    "FILES_BUCKET": "real",
    "SETTINGS_SECRET": "stashjobs/real",
    "FUNCTION_URL_WELCOME": "https://real.example.test",
    "AWS_PROFILE": "real",
    "AWS_ACCESS_KEY_ID": "real",
    "AWS_SECRET_ACCESS_KEY": "real",
    "AWS_SESSION_TOKEN": "real",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:9/real",
    # Nothing answers there, and none of it is about a server of our own.
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "ALL_PROXY": "http://127.0.0.1:9",
    "PGSSLMODE": "require",
    "PGHOSTADDR": "127.0.0.9",
    "PGSERVICE": "no-such-service",
    "PGOPTIONS": "-c search_path=nowhere",
    "PGTARGETSESSIONATTRS": "standby",
}


@pytest.fixture(scope="module")
def python() -> Iterator[Path]:
    """Python with the wheel and its extra `testing`, and nothing else. Not in pytest's own folder:
    where we are root, Postgres runs as somebody who may not look into that."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield wheels.python_with(wheels.build(folder), folder / "venv", "testing")


def pytest_in(project: Path, python: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=project,
        env={"PATH": os.environ["PATH"], "HOME": str(project), **variables},
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


def test_the_guide_is_a_test_file_that_passes(
    python: Path, tmp_path: Path, postgres: Postgres
) -> None:
    guide = (wheels.ROOT / "docs" / "testing.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```$", guide, re.MULTILINE | re.DOTALL)
    (tmp_path / "test_guide.py").write_text("\n".join(blocks))
    run = pytest_in(tmp_path, python, TEST_POSTGRES_URL=postgres.url)
    assert f"{guide.count('def test_') + 1} passed" in run.stdout, run.stdout + run.stderr


@pytest.mark.parametrize("given", [False, True], ids=["of-the-wheel", "of-a-url"])
def test_a_project_of_its_own_tests_its_jobs(
    python: Path, project: Path, postgres: Postgres, given: bool
) -> None:
    shell = dict(SHELL)
    if given:  # the variables of libpq may then be about that server
        shell = {name: value for name, value in SHELL.items() if not name.startswith("PG")}
        shell["TEST_POSTGRES_URL"] = postgres.url
    run = pytest_in(project, python, **shell)
    assert "1 failed, 7 passed" in run.stdout, run.stdout + run.stderr
    assert 'it is "bob@example.com", not "ada@example.com"' in run.stdout


def test_a_run_that_asks_for_no_fixture_loads_nothing_of_it(python: Path, tmp_path: Path) -> None:
    (tmp_path / "test_other.py").write_text(
        "import sys\n\n"
        "def test_what_is_loaded():\n"
        "    assert 'pytest_stashjobs' in sys.modules\n"
        "    assert {'stashjobs', 'psycopg', 'pydantic'}.isdisjoint(sys.modules)\n"
    )
    run = pytest_in(tmp_path, python)
    assert "1 passed" in run.stdout, run.stdout + run.stderr
