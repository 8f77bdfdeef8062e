"""`stashjobs tokens`: who may use the HTTP API."""

from __future__ import annotations

import getpass
import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import click

from stashjobs.config import settings
from stashjobs.errors import UnknownJobType
from stashjobs.job_type import find
from stashjobs.operators import access
from stashjobs.store import database
from stashjobs.store.jsonb import to_json
from stashjobs.tools.cli.common import WrongUse, command, json_option, load_jobs


@click.group()
def tokens() -> None:
    """Make, list and revoke the tokens of the HTTP API."""


@tokens.command()
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    required=True,
    help=f"What it may do: {', '.join(access.SCOPES)}, or enqueue:TYPE for one type. Give it "
    "several times for several.",
)
@click.option(
    "--days", type=click.IntRange(1), help="Expires after this many days.  [default: never]"
)
@click.option(
    "--per-minute",
    type=click.IntRange(1),
    default=access.DEFAULT_PER_MINUTE,
    show_default=True,
    help="Rate limit, in requests per minute.",
)
@json_option
@command
def new(
    *, name: str, scopes: tuple[str, ...], days: int | None, per_minute: int, as_json: bool
) -> None:
    """Make a token called NAME. It is shown once and kept nowhere."""
    settings.act_as_owner()
    for scope in scopes:
        _refuse_wrong_scope(scope)
    expires_at = None if days is None else datetime.now(UTC) + timedelta(days=days)
    token = access.create_token(
        database.connection(),
        name,
        scopes,
        per_minute=per_minute,
        expires_at=expires_at,
        actor=getpass.getuser(),
    )
    if token is None:
        raise WrongUse(f"there is a token called {name} already; revoked ones keep their name")
    click.echo(json.dumps({"name": name, "token": token}) if as_json else token)


def _refuse_wrong_scope(scope: str) -> None:
    if not access.is_scope(scope):
        known = ", ".join(access.SCOPES)
        raise WrongUse(f"there is no scope {scope!r}; there are {known}, and enqueue:TYPE")
    _, _, job_type = scope.partition(":")
    if job_type:
        load_jobs()
        try:
            job = find(job_type)
        except UnknownJobType as error:
            raise WrongUse(str(error)) from None
        if job.enqueued_by == "system":
            raise WrongUse(f"{job_type} is enqueued by the system itself, by no token")


@tokens.command("list")
@json_option
@command
def list_tokens(*, as_json: bool) -> None:
    """List the tokens; their values are not stored."""
    found = access.list_tokens(database.connection())
    if as_json:
        click.echo(json.dumps([to_json(asdict(one)) for one in found]))
        return
    for one in found:
        state = "revoked" if one.revoked_at else "active"
        if not one.revoked_at and one.expires_at:
            state = f"until {one.expires_at:%Y-%m-%d}"
        click.echo(f"{one.name:<24} {','.join(one.scopes):<22} {one.per_minute:>6}/min  {state}")
    if not found:
        click.echo("No tokens. Make one with: stashjobs tokens new NAME --scope enqueue")


@tokens.command()
@click.argument("name")
@command
def revoke(*, name: str) -> None:
    """Revoke the token NAME at once."""
    settings.act_as_owner()
    if not access.revoke_token(database.connection(), name, actor=getpass.getuser()):
        raise click.ClickException(f"there is no active token called {name}")
    click.echo(f"{name} is revoked.")
