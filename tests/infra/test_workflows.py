"""GitHub's workflows: who may do what, what exactly runs, and in which order."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests import artefacts, scripts

FOLDER = Path(__file__).parents[2] / ".github" / "workflows"
FILES = sorted(FOLDER.glob("*.yml"))
WORKFLOWS: dict[str, dict[str, Any]] = {
    file.stem: yaml.safe_load(file.read_text()) for file in FILES
}
READ_ONLY = {"contents": "read"}
# What a pinned action looks like, with the release it is, for a person.
PINNED = re.compile(r"uses: [\w.-]+/[\w.-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+")

jobs = pytest.mark.parametrize(
    ("workflow", "name"),
    [(workflow, name) for workflow, document in WORKFLOWS.items() for name in document["jobs"]],
)


def steps_of(workflow: str, job: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = WORKFLOWS[workflow]["jobs"][job].get("steps", [])
    return found


def position(word: str) -> int:
    """Which step of a stage's deploy this is."""
    names = [str(step.get("name")) for step in steps_of("deploy-stage", "deploy")]
    return names.index(word)


def triggers(workflow: str) -> dict[str, Any]:
    """YAML 1.1 reads the key `on` as true."""
    document: dict[Any, Any] = WORKFLOWS[workflow]
    found: dict[str, Any] = document[True]
    return found


def test_every_push_and_every_pull_request_is_tested() -> None:
    assert {"push", "pull_request"} <= triggers("test").keys()
    assert triggers("deploy")["push"] == {"branches": ["main"]}
    assert WORKFLOWS["deploy"]["jobs"]["test"]["uses"] == "./.github/workflows/test.yml"
    assert any(step.get("run") == ".ci/run" for step in steps_of("test", "test"))


def test_a_clean_checkout_is_tested_built_and_audited() -> None:
    lines = (FOLDER.parents[1] / ".ci" / "run").read_text().splitlines()
    made = [line.split("#")[0].split() for line in lines if line.startswith("make ")]
    assert made == [["make", "test"], ["make", "build"], ["make", "audit"]]


def pythons_of(workflow: str, job: str) -> list[str]:
    """Those that a job sets up; the last one is what `python3` is there."""
    (setup,) = [step for step in steps_of(workflow, job) if "setup-python" in step.get("uses", "")]
    found: list[str] = setup["with"]["python-version"].split()
    return found


def test_lambdas_python_is_the_templates() -> None:
    template = (FOLDER.parents[1] / "template.yaml").read_text()
    assert set(re.findall(r"python\d+\.\d+\b", template)) == {f"python{artefacts.LAMBDA_PYTHON}"}


@pytest.mark.parametrize(("workflow", "job"), [("test", "test"), ("deploy", "build")])
def test_what_is_deployed_is_compiled_and_tested_by_lambdas_own_python(
    workflow: str, job: str
) -> None:
    """Without it the step fails; a machine of one's own need not have it."""
    assert pythons_of(workflow, job) == [artefacts.LAMBDA_PYTHON, "3.11"]
    [step] = [
        step for step in steps_of(workflow, job) if step.get("run") in {".ci/run", "make build"}
    ]
    given = WORKFLOWS[workflow]["jobs"][job].get("env", {}) | step.get("env", {})
    assert given[artefacts.REQUIRED] == "true"


def test_without_lambdas_python_a_build_for_the_tests_fails_where_it_is_required(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(artefacts, "LAMBDA_PYTHON", "3.99")
    monkeypatch.delenv(artefacts.REQUIRED, raising=False)
    assert artefacts.Artefacts.for_this_machine(tmp_path).python == sys.executable
    monkeypatch.setenv(artefacts.REQUIRED, "true")
    with pytest.raises(pytest.fail.Exception, match=r"no Python 3\.99 here"):
        artefacts.Artefacts.for_this_machine(tmp_path)


@pytest.mark.parametrize(("required", "ends"), [("", 0), ("true", 2)])
def test_without_lambdas_python_a_build_for_lambda_fails_where_it_is_required(
    tmp_path: Path, required: str, ends: int
) -> None:
    rules = FOLDER.parents[1] / "infra" / "build" / "artefact.mk"
    makefile = tmp_path / "Makefile"
    escaped = str(rules).replace(" ", r"\ ")
    makefile.write_text(f"include {escaped}\nall:\n\t$(call finish,$(ARTIFACTS_DIR),/var/task)\n")
    (tmp_path / "made").mkdir()
    given = ["PYTHON_VERSION=3.99", f"ARTIFACTS_DIR={tmp_path / 'made'}"]
    ended = subprocess.run(
        ["make", "--file", makefile, "all", *given],
        env=artefacts.ENVIRONMENT | {artefacts.REQUIRED: required},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == ends
    assert "no Python 3.99 here" in (ended.stderr if required else ended.stdout)


def test_every_python_that_is_promised_is_tested() -> None:
    project = tomllib.loads((FOLDER.parents[1] / "pyproject.toml").read_text())["project"]
    promised = re.findall(r"Python :: (\d\.\d+)\b", " ".join(project["classifiers"]))
    job = WORKFLOWS["test"]["jobs"]["versions"]
    [*_, own] = pythons_of("test", "test")
    tested = job["strategy"]["matrix"]["python"]
    assert promised == [own, *(each for each in tested if each not in job["continue-on-error"])]
    assert artefacts.LAMBDA_PYTHON in tested
    assert project["requires-python"] == f">={own}"
    assert job["env"]["PYTHON"] == "python${{ matrix.python }}"
    ran = [step["run"] for step in job["steps"] if "run" in step]
    assert ran[-2].startswith("make .venv/.ready")
    assert ran[-1].endswith("tests/unit tests/property tests/integration")


def test_somebody_says_when_there_is_something_newer() -> None:
    """Of whatever is pinned: actions by their commit, packages by their hash."""
    bot = yaml.safe_load((FOLDER.parent / "dependabot.yml").read_text())
    watched = {
        (update["package-ecosystem"], folder)
        for update in bot["updates"]
        for folder in update.get("directories", [update.get("directory")])
    }
    root = FOLDER.parents[1]
    folders = {f"/{file.parent.relative_to(root)}" for file in root.glob("requirements/**/*.txt")}
    assert watched == {("github-actions", "/"), *(("pip", folder) for folder in folders)}


def test_no_workflow_runs_a_strangers_code_with_rights() -> None:
    assert not any("pull_request_target" in triggers(workflow) for workflow in WORKFLOWS)


@pytest.mark.parametrize("workflow", WORKFLOWS)
def test_a_workflow_may_read_and_no_more(workflow: str) -> None:
    assert WORKFLOWS[workflow]["permissions"] == READ_ONLY


@jobs
def test_only_what_deploys_may_ask_for_aws_credentials(workflow: str, name: str) -> None:
    given = WORKFLOWS[workflow]["jobs"][name].get("permissions", READ_ONLY)
    deploys = (workflow, name) in {
        ("deploy", "staging"),
        ("deploy", "production"),
        ("deploy-stage", "deploy"),
    }
    assert given == (READ_ONLY | {"id-token": "write"} if deploys else READ_ONLY)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_actions_are_pinned_by_their_commit(file: Path) -> None:
    lines = [line.strip(" -") for line in file.read_text().splitlines() if "uses: " in line]
    assert [each for each in lines if not PINNED.fullmatch(each) and "uses: ./" not in each] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_there_is_no_key_that_lasts(file: Path) -> None:
    text = file.read_text()
    assert "secrets." not in text
    assert "aws-access-key-id" not in text
    assert "role-to-assume" in (FOLDER / "deploy-stage.yml").read_text()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_expression_is_pasted_into_a_shell(file: Path) -> None:
    """What an expression holds would be run; through `env` it is only a value."""
    document = yaml.safe_load(file.read_text())
    for job in document["jobs"].values():
        for step in job.get("steps", []):
            assert "${{" not in step.get("run", "")


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_checkout_leaves_no_token_behind(file: Path) -> None:
    document = yaml.safe_load(file.read_text())
    steps = [step for job in document["jobs"].values() for step in job.get("steps", [])]
    for step in steps:
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@jobs
def test_a_job_that_hangs_is_ended(workflow: str, name: str) -> None:
    job = WORKFLOWS[workflow]["jobs"][name]
    assert "uses" in job or job["timeout-minutes"] <= 45


def test_the_order_is_test_build_staging_production() -> None:
    needs = {name: job.get("needs") for name, job in WORKFLOWS["deploy"]["jobs"].items()}
    assert needs == {"test": None, "build": "test", "staging": "build", "production": "staging"}


def test_each_stage_is_an_environment_so_production_can_ask_for_approval() -> None:
    for stage in ("staging", "production"):
        assert WORKFLOWS["deploy"]["jobs"][stage]["with"] == {"stage": stage}
    assert WORKFLOWS["deploy-stage"]["jobs"]["deploy"]["environment"] == "${{ inputs.stage }}"


ORDER = ["Snapshot", "Migrate", "Deploy", "Protect", "Schedules", "Smoke", "Doctor", "Prune"]


def test_a_stage_is_snapshot_migrate_deploy_protect_schedules_smoke_doctor_prune() -> None:
    order = [position(word) for word in ORDER]
    assert order == sorted(order)
    for word in ("Snapshot", "Protect", "Prune"):
        step = steps_of("deploy-stage", "deploy")[position(word)]
        assert step["if"] == "inputs.stage == 'production'"


def test_two_deploys_never_overlap_and_none_is_cut_short() -> None:
    for concurrency in (
        WORKFLOWS["deploy"]["concurrency"],
        WORKFLOWS["deploy-stage"]["jobs"]["deploy"]["concurrency"],
    ):
        assert concurrency["cancel-in-progress"] is False


RECORDING_AWS = """#!/bin/sh
echo "$@" >> "$CALLS"
"""


@pytest.mark.parametrize(("kind", "what"), [("cluster", "db-cluster"), ("instance", "db")])
def test_the_snapshot_is_there_before_anything_is_migrated(
    tmp_path: Path, kind: str, what: str
) -> None:
    """The step ends when AWS has it, and not before."""
    program = tmp_path / "aws"
    program.write_text(RECORDING_AWS)
    program.chmod(0o755)
    calls = tmp_path / "calls"
    script = steps_of("deploy-stage", "deploy")[position("Snapshot")]["run"]
    bash = shutil.which("bash")
    assert bash
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "CALLS": str(calls),
        "KIND": kind,
        "DATABASE": "jobs",
        "SNAPSHOT": "before-deploy-1-1",
    }
    subprocess.run([bash, "-e", "-c", script], env=environment, check=True)
    create, wait = calls.read_text().splitlines()
    identifier = "db-cluster" if kind == "cluster" else "db-instance"
    assert create == (
        f"rds create-{what}-snapshot --{identifier}-identifier jobs "
        f"--{what}-snapshot-identifier before-deploy-1-1"
    )
    assert (
        wait == f"rds wait {what}-snapshot-available --{what}-snapshot-identifier before-deploy-1-1"
    )


KEPT_SNAPSHOTS = 10
AWS_WITH_SNAPSHOTS = """import datetime, json, os, sys
import jmespath
with open(os.environ["CALLS"], "a") as calls:
    calls.write(" ".join(sys.argv[1:]) + "\\n")
if sys.argv[2].startswith("describe-"):
    query = sys.argv[sys.argv.index("--query") + 1]
    for row in jmespath.search(query, json.loads(os.environ["SNAPSHOTS"])):
        print("\\t".join(row))
"""


@pytest.mark.parametrize(("kind", "what"), [("cluster", "db-cluster"), ("instance", "db")])
def test_the_oldest_of_our_snapshots_are_deleted_and_no_others(
    tmp_path: Path, kind: str, what: str
) -> None:
    scripts.write_python(tmp_path / "aws", AWS_WITH_SNAPSHOTS)
    id_of = "DBClusterSnapshotIdentifier" if kind == "cluster" else "DBSnapshotIdentifier"
    found = [
        {id_of: f"before-deploy-{day}", "Status": "available", "SnapshotCreateTime": f"{day:02}"}
        for day in (3, 1, 2, *range(4, KEPT_SNAPSHOTS + 3))
    ]
    found.append({id_of: "by-hand", "Status": "available", "SnapshotCreateTime": "00"})
    found.append({id_of: "before-deploy-99", "Status": "creating"})
    snapshots = {"DBClusterSnapshots" if kind == "cluster" else "DBSnapshots": found}
    calls = tmp_path / "calls"
    environment = {
        "PATH": f"{tmp_path}:/usr/bin:/bin",
        "CALLS": str(calls),
        "KIND": kind,
        "DATABASE": "jobs",
        "SNAPSHOTS": json.dumps(snapshots),
    }
    script = steps_of("deploy-stage", "deploy")[position("Prune")]["run"]
    bash = shutil.which("bash")
    assert bash
    subprocess.run([bash, "-e", "-c", script], env=environment, check=True)
    listed, *deleted = calls.read_text().splitlines()
    assert f"--db-{kind}-identifier jobs" in listed
    assert deleted == [
        f"rds delete-{what}-snapshot --{what}-snapshot-identifier before-deploy-{day}"
        for day in (2, 1)
    ]


def test_only_main_is_deployed() -> None:
    for stage in ("staging", "production"):
        assert WORKFLOWS["deploy"]["jobs"][stage]["if"] == "github.ref == 'refs/heads/main'"


SNAPSHOT_KINDS = [("elsewhere", 0, "::notice::"), ("", 1, "::error::Set the variable")]


@pytest.mark.parametrize(("kind", "code", "words"), SNAPSHOT_KINDS)
def test_production_is_not_migrated_unless_somebody_has_thought_of_the_snapshot(
    kind: str, code: int, words: str
) -> None:
    script = steps_of("deploy-stage", "deploy")[position("Snapshot")]["run"]
    bash = shutil.which("bash")
    assert bash
    ended = subprocess.run(
        [bash, "-e", "-c", script], env={"KIND": kind}, capture_output=True, text=True, check=False
    )
    assert ended.returncode == code
    assert words in ended.stdout
