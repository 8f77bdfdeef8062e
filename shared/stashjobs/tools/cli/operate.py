"""`stashjobs retry` and `stashjobs cancel`: one job by its id, or all that fit a filter."""

from __future__ import annotations

import functools
import getpass
import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from stashjobs.job_type import declared
from stashjobs.operators import retry_and_cancel, search
from stashjobs.operators.retry_and_cancel import CANCELLABLE, RETRYABLE
from stashjobs.operators.search import Filter
from stashjobs.store import database
from stashjobs.tools.cli.common import (
    WrongUse,
    age,
    command,
    complete_types,
    job_id_of,
    json_option,
    load_jobs,
    parse_json,
    refuse_unknown_type,
)
from stashjobs.tools.cli.publishing import warn_without_function_urls
from stashjobs.wording import plural

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def filters(function: Callable[..., None]) -> Callable[..., None]:
    """The options that say which jobs, and how to go about it."""
    options = [
        click.argument("job_id", required=False),
        click.option(
            "--type", "job_type", shell_complete=complete_types, help="All jobs of this type."
        ),
        click.option("--user-id", help="All jobs of this user."),
        click.option("--organization-id", help="All jobs of this organization."),
        click.option(
            "--older-than",
            type=age,
            metavar="AGE",
            help="All jobs older than this: 90s, 10m, 2h, 7d.",
        ),
        click.option("--newer-than", type=age, metavar="AGE", help="All jobs younger than this."),
        click.option("--error", "error_contains", help="All jobs whose error contains this text."),
        click.option("--batch", "batch_id", help="All jobs of this batch."),
        click.option("--by", "actor", help="Who does it, for the audit.  [default: your login]"),
        click.option("--dry-run", is_flag=True, help="Only count."),
        click.option("--yes", is_flag=True, help="Do not ask for confirmation."),
        json_option,
    ]
    for option in reversed(options):
        function = option(function)
    return function


@click.command()
@filters
@click.option("--status", type=click.Choice(RETRYABLE), help="All jobs with this status.")
@click.option("--payload", help="A JSON payload to replace the job's own. One job only.")
@click.option(
    "--from-step",
    metavar="NAME",
    help="Drop the kept results of this step and those after it. One job only.",
)
@command
def retry(
    *, status: str | None, payload: str | None, from_step: str | None, **options: Any
) -> None:
    """Retry failed, cancelled or completed jobs."""
    load_jobs()
    one = functools.partial(retry_and_cancel.retry, from_step=from_step)
    for given, name in ((payload, "--payload"), (from_step, "--from-step")):
        if given is not None and not options["job_id"]:
            raise WrongUse(f"{name} is for one job; give its id")
    if payload is not None:
        one = functools.partial(one, payload=parse_json(payload))
    if not options["dry_run"]:
        wanted = options["job_type"]
        warn_without_function_urls(job for job in declared() if wanted in {None, job.type})
    # Without a status, "retry --type X" means failed jobs: completed ones are not repeated.
    operate("retried", status, "failed", RETRYABLE, one, retry_and_cancel.retry_all, **options)


@click.command()
@filters
@click.option("--status", type=click.Choice(CANCELLABLE), help="All jobs with this status.")
@command
def cancel(*, status: str | None, **options: Any) -> None:
    """Cancel waiting jobs and their QStash messages."""
    one, many = retry_and_cancel.cancel, retry_and_cancel.cancel_all
    operate("cancelled", status, None, CANCELLABLE, one, many, **options)


def operate(
    done: str,
    status: str | None,
    default_status: str | None,
    statuses: Sequence[str],
    one: Callable[..., None],
    many: Callable[..., retry_and_cancel.Changed],
    *,
    job_id: str | None,
    actor: str | None,
    dry_run: bool,
    yes: bool,
    as_json: bool,
    older_than: timedelta | None,
    newer_than: timedelta | None,
    is_final: bool = False,
    **conditions: Any,
) -> None:
    """Do something to one job, or to all that fit, after a question where it cannot be undone.

    Raises:
        WrongUse: The options make no sense together.
    """
    now = datetime.now(UTC)
    which = Filter(
        **conditions,
        status=status or default_status,
        created_before=None if older_than is None else now - older_than,
        created_after=None if newer_than is None else now - newer_than,
    )
    filters = (status, older_than, newer_than, *conditions.values())
    by_filter = any(each is not None for each in filters)
    if job_id is not None and by_filter:
        raise WrongUse("give the id of one job or filters, not both")
    if job_id is None and not by_filter:
        raise WrongUse("give the id of one job, or at least one of the filters")
    refuse_unknown_type(which.job_type)
    if job_id is not None:
        job_id = job_id_of(job_id)
    actor = actor or getpass.getuser()
    if job_id is not None:
        if dry_run:
            _say(f"would be {done}", _count_one(job_id, statuses), as_json=as_json)
        else:
            if is_final and not yes and not as_json:
                click.confirm(f"{job_id} will be {done} for good. Go on?", abort=True, err=True)
            elif not yes:
                _confirm_if_completed(job_id, statuses, ask=not as_json)
            one(job_id, actor=actor)
            _say(done, 1, as_json=as_json)
        return
    found = retry_and_cancel.count(statuses, which)
    if dry_run:
        _say(f"would be {done}", found, as_json=as_json)
        return
    if found and not yes and not as_json:
        click.confirm(f"{plural(found, 'job')} will be {done}. Go on?", abort=True)
    _say(done, many(which, actor=actor).count, as_json=as_json)


def _confirm_if_completed(job_id: str, statuses: Sequence[str], *, ask: bool) -> None:
    """What went well once is seldom meant to be done again."""
    found = search.find(database.connection(), job_id)
    if found is not None and found.status == "completed" and found.status in statuses:
        if not ask:
            raise WrongUse(f"{job_id} has completed; to do all of it again, give --yes")
        click.confirm(
            f"{job_id} has completed; it will do all of it again. Go on?", abort=True, err=True
        )


def _count_one(job_id: str, statuses: Sequence[str]) -> int:
    found = search.find(database.connection(), job_id)
    if found is None:
        raise click.ClickException(f"there is no job {job_id}")
    return int(found.status in statuses)


def _say(done: str, count: int, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({done.replace(" ", "_"): count}))
    else:
        click.echo(f"{plural(count, 'job')} {done}.")
