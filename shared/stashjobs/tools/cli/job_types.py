"""`stashjobs pause`, `resume` and `limit`: what an operator does to a job type at run time."""

from __future__ import annotations

import getpass
import json
from typing import TYPE_CHECKING

import click

from stashjobs.operators import job_types
from stashjobs.tools.cli.common import WrongUse, command, complete_types, json_option, load_jobs
from stashjobs.wording import plural

if TYPE_CHECKING:
    from stashjobs.store.job_types import TypeState

_by = click.option("--by", "actor", help="Who does it, for the audit.  [default: your login]")


@click.command()
@click.argument("job_type", shell_complete=complete_types)
@_by
@json_option
@command
def pause(*, job_type: str, actor: str | None, as_json: bool) -> None:
    """Start no new attempts of a type until it is resumed."""
    load_jobs()
    _say(job_types.pause(job_type, actor=actor or getpass.getuser()), as_json=as_json)


@click.command()
@click.argument("job_type", shell_complete=complete_types)
@_by
@json_option
@command
def resume(*, job_type: str, actor: str | None, as_json: bool) -> None:
    """Resume a paused type."""
    load_jobs()
    _say(job_types.resume(job_type, actor=actor or getpass.getuser()), as_json=as_json)


@click.command()
@click.argument("job_type", shell_complete=complete_types)
@click.option("--rate", type=click.IntRange(1, 1_000_000), help="At most this many per period.")
@click.option("--per", default="1s", show_default=True, help="The period: 10s, 1m, 2h, up to 7d.")
@click.option("--parallelism", type=click.IntRange(1, 1_000_000), help="At most this many at once.")
@click.option(
    "--lift", is_flag=True, help="Remove the limit; what the code declares applies again."
)
@_by
@json_option
@command
def limit(
    *,
    job_type: str,
    rate: int | None,
    per: str,
    parallelism: int | None,
    lift: bool,
    actor: str | None,
    as_json: bool,
) -> None:
    """Limit the deliveries of a type until the limit is lifted. A deploy does not change it."""
    load_jobs()
    actor = actor or getpass.getuser()
    if lift:
        if rate is not None or parallelism is not None:
            raise WrongUse("--lift takes neither --rate nor --parallelism")
        state = job_types.lift_limit(job_type, actor=actor)
    else:
        try:
            state = job_types.limit(
                job_type, actor=actor, rate=rate, period=per, parallelism=parallelism
            )
        except ValueError as error:
            raise WrongUse(str(error)) from error
    _say(state, as_json=as_json)


def _say(state: TypeState, *, as_json: bool) -> None:
    if as_json:
        document = {
            "type": state.job_type,
            "paused": state.paused,
            "rate": state.rate,
            "periodSeconds": state.period_seconds,
            "parallelism": state.parallelism,
        }
        click.echo(json.dumps(document))
        return
    limits = []
    if state.rate is not None:
        limits.append(f"{state.rate} in {plural(state.period_seconds or 1, 'second')}")
    if state.parallelism is not None:
        limits.append(f"{state.parallelism} at once")
    limited = f", limited to {' and '.join(limits)}" if limits else ""
    click.echo(f"{state.job_type} is {'paused' if state.paused else 'not paused'}{limited}.")
