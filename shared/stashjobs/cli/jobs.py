"""`stashjobs status` and `stashjobs list`: what became of jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from stashjobs import database, lookup
from stashjobs.cli.common import command, json_option

if TYPE_CHECKING:
    from collections.abc import Sequence

COLORS = {
    "completed": "green",
    "failed": "red",
    "cancelled": "magenta",
    "retrying": "yellow",
    "processing": "blue",
}


@click.command()
@click.argument("job_id")
@json_option
@command
def status(*, job_id: str, as_json: bool) -> None:
    """Tell the story of one job."""
    found = lookup.find(database.connection(), job_id)
    if found is None:
        raise click.ClickException(f"there is no job {job_id}")
    click.echo(json.dumps(found.to_document()) if as_json else tell(found))


@click.command("list")
@click.option("--type", "job_type", help="Only jobs of this type.")
@click.option("--status", "job_status", type=click.Choice(lookup.STATUSES), help="Only these.")
@click.option("--user-id", help="Only jobs of this user.")
@click.option("--organization-id", help="Only jobs of this organization.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
@command
def list_jobs(
    *,
    job_type: str | None,
    job_status: str | None,
    user_id: str | None,
    organization_id: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List jobs, the newest first."""
    which = lookup.Filter(
        job_type=job_type, status=job_status, user_id=user_id, organization_id=organization_id
    )
    jobs = lookup.newest(database.connection(), which, limit=limit)
    if as_json:
        click.echo(json.dumps([one.to_document() for one in jobs]))
        return
    for one in jobs:
        colored = click.style(f"{one.status:<10}", fg=COLORS.get(one.status))
        attempts = f"{one.attempt}/{one.max_attempts}"
        created = f"{one.created_at:%Y-%m-%d %H:%M:%S}"
        click.echo(f"{one.job_id}  {created}  {colored}  {attempts:>5}  {one.job_type}")
    if not jobs:
        click.echo("No jobs.")


def tell(job: lookup.JobExecution) -> str:
    """One job's story, for a person: a line per event, with the time since the first."""
    head = f"{click.style(job.job_type, bold=True)}  {job.job_id}"
    return "\n".join([head, *story(job.story())])


def story(events: Sequence[lookup.Event]) -> list[str]:
    """The lines of a story, each with the time since the first event."""
    lines = []
    for event in events:
        since = f"+{(event.at - events[0].at).total_seconds():.3f} s"
        state = click.style(f"{event.state:<10}", fg=COLORS.get(event.state))
        line = f"  {event.at:%H:%M:%S.%f}"[:-3] + f"  {since:>11}  {state}  {event.note}"
        lines.append(line.rstrip())
    return lines
