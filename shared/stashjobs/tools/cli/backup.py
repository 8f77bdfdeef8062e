"""`stashjobs backup`: take a dump, restore it, and prove that it can be restored."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from stashjobs.config import settings
from stashjobs.errors import StashjobsError
from stashjobs.tools import backup as backups
from stashjobs.tools.cli.common import WrongUse, command, json_option
from stashjobs.wording import plural

_FILE = click.Path(dir_okay=False, path_type=Path)


@click.group()
def backup() -> None:
    """Take and restore dumps of the database, and prove that they can be restored."""


@backup.command()
@click.argument("file", type=_FILE)
@command
def take(*, file: Path) -> None:
    """Dump the database into FILE, which must not exist.

    It holds everything, personal data and payloads: keep it as you keep the database.
    """
    if file.exists():
        raise WrongUse(f"{file} exists; give another name, or remove it")
    settings.act_as_owner()
    size = backups.take(settings.postgres_url(), file)
    click.echo(f"{file}: {_megabytes(size)}. Prove it: stashjobs backup verify")


@backup.command()
@click.argument("file", type=_FILE)
@click.option("--into", required=True, help="URL of the new database; it must not exist yet.")
@command
def restore(*, file: Path, into: str) -> None:
    """Restore the dump FILE into a new database."""
    backups.restore(file, _postgres_url(into))
    click.echo("Restored. To use it, set POSTGRES_URL to it; docs/deployment.md has the order.")


@backup.command()
@click.option(
    "--into",
    help="URL of the scratch database; it must not exist.  [default: one on the same server]",
)
@click.option(
    "--drop-leftover",
    is_flag=True,
    help="First drop the scratch database that a verify left when it was killed.",
)
@json_option
@command
def verify(*, into: str | None, drop_leftover: bool, as_json: bool) -> None:
    """Dump the database, restore the dump into a scratch database, compare, and drop it.

    Jobs go on meanwhile.
    """
    settings.act_as_owner()
    scratch = None if into is None else _postgres_url(into)
    url = settings.postgres_url()
    try:
        proof = backups.verify(url, scratch, drop_leftover=drop_leftover)
    except backups.Leftover as leftover:
        if as_json or not sys.stdin.isatty():
            raise
        click.confirm(f"{leftover}\nDrop it now and go on?", abort=True, err=True)
        proof = backups.verify(url, scratch, drop_leftover=True)
    if as_json:
        click.echo(json.dumps(asdict(proof)))
    else:
        rows = sum(proof.tables.values())
        click.echo(
            f"{plural(len(proof.tables), 'table')}, {plural(rows, 'row')}, "
            f"dump of {_megabytes(proof.bytes)}, {proof.seconds:.1f} s"
        )
    if proof.differences:
        raise StashjobsError(
            "the restored database is not the same: " + "; ".join(proof.differences)
        )
    if not as_json:
        click.secho("The restored database holds the same.", fg="green")


def _postgres_url(text: str) -> str:
    if not text.startswith(("postgres://", "postgresql://")):
        raise WrongUse("--into must be a URL: postgresql://user:password@host:5432/new_database")
    return text


def _megabytes(size: int) -> str:
    return f"{size / 1_000_000:.1f} MB"
