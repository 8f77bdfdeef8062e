"""`stashjobs status` and `stashjobs list`: what became of jobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from stashjobs.operators import search, story
from stashjobs.store import database
from stashjobs.tools.cli.common import command, json_option, refuse_unknown_type
from stashjobs.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence

LIST_HEAD = f"{'job':<36}  {'created (UTC)':<19}  {'status':<10}  {'attempt':>7}  type"
# Well beyond what a delivery takes.
LONG_SECONDS = 60
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
    """Show the history of one job."""
    connection = database.connection()
    found = search.find(connection, job_id)
    if found is None:
        raise click.ClickException(f"there is no job {job_id}")
    actions = story.read_actions(connection, job_id)
    steps = story.read_steps(connection, job_id, actions)
    if as_json:
        click.echo(json.dumps(found.to_document()))
        return
    click.echo(tell(found, actions, steps))
    if found.undelivered_seconds > LONG_SECONDS:
        click.echo(_why_it_waits(found, search.count_running(connection, found.job_type)))


@click.command("list")
@click.option("--type", "job_type", help="Only jobs of this type.")
@click.option(
    "--status", "job_status", type=click.Choice(search.STATUSES), help="Only jobs with this status."
)
@click.option("--user-id", help="Only jobs of this user.")
@click.option("--organization-id", help="Only jobs of this organization.")
@click.option("--error", "error_contains", help="Only jobs whose error contains this text.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@json_option
@command
def list_jobs(
    *,
    job_type: str | None,
    job_status: str | None,
    user_id: str | None,
    organization_id: str | None,
    error_contains: str | None,
    limit: int,
    as_json: bool,
) -> None:
    """List jobs, the newest first."""
    refuse_unknown_type(job_type)
    which = search.Filter(
        job_type=job_type,
        status=job_status,
        user_id=user_id,
        organization_id=organization_id,
        error_contains=error_contains,
    )
    jobs = search.newest(database.connection(), which, limit=limit)
    if as_json:
        click.echo(json.dumps([one.to_document() for one in jobs]))
        return
    if jobs:
        click.secho(LIST_HEAD, dim=True)
    for one in jobs:
        colored = click.style(f"{one.status:<10}", fg=COLORS.get(one.status))
        attempts = f"{one.attempt}/{one.max_attempts}"
        created = f"{one.created_at:%Y-%m-%d %H:%M:%S}"
        error = f"  {one.error.splitlines()[0][:60]}" if one.error else ""
        click.echo(f"{one.job_id}  {created}  {colored}  {attempts:>7}  {one.job_type}{error}")
    if not jobs:
        click.echo("No jobs.")


def tell(
    job: search.JobExecution,
    actions: Sequence[story.Action] = (),
    steps: Sequence[story.Step] = (),
) -> str:
    """One job's story, for a person: a line per event, with the time since the first."""
    status = click.style(job.status, fg=COLORS.get(job.status))
    head = f"{click.style(job.job_type, bold=True)}  {job.job_id}  {status}"
    since = f"  {job.created_at:%Y-%m-%d} UTC"
    owners = {"user": job.user_id, "organization": job.organization_id}
    told = "".join(f"  {name} {value}" for name, value in owners.items() if value)
    lines = [head, since + told, *lines_of(story.tell(job, actions, steps))]
    if job.result is not None:
        lines.append(f"  result    {json.dumps(job.result, ensure_ascii=False)[:500]}")
    return "\n".join(lines)


def _why_it_waits(job: search.JobExecution, running: int) -> str:
    """What most often keeps QStash from delivering: of a refused delivery the row knows nothing."""
    minutes = round(job.undelivered_seconds / 60)
    return (
        f"\n  QStash has had the message for {plural(minutes, 'minute')}. Just now "
        f"{plural(running, 'job')} of {job.job_type} {'runs' if running == 1 else 'run'}: while "
        "every process of its\n  function is busy, deliveries are turned away (429 or 500) and "
        'come back later. Else see "Nothing\n  is delivered" in docs/troubleshooting.md.'
    )


def lines_of(events: Sequence[story.Event]) -> list[str]:
    """The lines of a story, each with the time since the first event."""
    lines = []
    for event in events:
        since = f"+{(event.at - events[0].at).total_seconds():.3f} s"
        state = click.style(f"{event.state:<10}", fg=COLORS.get(event.state))
        line = f"  {event.at:%H:%M:%S.%f}"[:-3] + f"  {since:>11}  {state}  {event.note}"
        lines.append(line.rstrip())
    return lines
