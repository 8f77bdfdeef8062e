"""`stashjobs migrate`: bring a database up to date."""

from __future__ import annotations

import click

from stashjobs.config import settings
from stashjobs.store import migrations
from stashjobs.tools.cli.common import command


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be applied.")
@command
def migrate(*, dry_run: bool) -> None:
    """Apply pending migrations, in order."""
    names = migrations.migrate(settings.postgres_url(), dry_run=dry_run)
    for name in names:
        click.echo(f"{'would apply' if dry_run else 'applied'} {name}")
    if not names:
        click.echo("The database is up to date.")
