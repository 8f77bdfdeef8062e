"""`stashjobs dead-letters`: what is in QStash's dead-letter queue, and deleting it there."""

from __future__ import annotations

import getpass
import json

import click

from stashjobs.operators import dead_letters as operator
from stashjobs.tools.cli.common import WrongUse, command, json_option
from stashjobs.wording import plural


@click.group("dead-letters")
def dead_letters() -> None:
    """List and delete this stage's messages in QStash's dead-letter queue."""


@dead_letters.command("list")
@json_option
@command
def list_dead_letters(*, as_json: bool) -> None:
    """List dead letters, each with its job's status now, the newest first."""
    found = operator.list_all()
    if as_json:
        rows = [
            {
                "dlqId": each.dlq_id,
                "messageId": each.message_id,
                "jobId": each.job_id,
                "type": each.job_type,
                "status": each.status,
                "answer": each.answer or None,
                "sentAt": each.sent_at.isoformat(),
            }
            for each in found
        ]
        click.echo(json.dumps(rows))
        return
    for each in found:
        job = f"{each.job_id}  {each.job_type}" if each.job_id else each.url
        answer = each.answer or "none"
        click.echo(
            f"{each.dlq_id:<20}  {each.sent_at:%Y-%m-%d %H:%M:%S}  answer {answer:<4}  "
            f"{each.status or 'no job':<10}  {job}"
        )
    click.echo(f"{operator.summary(found)}." if found else "No dead letters.")


@dead_letters.command()
@click.argument("dlq_ids", nargs=-1, metavar="[DLQ_ID]...")
@click.option("--all", "every", is_flag=True, help="All of this stage.")
@click.option("--by", "actor", help="Who does it, for the audit.  [default: your login]")
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
@json_option
@command
def delete(
    *, dlq_ids: tuple[str, ...], every: bool, actor: str | None, yes: bool, as_json: bool
) -> None:
    """Delete dead letters at QStash. Their jobs stay as they are."""
    if every == bool(dlq_ids):
        raise WrongUse("give the ids of dead letters, or --all")
    if every and not yes and not as_json:
        click.confirm(f"{operator.summary(operator.list_all())}. Delete them?", abort=True)
    actor = actor or getpass.getuser()
    count = operator.delete_all(actor=actor) if every else operator.delete(dlq_ids, actor=actor)
    click.echo(
        json.dumps({"deleted": count}) if as_json else f"{plural(count, 'message')} deleted."
    )
