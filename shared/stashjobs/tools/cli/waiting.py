"""`stashjobs run-now`, `reschedule`, `edit` and `delete`: what can be done to jobs that wait."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING, Any

import click

from stashjobs.operators import waiting
from stashjobs.operators.waiting import RUNNABLE, WAITING
from stashjobs.tools.cli.common import (
    WrongUse,
    command,
    job_id_of,
    json_option,
    load_jobs,
    moment,
    parse_json,
)
from stashjobs.tools.cli.operate import filters, operate

if TYPE_CHECKING:
    from datetime import datetime

by_option = click.option("--by", "actor", help="Who does it, for the audit.  [default: your login]")


@click.command("run-now")
@filters
@click.option("--status", type=click.Choice(RUNNABLE), help="All jobs with this status.")
@command
def run_now(*, status: str | None, **options: Any) -> None:
    """Run delayed, snoozed or retrying jobs at once."""
    load_jobs()
    one, many = waiting.run_now, waiting.run_all_now
    operate("run now", status, None, RUNNABLE, one, many, **options)


@click.command()
@filters
@click.option("--status", type=click.Choice(WAITING), help="All jobs with this status.")
@command
def delete(*, status: str | None, **options: Any) -> None:
    """Delete waiting jobs and their QStash messages, for good."""
    one, many = waiting.delete, waiting.delete_all
    operate("deleted", status, None, WAITING, one, many, is_final=True, **options)


@click.command()
@click.argument("job_id")
@click.option("--at", type=moment, metavar="TIME", help="Due then: 2030-01-31T09:00:00Z.")
@click.option("--delay", type=float, help="Due in this many seconds.")
@by_option
@json_option
@command
def reschedule(
    *, job_id: str, at: datetime | None, delay: float | None, actor: str | None, as_json: bool
) -> None:
    """Change when a waiting job is due."""
    load_jobs()
    job_id = job_id_of(job_id)
    try:
        due = waiting.reschedule(job_id, actor=actor or getpass.getuser(), at=at, delay=delay)
    except ValueError as error:
        raise WrongUse(str(error)) from error
    if as_json:
        click.echo(json.dumps({"jobId": job_id, "availableAt": due.isoformat()}))
    else:
        click.echo(f"{job_id} is due at {due:%Y-%m-%d %H:%M:%S %Z}.")


@click.command()
@click.argument("job_id")
@click.argument("payload")
@by_option
@json_option
@command
def edit(*, job_id: str, payload: str, actor: str | None, as_json: bool) -> None:
    """Replace the payload of a waiting job. PAYLOAD is JSON, or - for standard input."""
    load_jobs()
    job_id = job_id_of(job_id)
    waiting.edit(job_id, actor=actor or getpass.getuser(), payload=parse_json(payload))
    click.echo(json.dumps({"edited": 1}) if as_json else f"{job_id} has the new payload.")
