"""`stashjobs new`, in a copy of this repository: what comes out is whole, or nothing changed."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from click.testing import CliRunner, Result

from infra.local.stack import Stack
from stashjobs.cli import main, scaffold
from stashjobs.cli.scaffold import entries
from stashjobs.cli.scaffold.texts import Misfit, YamlText
from stashjobs.cli.scaffold.wanted import Wanted
from tests.clusters import make_ready

ROOT = Path(__file__).parents[2]
CLI = "from stashjobs.cli import main; main()"
COPIED = ("functions", "shared", "infra", "tests", "docs")
SINGLE = ("template.yaml", "pyproject.toml", "Makefile", "samconfig.toml", "README.md")
# Those tests of tests/infra that speak of the new type, and of those that must know of it.
OF_THE_NEW_TYPE = (
    "made_here or made-here or MadeHere or Relay or ApiF or shares or slow or dashboard or index"
)
PATIENCE_SECONDS = 30.0


def copy_repository(to: Path) -> Path:
    to.mkdir()
    for name in COPIED:
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(ROOT / name, to / name, ignore=ignored, symlinks=True)
    for name in SINGLE:
        shutil.copy(ROOT / name, to / name)
    if (ROOT / ".venv-deploy").exists():
        (to / ".venv-deploy").symlink_to(ROOT / ".venv-deploy")
    return to


def files_of(folder: Path) -> dict[str, bytes]:
    """All that a generator could have touched."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".venv-deploy" not in path.parts and path.suffix != ".pyc"
    }


@pytest.fixture(scope="module")
def untouched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy for what must not change it."""
    return copy_repository(tmp_path_factory.mktemp("new") / "untouched")


@pytest.fixture
def new(untouched: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`stashjobs new` in that copy."""
    monkeypatch.chdir(untouched)
    monkeypatch.setattr(sys, "path", [*sys.path])

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, ["new", *arguments])

    return run


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["Send-Sms"], "is no name for a job type"),
        (["made_here"], "is no name for a job type"),
        (["send-2fa"], "is no name for a job type"),
        (["plan-b"], "is no name for a job type"),
        (["../evil"], "is no name for a job type"),
        (["import"], "a word of Python's own"),
        (["print"], "a word of Python's own"),
        (["value-error"], "a word of Python's own"),
        (["job"], "needs; take another one"),
        (["test-run"], "needs; take another one"),
        (["tests"], "needs; take another one"),
        (["a" * 44], "longer than 43 characters"),
        (["send-email"], "there is a job type send-email already"),
        (["webhooks"], "functions/webhooks is there already"),
        (["monitoring"], "docs/monitoring.md is there already"),
        (["access"], "the templates have AccessLogs already"),
        (["failure-rate"], "the templates have FailureRate already"),
        (["made-here", "--endpoint", "/api/jobs/email"], "the route /api/jobs/email is taken"),
        (["made-here", "--endpoint", "/elsewhere"], "a route is /api/jobs/"),
        (["made-here", "--schedule", "soon"], "is no cron expression"),
        (
            ["made-here", "--schedule", "0 3 * * *", "--timezone", "Mars"],
            "'Mars' is not known",
        ),
        (["made-here", "--schedule", "0 3 * * *", "--encrypted"], "do not go together"),
        (["made-here", "--timeout", "891"], "891 is not in the range"),
        (["made-here", "--retries", "-1"], "-1 is not in the range"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused_with_a_reason(
    new: Any, arguments: list[str], words: str
) -> None:
    result = new(*arguments)
    assert (result.exit_code, words in result.output) == (2, True), result.output


def test_a_refusal_and_a_dry_run_change_nothing(new: Any, untouched: Path) -> None:
    before = files_of(untouched)
    assert new("send-email").exit_code == 2
    shown = new("made-here", "--dry-run")
    assert shown.exit_code == 0
    assert "+++ b/functions/made_here/handler.py" in shown.output
    assert "+  MadeHereFunction:" in shown.output
    assert re.search(r"^-      \w+Function: \d+$", shown.output, re.MULTILINE)  # gives a share
    assert files_of(untouched) == before


def test_what_goes_wrong_half_way_is_taken_back(new: Any, untouched: Path) -> None:
    in_the_way = untouched / "docs" / ".creating-jobs.md.new"
    in_the_way.mkdir()
    before = files_of(untouched)
    result = new("made-here")
    in_the_way.rmdir()
    assert (result.exit_code, "Nothing was changed" in result.output) == (1, True)
    assert files_of(untouched) == before
    assert not (untouched / "functions" / "made_here").exists()


def test_a_link_is_not_written_through(
    tmp_path: Path, new: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (*COPIED, "template.yaml"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    result = new("made-here")
    assert (result.exit_code, "is a link; run this where it leads to" in result.output) == (2, True)


SHARES = """Mappings:
  Connections:
    # of a small server
    "40":
      SendEmailFunction: 30
      ApiFunction: 7
      Operators: 3
"""
SMS = Wanted(type="made-here", endpoint="/api/jobs/made-here", timeout=30, retries=3)


def test_a_share_is_taken_from_whoever_has_most() -> None:
    text = YamlText("template.yaml", SHARES)
    entries.share_connections(text, "40", SMS)
    assert text.text == SHARES.replace("30", "29").replace(
        "      Operators", "      MadeHereFunction: 1\n      Operators"
    )


def test_what_is_free_is_given_first() -> None:
    text = YamlText("template.yaml", SHARES.replace("30", "20"))
    entries.share_connections(text, "40", SMS)
    assert text.values("Mappings", "Connections", "40") == {
        "SendEmailFunction": "20",
        "ApiFunction": "7",
        "MadeHereFunction": "1",
        "Operators": "3",
    }


def test_operators_keep_theirs_where_no_connection_is_left() -> None:
    full = SHARES.replace("30", "1").replace("7", "1").replace("3", "38")
    text = YamlText("template.yaml", full)
    with pytest.raises(Misfit, match=r"none for another\. Offer a larger MaxConnections"):
        entries.share_connections(text, "40", SMS)
    assert text.text == full


@pytest.mark.parametrize("options", [["--encrypted"], ["--schedule", "30 7 * * 1-5"]], ids=" ".join)
def test_the_longest_name_passes_the_linter(new: Any, untouched: Path, options: list[str]) -> None:
    """Wherever lines must break."""
    name = "-".join(["abcdefghi"] * 4)
    assert new(name, "--dry-run", *options).exit_code == 0
    wanted = Wanted(
        type=name,
        endpoint=f"/api/jobs/{name}",
        timeout=890,
        retries=0,
        encrypted="--encrypted" in options,
        schedule=options[1] if options[0] == "--schedule" else None,
    )
    changes = scaffold.work_out(untouched, wanted, ["SendEmail"])
    for change in changes:
        if not change.path.endswith(".py"):
            continue
        for command in (["check", "--ignore", "INP001"], ["format", "--check"]):
            checked = subprocess.run(
                [sys.executable, "-m", "ruff", *command, "--stdin-filename", change.path, "-"],
                cwd=ROOT,
                input=change.after,
                capture_output=True,
                text=True,
                check=False,
            )
            assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with two new types, one of which is called at a URL of its own."""
    copy = copy_repository(tmp_path_factory.mktemp("new") / "generated")
    for arguments in (
        ["made-here", "--timeout", "45", "--schedule", "0 3 * * *"],
        ["sealed-here", "--encrypted", "--timeout", "20"],
    ):
        in_copy(copy, "-c", CLI, "new", *arguments)
    return copy


def in_copy(copy: Path, *arguments: str) -> str:
    """Run Python there, with its code and not with ours."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": f"{copy / 'shared'}:{copy}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_new_types_pass_their_own_tests_and_those_of_the_templates(generated: Path) -> None:
    tests = ["jobs_and_template", "alarms", "connection_budget", "least_privilege"]
    files = [*(f"tests/infra/test_{name}.py" for name in tests), "tests/docs/test_links.py"]
    own = ["tests/integration/made_here", "tests/integration/sealed_here"]
    chosen = f"({OF_THE_NEW_TYPE} or sealed_here) and not production"
    told = in_copy(
        generated,
        *["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", chosen, *files, *own],
    )
    assert " passed" in told
    assert told.count("failed") == 0


def test_the_new_types_pass_the_linters(generated: Path) -> None:
    own = [f"{parent}/made_here" for parent in ("functions", "tests/integration")]
    in_copy(generated, "-m", "ruff", "check", *own)
    in_copy(generated, "-m", "ruff", "format", "--check", *own)
    in_copy(generated, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache"), *own)
    before = (ROOT / "template.yaml").read_text().splitlines()
    after = (generated / "template.yaml").read_text().splitlines()
    kept = [line for line in before if "Function: " not in line]
    rest = iter(after)
    assert all(line in rest for line in kept), "lines of the template were changed or moved"


async def test_the_new_types_run_in_the_local_system_at_once(
    generated: Path, tmp_path: Path
) -> None:
    make_ready(tmp_path / "postgres")
    async with Stack(generated, tmp_path, durable=False) as stack:
        headers = {"Authorization": f"Bearer {stack.environment['ADMIN_TOKEN']}"}
        async with aiohttp.ClientSession(stack.urls["app"], headers=headers) as app:
            for job_type in ("made-here", "sealed-here"):
                request = {"type": job_type, "payload": {"message": "Hello"}}
                async with app.post("/api/jobs", json=request) as answer:
                    accepted = await answer.json()
                    assert answer.status == 202, accepted
                found = await ended(app, accepted["jobId"])
                assert (found["status"], found["attempt"]) == ("completed", 1), found


async def ended(app: aiohttp.ClientSession, job_id: str) -> dict[str, Any]:
    until = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < until:
        async with app.get(f"/api/jobs/{job_id}") as answer:
            found: dict[str, Any] = await answer.json()
        if found["status"] in {"completed", "failed"}:
            return found
        await asyncio.sleep(0.1)
    raise AssertionError(f"{job_id} has not ended")
