"""`stashjobs migrate`: bring a database up to date."""

from __future__ import annotations

import click

from stashjobs.config import settings
from stashjobs.store import migrations
from stashjobs.tools.cli.common import command


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be applied.")
@click.option(
    "--worker-role",
    metavar="ROLE",
    help="Grant this role of Postgres what the functions need, now and with every later migration.",
)
@command
def migrate(*, dry_run: bool, worker_role: str | None) -> None:
    """Apply pending migrations, in order, as the owner of the tables."""
    settings.act_as_owner()
    names = migrations.migrate(settings.postgres_url(), dry_run=dry_run, role=worker_role)
    for name in names:
        click.echo(f"{'would apply' if dry_run else 'applied'} {name}")
    if not names:
        click.echo("The database is up to date.")
