"""`stashjobs remove`: a job type of a team's own is taken out, with everything that `new` made."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import click

from infra.commands.dev import checkout
from stashjobs.errors import StashjobsError
from stashjobs.tools.cli.common import WrongUse, load_settings
from stashjobs.wording import plural

if TYPE_CHECKING:
    from pathlib import Path

    from infra.commands.scaffold import Change
    from infra.commands.scaffold.wanted import Wanted


@click.command()
@click.argument("job_type", metavar="TYPE")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--with-open-jobs", is_flag=True, help="Also where jobs of it have not ended.")
def remove(*, job_type: str, yes: bool, dry_run: bool, with_open_jobs: bool) -> None:
    """Take the job type TYPE out of this checkout: the reverse of `stashjobs new`.

    Deletes its function, its tests and its page, and takes it out of the templates, wherever `new`
    had listed it. All of it, or nothing. Its jobs in the database stay.
    """
    from infra.commands.scaffold import removal
    from infra.commands.scaffold.wanted import Wanted

    root = checkout(or_of_this_code=False)
    wanted = Wanted(job_type, f"/api/jobs/{job_type}", timeout=1, retries=0)
    try:
        _check(root, wanted)
        own, changes = removal.own_files(root, wanted), removal.work_out(root, wanted)
    except StashjobsError as error:
        raise WrongUse(f"{error}. Nothing was changed") from error
    told = _told(root, own, changes)
    if dry_run:
        click.echo("".join(each.diff for each in changes) + told)
        return
    if not with_open_jobs:
        _refuse_open_jobs(job_type)
    if not yes:
        click.echo(told)
        click.confirm(f"{job_type} and its code will be gone. Go on?", abort=True)
    try:
        removal.remove(root, changes, own)
    except StashjobsError as error:
        raise WrongUse(f"{error}. Nothing was changed") from error
    except OSError as error:
        raise click.ClickException(f"{error}. Nothing was changed") from error
    click.echo(f"{told}\n\n{_next(job_type)}" if yes else _next(job_type))


def _check(root: Path, wanted: Wanted) -> None:
    """Refuse what cannot be."""
    from infra.commands.scaffold import removal
    from infra.commands.scaffold.entries import TEMPLATE
    from infra.commands.scaffold.objections import NAME

    job_type = wanted.type
    if not NAME.fullmatch(job_type):
        raise WrongUse(f"{job_type!r} is no name for a job type")
    text = (root / TEMPLATE).read_text()
    if re.search(rf"^  Has{wanted.logical}:", text, re.MULTILINE):
        raise WrongUse(
            f"{job_type} comes with stashjobs; leave it out of a stage by the parameter "
            "BundledJobs (docs/deployment.md)"
        )
    handler = root / "functions" / wanted.folder / "handler.py"
    if not handler.exists() or not re.search(
        rf"@job\(\s*[\"']{re.escape(job_type)}[\"']", handler.read_text()
    ):
        raise WrongUse(f"there is no job type {job_type} in functions/{wanted.folder}/handler.py")
    if found := removal.users(root, wanted):
        raise WrongUse(
            f"{job_type} is used by {', '.join(found)}; take that out first. Nothing was changed"
        )


def _refuse_open_jobs(job_type: str) -> None:
    """As far as this machine's settings lead to a database."""
    import psycopg

    from stashjobs.operators import search
    from stashjobs.store import database

    load_settings(None)
    if not os.environ.get("POSTGRES_URL"):
        return
    try:
        with database.borrowed() as own:
            found = sum(
                len(search.newest(own, search.Filter(job_type=job_type, status=status), limit=1000))
                for status in ("waiting", "pending", "processing", "retrying")
            )
    except psycopg.Error:  # not there, or not migrated
        return
    if found:
        raise WrongUse(
            f"{plural(found, 'open job')} of {job_type} in {os.environ['STAGE']}: wait for the "
            f"end, or `stashjobs cancel --type {job_type}`, or give --with-open-jobs. Nothing was "
            "changed"
        )


def _told(root: Path, own: list[Path], changes: list[Change]) -> str:
    deleted = [f"deleted  {path.relative_to(root)}{'/' * path.is_dir()}" for path in own]
    return "\n".join([*deleted, *(f"changed  {each.path}" for each in changes)])


def _next(job_type: str) -> str:
    return (
        "Before you deploy this, let no job of it be left in any stage: stashjobs list --type "
        f"{job_type} --stage STAGE.\n"
        "After the deploy, stashjobs schedules sync takes its schedules from QStash."
    )
