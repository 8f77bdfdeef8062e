"""`stashjobs status` and `stashjobs list`: what became of jobs."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import click

from stashjobs.operators import masking, search, story
from stashjobs.store import database
from stashjobs.tools.cli.common import (
    age,
    command,
    complete_types,
    job_id_of,
    json_object,
    json_option,
    refuse_unknown_type,
)
from stashjobs.wording import plural

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

LIST_HEAD = f"{'job':<36}  {'created (UTC)':<19}  {'status':<10}  {'attempt':>7}  type"
# Well beyond what a delivery takes.
LONG_SECONDS = 60
# Characters of a document, in a terminal.
MAX_SHOWN = 2_000
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
    job_id = job_id_of(job_id)
    found = search.find(connection, job_id)
    if found is None:
        raise click.ClickException(f"there is no job {job_id}")
    actions = story.read_actions(connection, job_id)
    steps = story.read_steps(connection, job_id, actions)
    payload = masking.mask(search.find_payload(connection, job_id))
    if as_json:
        click.echo(json.dumps(found.to_document() | {"payload": payload}))
        return
    click.echo(tell(found, actions, steps))
    click.echo("\n".join(_documents(found, payload)))
    if found.undelivered_seconds > LONG_SECONDS:
        click.echo(_why_it_waits(found, search.count_running(connection, found.job_type)))


@click.command("list")
@click.option("--type", "job_type", shell_complete=complete_types, help="Only jobs of this type.")
@click.option(
    "--status", "job_status", type=click.Choice(search.STATUSES), help="Only jobs with this status."
)
@click.option("--user-id", help="Only jobs of this user.")
@click.option("--organization-id", help="Only jobs of this organization.")
@click.option("--error", "error_contains", help="Only jobs whose error contains this text.")
@click.option(
    "--newer-than", type=age, metavar="AGE", help="Only jobs younger than this: 90s, 10m, 2h, 7d."
)
@click.option("--older-than", type=age, metavar="AGE", help="Only jobs older than this.")
@click.option(
    "--metadata",
    type=json_object,
    metavar="JSON",
    help="Only jobs whose metadata contains these members.",
)
@click.option("--batch", "batch_id", help="Only jobs of this batch.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True)
@click.option(
    "--page", type=click.IntRange(1, 10_000), default=1, help="Page number; 1 has the newest jobs."
)
@json_option
@command
def list_jobs(
    *,
    job_type: str | None,
    job_status: str | None,
    user_id: str | None,
    organization_id: str | None,
    error_contains: str | None,
    newer_than: timedelta | None,
    older_than: timedelta | None,
    metadata: dict[str, Any] | None,
    batch_id: str | None,
    limit: int,
    page: int,
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
        metadata=metadata,
        created_after=None if newer_than is None else datetime.now(UTC) - newer_than,
        created_before=None if older_than is None else datetime.now(UTC) - older_than,
        batch_id=batch_id,
    )
    found = _page(which, limit, page)
    jobs = found.jobs
    if as_json:
        click.echo(json.dumps([one.to_document() for one in jobs]))
        _tell_more(found, page)
        return
    if jobs:
        click.secho(LIST_HEAD, dim=True)
    for one in jobs:
        colored = click.style(f"{one.status:<10}", fg=COLORS.get(one.status))
        attempts = f"{one.attempt}/{one.max_attempts}"
        created = f"{one.created_at:%Y-%m-%d %H:%M:%S}"
        # Masked before it is cut: a part of a key could not be told by its form.
        error = f"  {masking.mask_text(one.error).splitlines()[0][:60]}" if one.error else ""
        click.echo(f"{one.job_id}  {created}  {colored}  {attempts:>7}  {one.job_type}{error}")
    if not jobs:
        click.echo("No jobs.")
    _tell_more(found, page)


def _page(which: search.Filter, limit: int, number: int) -> search.Page:
    """The page with this number. A search looks on until it is full, or there are no more jobs."""
    connection = database.connection()
    before: tuple[datetime, str] | None = None
    while True:
        jobs: list[search.JobExecution] = []
        while True:
            part = search.page(connection, which, limit=limit - len(jobs), before=before)
            jobs += part.jobs
            before = part.next
            if len(jobs) == limit or before is None:
                break
        number -= 1
        if number == 0 or before is None:
            return search.Page(jobs if number == 0 else [], before)


def _tell_more(found: search.Page, page: int) -> None:
    """Beside the output, which a script may read."""
    if found.next is not None:
        click.echo(f"There are more: --page {page + 1}", err=True)


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
        lines.append(
            f"  result    {json.dumps(masking.mask(job.result), ensure_ascii=False)[:500]}"
        )
    return "\n".join(lines)


def _documents(job: search.JobExecution, payload: Any) -> list[str]:
    """What was given to a job, with likely secrets hidden, and where its last error came from."""
    lines = ["", f"  payload   {json.dumps(payload, ensure_ascii=False)[:MAX_SHOWN]}"]
    if job.metadata:
        shown = json.dumps(masking.mask(job.metadata), ensure_ascii=False)
        lines.append(f"  metadata  {shown[:MAX_SHOWN]}")
    traceback = job.errors[-1].get("traceback") if job.errors and job.error else None
    if isinstance(traceback, str):
        lines.append("")
        lines += [f"  {line}" for line in masking.mask_text(traceback).splitlines()]
    return lines


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
        line = (
            f"  {event.at:%H:%M:%S.%f}"[:-3]
            + f"  {since:>11}  {state}  {masking.mask_text(event.note)}"
        )
        lines.append(line.rstrip())
    return lines
