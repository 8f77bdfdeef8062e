"""`stashjobs types` and `stashjobs stats`: which job types there are, and how they do."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from pydantic.alias_generators import to_camel

from stashjobs.job_type import close_to, declared
from stashjobs.operators import health
from stashjobs.store import database
from stashjobs.tools.cli.common import (
    WrongUse,
    command,
    complete_types,
    json_option,
    load_jobs,
)
from stashjobs.wording import plural

COLORS = {"healthy": "green", "unhealthy": "red", "idle": "bright_black"}
STATS_HEAD = (
    f"{'type':<24}  {'jobs':>6}  {'completed':>9}  {'failed':>6}  {'rate':>6}  {'average':>9}  "
    f"{'95%':>9}  {'stuck':>5}  health"
)


@click.command()
@json_option
@command
def types(*, as_json: bool) -> None:
    """List the job types of this checkout."""
    load_jobs()
    jobs = declared()
    if as_json:
        rows = [
            {
                "type": job.type,
                "endpoint": job.endpoint,
                "retries": job.retries,
                "timeout": job.timeout,
                "rate": job.rate,
                "periodSeconds": None if job.rate is None else job.period_seconds,
                "parallelism": job.parallelism,
                "encrypted": job.encrypted,
                "retention": job.retention,
                "onFailed": None if job.on_failed is None else job.on_failed.type,
            }
            for job in jobs
        ]
        click.echo(json.dumps(rows))
        return
    for job in jobs:
        what = " ".join((job.__doc__ or "").split()).partition(". ")[0].rstrip(".")
        encrypted = "  encrypted" if job.encrypted else ""
        click.echo(
            f"{job.type:<24}  {job.endpoint:<28}  {plural(job.retries, 'retry', 'retries'):>9}  "
            f"{job.timeout:>4g} s{encrypted}  {what}"
        )
    if not jobs:
        click.echo("No job types. Make one with: stashjobs new send-sms")


@click.command()
@click.option("--type", "job_type", shell_complete=complete_types, help="Only this type.")
@json_option
@command
def stats(*, job_type: str | None, as_json: bool) -> None:
    """Show recent outcomes (the last hour, or HEALTH_WINDOW_SECONDS) and the queue."""
    connection = database.connection()
    if job_type is not None:
        load_jobs()
        known = [job.type for job in declared()]
        if job_type not in known:
            near = close_to(job_type, known)
            raise WrongUse(f"unknown job type {job_type!r}; there are {', '.join(known)}{near}")
    found = [each for each in health.read(connection, job_type) if each.job_type or not job_type]
    if job_type is not None and not found:
        found = [health.idle(job_type)]
    queue = health.read_queue(connection)
    if as_json:
        told = [{"type": each.job_type} | health.to_document(each) for each in found]
        waiting = {to_camel(name): value for name, value in asdict(queue).items()}
        click.echo(json.dumps({"types": told, "queue": waiting}))
        return
    click.secho(STATS_HEAD, dim=True)
    for each in found:
        click.echo(_line(each))
    click.echo(
        f"\n{plural(queue.depth, 'job')} due and waiting"
        + (f", one for {queue.oldest_seconds:.0f} s" if queue.depth else "")
        + ("" if found[0].exact else f". Of the newest {plural(health.SAMPLE, 'job')} only")
        + "."
    )


def _line(each: health.TypeHealth) -> str:
    rate = "" if each.failure_rate is None else f"{each.failure_rate:.1%}"
    average, p95 = (
        "" if seconds is None else f"{seconds:.3f} s"
        for seconds in (each.average_seconds, each.p95_seconds)
    )
    counts = each.counts
    return (
        f"{each.job_type or 'all':<24}  {each.total:>6}  {counts.get('completed', 0):>9}  "
        f"{counts.get('failed', 0):>6}  {rate:>6}  {average:>9}  {p95:>9}  {each.stuck:>5}  "
        f"{click.style(each.health, fg=COLORS[each.health])}"
    )
