"""`stashjobs smoke`: one harmless job through the deployed system."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Any

import click

from stashjobs.config import settings
from stashjobs.job_type import declared
from stashjobs.store.jsonb import to_json
from stashjobs.tools.cli.common import command, json_option, load_jobs, local_home, parse_json
from stashjobs.tools.cli.jobs import lines_of
from stashjobs.tools.cli.publishing import ask_for_function_urls

MARKS = {True: ("passed", "green"), False: ("FAILED", "red"), None: ("skipped", "bright_black")}


@click.command()
@click.option("--type", "job_type", help="The job type to enqueue.  [default: cleanup-old-data]")
@click.option(
    "--payload", help="Its payload, as JSON.  [default: a dry run, which changes nothing]"
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=300.0,
    show_default=True,
    help="Seconds for the job, its log line and its metric. A metric takes up to three minutes.",
)
@json_option
@command
def smoke(*, job_type: str | None, payload: str | None, timeout: float, as_json: bool) -> None:
    """Enqueue a harmless job, wait for it, and check its row, its log line and its metric.

    It goes through the HTTP API where SMOKE_TOKEN or ADMIN_TOKEN is set. The exit code is 1 if
    anything is not as it should be.
    """
    from stashjobs.tools import smoke as smoking

    if (job_type is None) != (payload is None):
        raise click.UsageError("give --type and --payload together, or neither")
    load_jobs()
    document: Any = smoking.PAYLOAD if payload is None else parse_json(payload)
    chosen = job_type or smoking.TYPE
    ask_for_function_urls(job for job in declared() if job.type == chosen)
    logs = local_home() / "logs"
    outcome = smoking.run(chosen, document, seconds=timeout, logs=logs)
    if as_json:
        told = to_json(asdict(outcome)) | {"stage": settings.stage(), "passed": outcome.passed}
        click.echo(json.dumps(told))
    else:
        click.echo(_tell(outcome, chosen))
    sys.exit(not outcome.passed)


def _tell(outcome: Any, job_type: str) -> str:
    lines = [f"{click.style(job_type, bold=True)}  {outcome.job_id}", *lines_of(outcome.story), ""]
    for step in outcome.steps:
        word, color = MARKS[step.passed]
        lines.append(f"{click.style(f'{word:<7}', fg=color)}  {step.name:<9} {step.what}")
    return "\n".join(lines)
