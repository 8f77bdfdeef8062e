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
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from click.testing import CliRunner, Result

from infra.commands import scaffold
from infra.commands.scaffold import Change
from infra.commands.scaffold.entries import (
    LISTS_TYPES,
    give_back_connections,
    share_connections,
)
from infra.commands.scaffold.filling import names_in_use
from infra.commands.scaffold.objections import objection
from infra.commands.scaffold.proof import Misfit, prove
from infra.commands.scaffold.wanted import Wanted
from infra.local.stack import Stack
from stashjobs.tools.cli import main
from tests.clusters import make_ready

if TYPE_CHECKING:
    from stashjobs.tools.servers.postgres import Postgres

ROOT = Path(__file__).parents[2]
CLI = "from stashjobs.tools.cli import main; main()"
COPIED = ("functions", "shared", "infra", "tests", "docs")
SINGLE = ("template.yaml", "pyproject.toml", "Makefile", "samconfig.toml", "README.md")
# Those tests of tests/infra that speak of the new type, and of those that must know of it.
OF_THE_NEW_TYPE = (
    "made_here or made-here or MadeHere or Relay or ApiF or shares or slow or dashboard or index"
)
GENERATED = ("made_here", "encrypted_here")
PATIENCE_SECONDS = 120.0


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


def stamps_of(folder: Path) -> dict[str, tuple[int, int]]:
    """By these every file shows whether it was written."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_size)
        for path in folder.rglob("*")
        if ".venv-deploy" not in path.parts and "__pycache__" not in path.parts and path.is_file()
    }


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
        (["SendSms"], "(send-sms)"),
        (["send_sms"], "(send-sms)"),
        (["2fa"], "(send-sms)"),
        (
            ["import"],
            "would be import in Python, a word of Python's own; put another word in front",
        ),
        (["none"], "would be None in Python, a word of Python's own"),
        (["print"], "a word of Python's own"),
        (["value-error"], "a word of Python's own"),
        (["job"], "would be job in Python, which in every job's code is something else; put"),
        (["field"], "would be Field in Python, which in every job's code is something else"),
        (["to-camel"], "would be to_camel in Python, which in every job's code is something else"),
        (["base-model"], "would be BaseModel in Python, which in"),
        (["annotations"], "would be annotations in Python, which in"),
        (["context"], "would be context in Python, which in"),
        (["delivered"], "would be delivered in Python, which in"),
        (["pydantic"], "would be pydantic in Python, which in"),
        (["encryption", "--encrypted"], "would be encryption in Python, which in"),
        (["on"], "YAML takes on for a value that is no text; put another word in front of it"),
        (["null"], "YAML takes null for a value that is no text"),
        (["testimonials"], "pytest takes what begins with test for one; put another word in front"),
        (["tests"], "is a folder that pytest, ruff or the build passes over"),
        (["build"], "is a folder that pytest, ruff or the build passes over"),
        (["node-modules"], "is a folder that pytest, ruff or the build passes over"),
        (["a" * 44], "longer than 43 characters, and Lambda's names end there; take a shorter one"),
        (["send-email"], "there is a job type send-email already"),
        (["sendemail"], "there is a job type send-email already, which reads like sendemail"),
        (["webhooks"], "functions/webhooks is there already"),
        (["makefile"], "functions/Makefile is there already"),
        (["conditions"], "tests/integration/conditions.py is there already"),
        (["readme"], "docs/README.md is there already"),
        (["monitoring"], "docs/monitoring.md is there already"),
        (["access"], "the templates have AccessLogs already"),
        (["failure-rate"], "the templates have FailureRate already"),
        (["made-here", "--endpoint", "/api/jobs/email"], "the route /api/jobs/email is taken"),
        (["made-here", "--endpoint", "/elsewhere"], "a route is /api/jobs/"),
        (["made-here", "--endpoint", ""], "a route is /api/jobs/"),
        (["made-here", "--schedule", "soon"], "cron 'soon' must have five fields"),
        (["made-here", "--schedule", ""], "cron '' must have five fields"),
        (["made-here", "--schedule", "* * * * * *"], "cron '* * * * * *' must have five fields"),
        (["made-here", "--schedule", "a b c d e"], "the cron expression's minute is 'a'"),
        (["made-here", "--schedule", "0 3 30 2 *"], "cron '0 3 30 2 *' never fires"),
        (
            ["made-here", "--schedule", "0 3 * * *", "--timezone", "Mars"],
            "unknown time zone 'Mars'",
        ),
        (["made-here", "--schedule", "0 3 * * *", "--timezone", ""], "unknown time zone ''"),
        (["made-here", "--timezone", "Europe/Rome"], "--timezone is the schedule's; give"),
        (["made-here", "--schedule", "0 3 * * *", "--encrypted"], "do not go together"),
        (["made-here", "--timeout", "891"], "891 is not in the range"),
        (["made-here", "--retries", "-1"], "-1 is not in the range"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_is_refused_with_a_reason_and_nothing_is_written(
    new: Any, untouched: Path, arguments: list[str], words: str
) -> None:
    before = stamps_of(untouched)
    result = new(*arguments)
    assert (result.exit_code, words in result.output) == (2, True), result.output
    assert stamps_of(untouched) == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["made-here"], "unknown job type 'made-here'"),
        (["send-email"], "template.yaml lists send-email already"),
        (["send-email", "--retries", "3"], "--retries does not go with --listed-anew: the type's"),
    ],
)
def test_what_cannot_be_listed_anew_is_refused(
    new: Any, untouched: Path, arguments: list[str], words: str
) -> None:
    before = stamps_of(untouched)
    result = new(*arguments, "--listed-anew")
    assert (result.exit_code, words in result.output) == (2, True), result.output
    assert stamps_of(untouched) == before


def test_a_refusal_and_a_dry_run_change_nothing(new: Any, untouched: Path) -> None:
    left = untouched / "functions" / "made_here" / "__pycache__"
    left.mkdir(parents=True)
    before = files_of(untouched)
    try:
        assert new("send-email").exit_code == 2
        shown = new("made-here", "--dry-run", "--schedule", " 0 3\t* * *\n")
        after = files_of(untouched)
    finally:
        shutil.rmtree(left.parent)
    assert shown.exit_code == 0, "what a type left behind that was taken out again is in the way"
    assert "+++ b/functions/made_here/handler.py" in shown.output
    assert "+  MadeHereFunction:" in shown.output
    assert '"0 3 * * *", ' in shown.output, "a schedule is written as its five fields"
    shares = re.findall(r"^\+      MadeHereFunction: (.*)", shown.output, re.MULTILINE)
    assert shares == ["1", "2", "7"]  # of what is free
    assert after == before


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


def test_it_changes_the_checkout_that_it_runs_in_and_no_other(
    tmp_path: Path, new: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = new("made-here", "--dry-run")
    assert (result.exit_code, "this is not a checkout of stashjobs" in result.output) == (2, True)


@pytest.mark.parametrize(
    ("file", "old", "new_text", "words"),
    [
        ("template.yaml", "Resources:\n", "<<<<<<< HEAD\nResources:\n", "cannot be read: "),
        ("template.yaml", "\nResources:\n", "\nResource:\n", "template.yaml has no Resources"),
        ("infra/alarms.yaml", "# --- alarms of your own, to", "#", "has no place for a new type"),
        ("infra/alarms.yaml", "\nResources:\n", "\n>>>>>>> x\nResources:\n", "cannot be read: "),
        (
            "template.yaml",
            "CleanupOldDataFunction: 1",
            "CleanupOldDataFunction: many",
            "is 'many'; it must be",
        ),
    ],
    ids=["conflict", "resources", "alarms", "conflict-of-alarms", "share"],
)
def test_a_file_that_is_broken_is_named_and_stays(
    new: Any, untouched: Path, file: str, old: str, new_text: str, words: str
) -> None:
    whole = (untouched / file).read_text()
    assert old in whole
    broken = whole.replace(old, new_text, 1)
    (untouched / file).write_text(broken)
    try:
        before = files_of(untouched)
        result = new("made-here")
        after = files_of(untouched)
    finally:
        (untouched / file).write_text(whole)
    assert (result.exit_code, words in result.output) == (2, True), result.output
    assert Path(file).name in result.output
    assert after == before


def test_a_job_type_that_cannot_be_loaded_is_no_traceback(tmp_path: Path) -> None:
    copy = copy_repository(tmp_path / "copy")
    handler = copy / "functions" / "send_email" / "handler.py"
    handler.write_text("raise ValueError('half written')\n")
    before = files_of(copy)
    ran = run_in_copy(copy, "-c", CLI, "new", "made-here")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "cannot be loaded: ValueError: half written" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert files_of(copy) == before


@pytest.fixture(scope="module")
def worked_out(untouched: Path) -> tuple[Wanted, dict[str, str]]:
    """A type, and what the files are to be."""
    wanted = Wanted("made-here", "/api/jobs/made-here", timeout=30, retries=3, schedule="0 3 * * *")
    return wanted, {each.path: each.after for each in scaffold.work_out(untouched, wanted)}


@pytest.mark.parametrize(
    ("file", "old", "new_text", "words"),
    [
        ("functions/made_here/handler.py", "message: str", "message str", "imported: SyntaxError"),
        ("functions/made_here/handler.py", "0 3 * * *", "0 3 * * * *", "must have five fields"),
        ("functions/made_here/handler.py", '"Hello"}', '""}', "imported: .*does not fit made-here"),
        ("functions/made_here/handler.py", "retries=3", "retries=4", "not be read back as it was"),
        ("template.yaml", "/api/jobs/made-here", "/api/jobs/other", "not be read back as it was"),
    ],
    ids=["syntax", "schedule", "example", "retries", "route"],
)
def test_what_would_not_work_is_seen_before_it_is_written(
    untouched: Path,
    worked_out: tuple[Wanted, dict[str, str]],
    file: str,
    old: str,
    new_text: str,
    words: str,
) -> None:
    wanted, texts = worked_out
    assert old in texts[file]
    with pytest.raises(Misfit, match=words):
        prove(untouched, {**texts, file: texts[file].replace(old, new_text)}, wanted)


def test_a_file_that_changed_meanwhile_is_not_written_over(tmp_path: Path) -> None:
    changes = [Change("one.md", None, "new"), Change("two.md", "as it was", "as it is to be")]
    (tmp_path / "two.md").write_text("changed")
    with pytest.raises(Misfit, match=r"two\.md was changed meanwhile"):
        scaffold.carry_out(tmp_path, changes)
    assert files_of(tmp_path) == {"two.md": b"changed"}


def test_the_ends_of_lines_stay_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "one.md").write_bytes(b"one\r\n")
    scaffold.carry_out(tmp_path, [Change("one.md", "one\n", "one\ntwo\n")])
    assert (tmp_path / "one.md").read_bytes() == b"one\r\ntwo\r\n"


SHARES = """Mappings:
  Connections:
    # of a small server
    "40":
      SendEmailFunction: 30  # why: so many
      ApiFunction: 7
      Operators: 3
      # --- shares of your own, from here
      # --- shares of your own, to here
"""
HERE = "      # --- shares of your own, to here"


def test_a_share_is_taken_from_the_api_while_it_has_more_than_two() -> None:
    shared = SHARES.replace(": 7", ": 6")
    shared = shared.replace(HERE, f"      MadeHereFunction: 1  # of ApiFunction\n{HERE}")
    assert share_connections(SHARES, "MadeHereFunction") == shared


def test_then_it_is_taken_from_the_type_with_most_and_its_comment_stays() -> None:
    shares = SHARES.replace(": 7", ": 2").replace(": 30", ": 35")
    shared = shares.replace(": 35", ": 34")
    shared = shared.replace(HERE, f"      MadeHereFunction: 1  # of SendEmailFunction\n{HERE}")
    assert share_connections(shares, "MadeHereFunction") == shared


def test_what_is_free_is_given_first() -> None:
    free = SHARES.replace("30", "20")
    shared = free.replace(HERE, f"      MadeHereFunction: 1\n{HERE}")
    assert share_connections(free, "MadeHereFunction") == shared


def test_as_many_are_given_as_are_to_run_at_once() -> None:
    shared = share_connections(SHARES, "MadeHereFunction", 7)
    assert "ApiFunction: 2\n" in shared
    assert "SendEmailFunction: 28  # why" in shared
    givers = ", ".join(["ApiFunction"] * 5 + ["SendEmailFunction"] * 2)
    assert f"      MadeHereFunction: 7  # of {givers}\n" in shared
    assert give_back_connections(shared, "MadeHereFunction") == SHARES


def test_operators_keep_theirs_where_no_connection_is_left() -> None:
    full = SHARES.replace("30", "1").replace("7", "1").replace("3", "38")
    with pytest.raises(Misfit, match=r"none for another\. Offer a larger MaxConnections"):
        share_connections(full, "MadeHereFunction")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy with two new types, one of which is called at a URL of its own."""
    copy = copy_repository(tmp_path_factory.mktemp("new") / "generated")
    for arguments in (
        ["made-here", "--timeout", "45", "--schedule", "0 3 * * *"],
        ["encrypted-here", "--encrypted", "--timeout", "20", "--parallelism", "2"],
    ):
        told = in_copy(copy, "-c", CLI, "new", *arguments)
        at_a_time = "2 run at a time" if "--parallelism" in arguments else "One runs at a time"
        assert f"{at_a_time}; for more, raise parallelism in its handler and its share" in told
    return copy


def in_copy(copy: Path, *arguments: str, **variables: str) -> str:
    """Run Python there, with its code and not with ours; it must go well."""
    done = run_in_copy(copy, *arguments, **variables)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def run_in_copy(copy: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": f"{copy / 'shared'}:{copy}", **variables},
        capture_output=True,
        text=True,
        check=False,
    )


# Names that a person may well choose, or that look as if they could not be: words of Python's
# standard library, of its grammar, of pytest's and of the templates' own members.
ODD = [
    *(
        "match",
        "case",
        "self",
        "cls",
        "message",
        "model-config",
        "null-value",
        "result",
        "foo-result",
    ),
    *("json", "logging", "time", "enum", "typing-job", "main", "index", "example", "my-build"),
    *("fixture", "mark", "raises", "status", "conftest-job", "password", "secret-token"),
    # So long that lines must break wherever they can.
    *(f"{letter}-{'-'.join(['bcdefghij'] * 4)}" for letter in ("aa", "bb", "cc")),
]


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, generated: Path) -> Path:
    """The code of a type of each odd name and of the generated ones, in a checkout that has nothing
    else."""
    folder = tmp_path_factory.mktemp("odd")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for name in GENERATED:
        for parent in ("functions", "tests/integration"):
            shutil.copytree(generated / parent / name, folder / parent / name)
    for number, name in enumerate(ODD):
        kinds: list[dict[str, Any]] = [{}, {"encrypted": True}, {"schedule": "30 7 * * 1-5"}]
        wanted = Wanted(name, f"/api/jobs/{name}", timeout=890, retries=3, **kinds[number % 3])
        assert objection(wanted) is None, name
        for path, text in scaffold.new_files(wanted).items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)
    return folder


def test_a_name_that_is_accepted_makes_code_that_passes_the_linter_and_its_types(odd: Path) -> None:
    in_copy(odd, "-m", "ruff", "check", ".")
    in_copy(odd, "-m", "ruff", "format", "--check", ".")
    in_copy(odd, "-m", "mypy", "--cache-dir", str(ROOT / ".mypy_cache"), "functions", "tests")


def test_a_name_that_is_accepted_makes_code_that_passes_its_own_tests(
    odd: Path, postgres: Postgres
) -> None:
    told = in_copy(
        odd,
        *("-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "tests"),
        TEST_POSTGRES_URL=postgres.url,
    )
    assert f"{2 * len([*ODD, *GENERATED])} passed" in told


def test_the_names_that_are_refused_are_those_that_the_templates_use() -> None:
    assert {"Field", "to_camel", "job", "Context", "encryption", "pytest", "Jobs"} <= names_in_use()
    assert not {"message", "model_config", "example_of_mine", "ExampleOfMine"} & names_in_use()


def test_a_type_that_was_made_is_not_made_again(generated: Path) -> None:
    before = files_of(generated)
    again = run_in_copy(generated, "-c", CLI, "new", "made-here")
    assert (again.returncode, again.stdout) == (2, "")
    assert "there is a job type made-here already" in again.stderr
    assert files_of(generated) == before


def test_a_type_whose_entries_are_lost_is_listed_anew_and_its_code_stays(generated: Path) -> None:
    """As after a merge that took the other side of the files that list types."""
    whole = files_of(generated)
    for path in LISTS_TYPES:
        shutil.copy(ROOT / path, generated / path)
    for job_type in ("made-here", "encrypted-here"):
        in_copy(generated, "-c", CLI, "new", job_type, "--listed-anew")
    assert files_of(generated) == whole


def test_the_new_types_pass_the_tests_of_the_templates(generated: Path) -> None:
    tests = ["jobs_and_template", "alarms", "connection_budget", "least_privilege", "stage_costs"]
    files = [*(f"tests/infra/test_{name}.py" for name in tests), "tests/docs/test_links.py"]
    chosen = f"({OF_THE_NEW_TYPE} or encrypted_here or so_many_for_each_type) and not production"
    told = in_copy(
        generated,
        *["-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", "-k", chosen, *files],
    )
    assert " passed" in told
    assert told.count("failed") == 0


def test_a_template_keeps_its_other_lines_as_they_were(generated: Path) -> None:
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
            for job_type in ("made-here", "encrypted-here"):
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
