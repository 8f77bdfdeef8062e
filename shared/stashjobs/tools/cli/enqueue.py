"""`stashjobs enqueue`: enqueue one job."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Unpack

import click

from stashjobs.errors import NoSuchJob, NotPossible
from stashjobs.job_type import find
from stashjobs.producer import enqueue as producer
from stashjobs.producer import message as messages
from stashjobs.tools.cli.common import (
    WrongUse,
    age_or_moment,
    command,
    complete_types,
    job_id_of,
    json_object,
    json_option,
    load_jobs,
    moment,
    parse_json,
)
from stashjobs.tools.cli.publishing import warn_without_function_urls, warn_without_route

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stashjobs.producer.options import EnqueueOptions


@click.command()
@click.argument("job_type", metavar="TYPE", shell_complete=complete_types)
@click.argument("payload", required=False)
@click.option("--example", is_flag=True, help="Use the example of the type's payload model.")
@click.option("--user-id", help="The user the job is for.")
@click.option("--organization-id", help="The organization the job is for.")
@click.option("--delay", type=float, help="Run after this many seconds.")
@click.option(
    "--at",
    type=moment,
    metavar="TIME",
    help="Run at this time, with a time zone: 2030-01-31T09:00:00Z.",
)
@click.option(
    "--idempotency-key", help="Enqueue nothing if a job of this type already has this key."
)
@click.option(
    "--metadata", type=json_object, metavar="JSON", help="A JSON object, kept beside the payload."
)
@click.option(
    "--expires",
    type=age_or_moment,
    metavar="AGE|TIME",
    help="Begin no attempt after this: 10m, 2h, 2030-01-31T09:00:00Z.",
)
@click.option("--unique", metavar="KEY", help="If a job with this key waits, it is the answer.")
@click.option(
    "--unique-field",
    "unique_fields",
    multiple=True,
    metavar="NAME",
    help="The same by a field of the payload instead of a key; repeatable.",
)
@click.option(
    "--unique-while",
    type=click.Choice(["waiting", "running"]),
    help="Whether a job that runs counts too.",
)
@click.option(
    "--replace", is_flag=True, default=None, help="That job gets this payload and this time."
)
@click.option(
    "--debounce", type=float, help="Like --replace, due this many seconds after the last enqueue."
)
@click.option("--max-wait", type=float, help="At most this many seconds after the first.")
@click.option("--retries", type=int, help="Retries, instead of the type's default.")
@click.option(
    "--after", multiple=True, metavar="JOB", help="Wait until this job has ended; repeatable."
)
@click.option(
    "--when",
    type=click.Choice(["completed", "ended"]),
    help="Whether they must complete, or only end.",
)
@click.option("--batch", metavar="BATCH", help="Become one of this batch, which has not ended.")
@click.option("--encrypted", is_flag=True, default=None, help="Encrypt the payload.")
@json_option
@command
def enqueue(
    *,
    job_type: str,
    payload: str | None,
    example: bool,
    unique_fields: tuple[str, ...],
    as_json: bool,
    **options: Unpack[EnqueueOptions],
) -> None:
    """Enqueue one job of TYPE.

    PAYLOAD is JSON, or - to read it from standard input.
    """
    load_jobs()
    chosen = find(job_type)
    if example == (payload is not None):
        raise WrongUse("give either a payload as JSON (or - for standard input), or --example")
    document = chosen.example() if example else parse_json(payload or "")
    options["after"] = _ids_of(options.get("after") or [])
    if unique_fields:
        if options.get("unique") is not None:
            raise WrongUse("give --unique or --unique-field, not both")
        options["unique"] = list(unique_fields)
    warn_without_function_urls([chosen])
    warn_without_route(chosen)
    try:
        enqueued = producer.enqueue(chosen, document, options, None)
    except ValueError as error:
        raise WrongUse(str(error)) from error
    if as_json:
        answer = {
            "jobId": enqueued.job_id,
            "created": enqueued.created,
            "published": enqueued.published,
        }
        click.echo(json.dumps(answer))
        return
    if not enqueued.created:
        key = "unique key" if options.get("unique") is not None else "idempotency key"
        click.echo(f"{enqueued.job_id} has this {key} already; nothing was enqueued.")
    elif not enqueued.due:
        click.echo(f"{enqueued.job_id} recorded. It waits for the jobs in --after.")
    elif enqueued.published:
        click.echo(f"{enqueued.job_id} enqueued. See it with: stashjobs status {enqueued.job_id}")
    elif (due := _due(**options)) > _now() + timedelta(seconds=messages.horizon_seconds()):
        click.echo(
            f"{enqueued.job_id} recorded, due {due:%Y-%m-%d %H:%M} UTC. QStash does not hold a "
            "message for so long; the relay publishes it in time."
        )
    else:
        click.echo(
            f"{enqueued.job_id} recorded, and not published: QStash did not take it. The relay "
            "publishes it within a minute once QStash does."
        )


def _ids_of(jobs: Iterable[object]) -> list[str]:
    try:
        return [job_id_of(str(each)) for each in jobs]
    except (NoSuchJob, NotPossible) as error:
        raise WrongUse(f"--after: {error}") from error


def _due(*, delay: float | None, at: datetime | None, **_options: Any) -> datetime:
    return at.astimezone(UTC) if at else _now() + timedelta(seconds=delay or 0)


def _now() -> datetime:
    return datetime.now(UTC)
