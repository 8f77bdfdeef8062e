"""`stashjobs schedules`: what is declared, what QStash has, and bringing them in step."""

from __future__ import annotations

import contextlib
import getpass
import json
import sys
from dataclasses import asdict

import click

from stashjobs.job_type import close_to
from stashjobs.operators import schedules as operator
from stashjobs.producer import schedules as declared_schedules
from stashjobs.tools.cli.common import WrongUse, command, json_option, load_jobs
from stashjobs.tools.cli.publishing import require_function_urls
from stashjobs.wording import plural


@click.group()
def schedules() -> None:
    """List, pause, resume and run schedules, and bring QStash in step with the code."""


@schedules.command("list")
@json_option
@command
def list_schedules(*, as_json: bool) -> None:
    """List declared schedules and their state at QStash."""
    load_jobs()
    there = {declared_schedules.name_of(found): found for found in declared_schedules.remote()}
    rows = [
        {
            "name": schedule.name,
            "type": schedule.job.type,
            "cron": schedule.cron,
            "timezone": schedule.timezone,
            "state": _state(there.get(schedule.name)),
        }
        for schedule in declared_schedules.declared()
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    for row in rows:
        click.echo(
            f"{row['name']:<24} {row['type']:<22} {row['cron']:<14} {row['timezone']:<16} "
            f"{row['state']}"
        )
    if not rows:
        click.echo("No schedules are declared.")


@schedules.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be done.")
@click.option(
    "--moved-from", metavar="URL", help="The BASE_URL before, whose schedules are this app's too."
)
@json_option
@command
def sync(*, dry_run: bool, moved_from: str | None, as_json: bool) -> None:
    """Make QStash's schedules of this app and stage match those declared in code."""
    if moved_from is not None and not moved_from.startswith(("https://", "http://")):
        raise WrongUse("--moved-from must be a URL, as BASE_URL was")
    load_jobs()
    wanted = declared_schedules.declared()
    require_function_urls(schedule.job for schedule in wanted)
    changes = asdict(declared_schedules.sync(wanted, dry_run=dry_run, moved_from=moved_from))
    if as_json:
        click.echo(json.dumps(changes))
        sys.exit(1 if changes["refused"] else 0)
    would = "would be " if dry_run else ""
    for done in ("created", "changed", "deleted"):
        for name in changes[done]:
            click.echo(f"{would}{done} {name}")
    for name in changes["paused"]:
        click.echo(f"{name} is paused, and changes when it is resumed")
    if changes["refused"]:
        reasons = [f"{name}: {reason}" for name, reason in changes["refused"].items()]
        raise click.ClickException("QStash refused " + "; ".join(reasons))
    if not any(changes[done] for done in ("created", "changed", "deleted")):
        click.echo(f"{plural(len(changes['unchanged']), 'schedule is', 'schedules are')} in step.")


def _complete_names(_context: click.Context, _param: click.Parameter, begun: str) -> list[str]:
    with contextlib.suppress(Exception):
        load_jobs()
    names = [schedule.name for schedule in declared_schedules.declared()]
    return [name for name in names if name.startswith(begun)]


name_argument = click.argument("name", shell_complete=_complete_names)
by_option = click.option("--by", "actor", help="Who does it, for the audit.  [default: your login]")


@schedules.command()
@name_argument
@by_option
@json_option
@command
def pause(*, name: str, actor: str | None, as_json: bool) -> None:
    """Pause a schedule at QStash until it is resumed."""
    _known(name)
    operator.pause(name, actor=actor or getpass.getuser())
    _say(name, "paused", as_json=as_json)


@schedules.command()
@name_argument
@by_option
@json_option
@command
def resume(*, name: str, actor: str | None, as_json: bool) -> None:
    """Resume a paused schedule, as it is declared now."""
    _known(name)
    operator.resume(name, actor=actor or getpass.getuser())
    _say(name, "active", as_json=as_json)


@schedules.command()
@name_argument
@by_option
@json_option
@command
def run(*, name: str, actor: str | None, as_json: bool) -> None:
    """Enqueue a schedule's job now, paused or not."""
    _known(name)
    enqueued = operator.run_now(name, actor=actor or getpass.getuser())
    if as_json:
        answer = {
            "jobId": enqueued.job_id,
            "created": enqueued.created,
            "published": enqueued.published,
        }
        click.echo(json.dumps(answer))
    else:
        click.echo(f"{enqueued.job_id} enqueued. See it with: stashjobs status {enqueued.job_id}")


def _known(name: str) -> None:
    """A name that neither the code declares nor QStash has is misspelt."""
    load_jobs()
    names = {schedule.name for schedule in declared_schedules.declared()}
    if name in names:
        return
    names |= {each.name for each in operator.list_all()}
    if name not in names:
        known = ", ".join(sorted(names)) or "none"
        raise WrongUse(f"unknown schedule {name!r}; there are {known}{close_to(name, names)}")


def _say(name: str, state: str, *, as_json: bool) -> None:
    click.echo(json.dumps({"name": name, "state": state}) if as_json else f"{name} is {state}.")


def _state(found: object) -> str:
    if found is None:
        return "not at QStash; run stashjobs schedules sync"
    return "paused" if getattr(found, "paused", False) else "active"
