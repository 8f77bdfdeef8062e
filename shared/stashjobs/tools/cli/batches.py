"""`stashjobs batches`: how batches stand."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from stashjobs.store import batches, database
from stashjobs.tools.cli.common import command, json_option

if TYPE_CHECKING:
    from stashjobs.store.batches import BatchState

HEAD = f"{'batch':<36}  {'created (UTC)':<19}  {'done':>7}  {'failed':>7}  {'waiting':>7}  name"


@click.command("batches")
@click.argument("batch_id", required=False)
@click.option("--limit", type=click.IntRange(1, 200), default=20, show_default=True)
@json_option
@command
def list_batches(*, batch_id: str | None, limit: int, as_json: bool) -> None:
    """Show how one batch stands, or the newest ones."""
    if batch_id is None:
        found = batches.newest(database.connection(), limit=limit)
    else:
        one = batches.find(database.connection(), batch_id)
        if one is None:
            raise click.ClickException(f"there is no batch {batch_id}")
        found = [one]
    if as_json:
        documents = [_document(one) for one in found]
        click.echo(json.dumps(documents if batch_id is None else documents[0]))
        return
    if not found:
        click.echo("No batches.")
        return
    click.secho(HEAD, dim=True)
    for each in found:
        click.echo(
            f"{each.batch_id}  {each.created_at:%Y-%m-%d %H:%M:%S}  {each.done:>7}  "
            f"{each.failed:>7}  {each.waiting:>7}  {each.name}"
        )


def _document(batch: BatchState) -> dict[str, Any]:
    return {
        "batch_id": batch.batch_id,
        "name": batch.name,
        "created_at": batch.created_at.isoformat(),
        "done": batch.done,
        "failed": batch.failed,
        "waiting": batch.waiting,
        "counts": batch.counts,
        "on_ended": batch.on_ended,
    }
