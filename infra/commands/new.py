"""`stashjobs new`: a job type, with everything that it needs."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from infra.commands.dev import checkout
from stashjobs.errors import StashjobsError
from stashjobs.tools.cli.common import WrongUse

if TYPE_CHECKING:
    from pathlib import Path

    from infra.commands.scaffold import Change
    from infra.commands.scaffold.wanted import Wanted


@click.command()
@click.argument("job_type", metavar="TYPE")
@click.option(
    "--timeout",
    type=click.IntRange(2, 890),
    default=30,
    show_default=True,
    help="Timeout of one attempt, in seconds.",
)
@click.option(
    "--retries",
    type=click.IntRange(0, 100),
    default=3,
    show_default=True,
    help="Retries after a failed attempt.",
)
@click.option(
    "--parallelism",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="How many of it may run at a time; as many connections become its own.",
)
@click.option("--endpoint", help="Its route.  [default: /api/jobs/TYPE]")
@click.option("--schedule", metavar="CRON", help='Also enqueue it on a schedule: "0 3 * * *".')
@click.option("--timezone", help="Time zone of the schedule.  [default: UTC]")
@click.option("--encrypted", is_flag=True, help="Encrypt its payloads and results.")
@click.option(
    "--listed-anew",
    is_flag=True,
    help="Only list it: its code is here, and its @job says the rest (docs/upgrading.md).",
)
@click.option("--dry-run", is_flag=True, help="Only show what would change, as a diff.")
def new(
    *,
    job_type: str,
    timeout: int,
    retries: int,
    parallelism: int,
    endpoint: str | None,
    schedule: str | None,
    timezone: str | None,
    encrypted: bool,
    listed_anew: bool,
    dry_run: bool,
) -> None:
    """Add a job type called TYPE, such as send-sms, to this checkout.

    Makes its function, its test and its page, and lists it wherever a type is listed: its route and
    its log group, its alarms, its share of the connections. All of it, or nothing.
    """
    from infra.commands import scaffold
    from infra.commands.scaffold.wanted import Wanted

    if timezone is not None and schedule is None:
        raise WrongUse("--timezone is the schedule's; give --schedule too")
    root = checkout(or_of_this_code=False)
    wanted = Wanted(
        type=job_type,
        endpoint=f"/api/jobs/{job_type}" if endpoint is None else endpoint,
        timeout=timeout,
        retries=retries,
        parallelism=parallelism,
        schedule=None if schedule is None else " ".join(schedule.split()),
        timezone="UTC" if timezone is None else timezone,
        encrypted=encrypted,
    )
    try:
        if listed_anew:
            wanted = _declared(root, job_type)
            changes = scaffold.list_anew(root, wanted)
        else:
            _check(root, wanted)
            changes = scaffold.work_out(root, wanted)
        if not dry_run:
            scaffold.carry_out(root, changes)
    except StashjobsError as error:
        raise WrongUse(f"{error}. Nothing was changed") from error
    except OSError as error:
        raise click.ClickException(f"{error}. Nothing was changed") from error
    click.echo("".join(each.diff for each in changes) if dry_run else _told(wanted, changes))


def _declared(root: Path, job_type: str) -> Wanted:
    """The type as its code declares it, where nothing lists it."""
    from infra.commands.scaffold.entries import TEMPLATE
    from infra.commands.scaffold.wanted import Wanted
    from stashjobs.job_type import find
    from stashjobs.tools.cli.common import load_jobs

    context = click.get_current_context()
    for name in ("timeout", "retries", "parallelism", "endpoint", "schedule", "encrypted"):
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise WrongUse(f"--{name} does not go with --listed-anew: the type's @job says it")
    load_jobs()
    job = find(job_type)
    wanted = Wanted(
        job_type,
        job.endpoint,
        timeout=math.ceil(job.timeout),
        retries=job.retries,
        parallelism=job.parallelism or 1,
    )
    if f"\n  {wanted.logical}Function:\n" in (root / TEMPLATE).read_text():
        raise WrongUse(f"{TEMPLATE} lists {job_type} already")
    return wanted


def _check(root: Path, wanted: Wanted) -> None:
    """Refuse what cannot be."""
    from infra.commands.scaffold.entries import ALARMS, TEMPLATE
    from infra.commands.scaffold.objections import clash, objection
    from infra.commands.scaffold.proof import read
    from stashjobs.job_type import load

    if (reason := objection(wanted)) is not None:
        raise WrongUse(reason)
    for name in ("functions", "tests", "docs", TEMPLATE):
        if (root / name).is_symlink():
            raise WrongUse(f"{root / name} is a link; run this where it leads to")
    functions = read(root / TEMPLATE).functions.values()
    routes = [route.path for function in functions for route in function.routes]
    texts = [(root / path).read_text() for path in (TEMPLATE, ALARMS)]
    names = [name for text in texts for name in re.findall(r"^  (\w+):", text, re.MULTILINE)]
    try:
        types = [each.type for each in load()]
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise WrongUse(f"the job types in functions/ cannot be loaded: {reason}") from error
    if (reason := clash(wanted, root, types=types, routes=routes, names=names)) is not None:
        raise WrongUse(reason)


def _told(wanted: Wanted, changes: list[Change]) -> str:
    at_a_time = "One runs" if wanted.parallelism == 1 else f"{wanted.parallelism} run"
    more = (
        "for more, raise parallelism in its handler and its share of Connections in template.yaml"
    )
    lines = [f"{'new' if each.before is None else 'changed':<8} {each.path}" for each in changes]
    lines += [
        "",
        f"What {wanted.type} does is yours to write: functions/{wanted.folder}/handler.py.",
        f"Its test: pytest tests/integration/{wanted.folder}",
        f"Try it: (re)start stashjobs dev, then: stashjobs enqueue {wanted.type} --example",
        f"{at_a_time} at a time; {more}.",
    ]
    if wanted.schedule is not None:
        lines.append("Once it is deployed, stashjobs schedules sync brings its schedule to QStash.")
    return "\n".join(lines)
