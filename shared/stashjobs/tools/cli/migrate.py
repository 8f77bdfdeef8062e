"""`stashjobs migrate`: bring a database up to date."""

from __future__ import annotations

import json
from typing import Any

import click

from stashjobs.config import settings
from stashjobs.store import migrations
from stashjobs.tools.cli.common import WrongUse, command

# Lambda ends an invocation after 15 minutes; its answer needs a moment.
WAIT_SECONDS = 930


@click.command()
@click.option("--dry-run", is_flag=True, help="Only show what would be applied.")
@click.option(
    "--worker-role",
    metavar="ROLE",
    help="Grant this role of Postgres what the functions need, now and with every later migration.",
)
@click.option(
    "--in-stack",
    is_flag=True,
    help="Have the stage's function do it (infra/migrate.yaml), where only its network reaches "
    "Postgres.",
)
@command
def migrate(*, dry_run: bool, worker_role: str | None, in_stack: bool) -> None:
    """Apply pending migrations, in order, as the owner of the tables."""
    if in_stack:
        names = _invoke(dry_run=dry_run, worker_role=worker_role)
    else:
        settings.act_as_owner()
        names = migrations.migrate(settings.postgres_url(), dry_run=dry_run, role=worker_role)
    for name in names:
        click.echo(f"{'would apply' if dry_run else 'applied'} {name}")
    if not names:
        click.echo("The database is up to date.")


def _invoke(*, dry_run: bool, worker_role: str | None) -> list[str]:
    """Have the function migrate, as far as this checkout knows.

    Raises:
        WrongUse: AWS cannot be asked from here, or there is no such function.
        ClickException: It failed, with its own words.
    """
    from stashjobs.tools.doctor import stack

    try:
        session = stack.session()
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError
    except ModuleNotFoundError:
        raise WrongUse("boto3 is not installed; install stashjobs[aws]") from None
    except stack.NotHere as reason:
        raise WrongUse(f"the function cannot be invoked: {reason}") from None
    function = f"stashjobs-{settings.stage()}-migrate"
    event: dict[str, Any] = {"dryRun": dry_run, "newest": migrations.available()[-1].name}
    if worker_role is not None:
        event["workerRole"] = worker_role
    # A second try would wait for the first one's lock, and hide what that one says.
    patient = Config(
        read_timeout=WAIT_SECONDS, retries={"total_max_attempts": 1}, tcp_keepalive=True
    )
    client = session.client("lambda", config=patient)
    click.echo(f"By the function {function}.", err=True)
    try:
        answer = client.invoke(FunctionName=function, Payload=json.dumps(event))
        told = json.loads(answer["Payload"].read())
    except client.exceptions.ResourceNotFoundException:
        raise WrongUse(
            f"there is no function {function} here; deploy infra/migrate.yaml "
            "(docs/deployment.md, A Postgres in a private network)"
        ) from None
    except (BotoCoreError, ClientError) as error:
        raise click.ClickException(f"{function} cannot be invoked: {error}") from None
    finally:
        client.close()
    if "FunctionError" in answer:
        raise click.ClickException(
            f"the function {function} failed: {told.get('errorMessage', told)}"
        )
    names: list[str] = told["names"]
    return names
