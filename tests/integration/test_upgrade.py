"""A team with a job type of its own takes a later version: git merges it with no conflict, and
what the last release left in the database goes on (docs/upgrading.md)."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from infra.commands import scaffold
from infra.commands.scaffold.entries import ALARMS, DASHBOARD, LISTS_TYPES, OVERVIEW, TEMPLATE
from infra.commands.scaffold.wanted import Wanted
from stashjobs import Context, job
from stashjobs.store import migrations
from tests.deliveries import deliver
from tests.programs import GIT

if TYPE_CHECKING:
    from collections.abc import Iterator


ROOT = Path(__file__).parents[2]
TEXTS = {path: (ROOT / path).read_text() for path in LISTS_TYPES}
OURS = [
    Wanted("made-here", "/api/jobs/made-here", timeout=45, retries=3, schedule="0 3 * * *"),
    Wanted("quick", "/api/jobs/quick", timeout=20, retries=0, encrypted=True),
]
# What a later version may add: beside each of a team's places, as near as anything of it comes.
LATER = [
    (TEMPLATE, "      # --- shares of your own, from", "      NewFunction: 1\n"),
    (TEMPLATE, '\n\n              "LEFT_OUT_JOBS"', '              "FUNCTION_URL_NEW": "x",\n'),
    (TEMPLATE, '              "LEFT_OUT_JOBS"', '              "NEW_SETTING": "x",\n'),
    (TEMPLATE, "  # --- functions of your own, from", "  New:\n    Type: AWS::SNS::Topic\n\n"),
    (TEMPLATE, "  # --- outputs of your own, from", "  New:\n    Value: new\n"),
    (ALARMS, "  # --- alarms of your own, from", "  New:\n    Type: AWS::SNS::Topic\n\n"),
    (DASHBOARD, "                # --- log groups of your own, from", "                - new\n"),
    (OVERVIEW, "\n## The types of your own", "| `new` | [new.md](new.md) |\n"),
]


def later(texts: dict[str, str]) -> dict[str, str]:
    changed = dict(texts)
    for path, before, addition in LATER:
        assert before in changed[path], (path, before)
        changed[path] = changed[path].replace(before, addition + before)
    return changed


def with_ours(texts: dict[str, str]) -> dict[str, str]:
    for wanted in OURS:
        texts = texts | scaffold.listed(texts, wanted) | scaffold.new_files(wanted)
    return texts


class Checkout:
    """A repository with these texts in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._git = GIT.path()
        self("init", "--quiet", "--initial-branch", "main")

    def __call__(self, *arguments: str) -> str:
        names = ("AUTHOR", "COMMITTER")
        who = {
            f"GIT_{one}_{what}": "team@example.com" for one in names for what in ("NAME", "EMAIL")
        }
        ran = subprocess.run(
            [self._git, *arguments],
            cwd=self.folder,
            env={"PATH": os.environ["PATH"], "HOME": str(self.folder), **who},
            capture_output=True,
            text=True,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def commit(self, texts: dict[str, str], message: str) -> None:
        for path, text in texts.items():
            (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / path).write_text(text)
        self("add", "--all")
        self("commit", "--quiet", "--message", message)


def test_a_later_version_is_merged_without_a_conflict(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path)
    checkout.commit(TEXTS, "The version that was adopted")
    checkout("branch", "upstream")
    checkout.commit(with_ours(TEXTS), "Types of our own")
    checkout("checkout", "--quiet", "upstream")
    checkout.commit(later(TEXTS), "A later version")
    checkout("checkout", "--quiet", "main")
    checkout("merge", "--quiet", "--no-edit", "upstream")
    merged = with_ours(later(TEXTS))
    assert {path: (tmp_path / path).read_text() for path in merged} == merged


# --- the database

numbers = itertools.count()
LAST_RELEASE = Path(__file__).parent / "release_0_1"
# The migrations that the last release had.
FIRST_AFTER = "0012"


@job("made-before", endpoint="/api/jobs/made-before", parallelism=1)
def made_before(payload: dict[str, Any], _context: Context) -> dict[str, int]:
    """A type that a team has had since the last release."""
    return {"characters": len(payload["message"])}


@pytest.fixture
def old_url(postgres: Any, tmp_path: Path) -> Iterator[str]:
    """A database as the last release left it, with jobs and a table of the team's."""
    name = psycopg.sql.Identifier(f"upgrade_{next(numbers)}")
    for migration in migrations.available():
        if migration.name < FIRST_AFTER:
            (tmp_path / migration.name).write_text(migration.sql)
    (tmp_path / "sql").mkdir()
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE DATABASE {} STRATEGY FILE_COPY").format(name))
        url = postgres.url_of(name.as_string().strip('"'))
        migrations.migrate(url, folder=tmp_path, functions_folder=tmp_path / "sql")
        yield url
        connection.execute(psycopg.sql.SQL("DROP DATABASE {} (FORCE)").format(name))


def old(name: str) -> bytes:
    return (LAST_RELEASE / f"{name}.sql").read_bytes()


def enqueue_before(connection: psycopg.Connection[Any], *job_ids: str) -> None:
    same: list[list[Any]] = [[each] * len(job_ids) for each in (3, None, None, None)]
    columns = [
        [*job_ids],
        [made_before.type] * len(job_ids),
        [Jsonb({"message": "Hello"})] * len(job_ids),
        *same,
        [f"key:{each}" for each in job_ids],
        [Jsonb({})] * len(job_ids),
        [Jsonb({})] * len(job_ids),
    ]
    connection.execute(old("enqueue"), columns)


def test_jobs_and_tables_of_the_last_release_become_this_versions(
    old_url: str, stashjobs_settings: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(old_url, autocommit=True) as connection:
        enqueue_before(connection, "waits", "runs", "done")
        claim = {
            "job_type": made_before.type,
            "lease_seconds": 60,
            "message_id": "msg",
            "schedule_id": None,
        }
        for job_id in ("runs", "done"):
            connection.execute(old("claim"), {**claim, "job_id": job_id})
        done = {"job_id": "done", "attempt": 1, "result": Jsonb({"characters": 5})}
        connection.execute(old("complete"), done)
        connection.execute(
            "CREATE TABLE letters (id bigint GENERATED ALWAYS AS IDENTITY, job_id text"
            " REFERENCES job_executions (job_id) ON DELETE SET NULL)"
        )
        connection.execute("INSERT INTO letters (job_id) VALUES ('waits'), ('done')")
        migrations.migrate(old_url)
        assert [each.name for each in migrations.available()][-1] >= FIRST_AFTER

        stashjobs_settings.setenv("POSTGRES_URL", old_url)
        assert deliver(made_before, "waits").status == 200
        assert deliver(made_before, "runs").status == 409  # its holder goes on
        done = {"job_id": "runs", "attempt": 1, "result": Jsonb({"characters": 5})}
        assert connection.execute(old("complete"), done).fetchone() is not None
        rows = connection.execute("SELECT job_id, status, result FROM job_executions").fetchall()
        assert sorted(rows) == [
            (job_id, "completed", {"characters": 5}) for job_id in ("done", "runs", "waits")
        ]
        assert connection.execute("SELECT count(job_id) FROM letters").fetchone() == (2,)
