"""Lambda entry: `functions.migrate.handler.handler`, invoked by `stashjobs migrate --in-stack`.

A function of a stack of its own (infra/migrate.yaml), which alone may read the secret with the
owner's URL: it migrates a Postgres that only the stage's network reaches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg

from stashjobs.config import settings
from stashjobs.errors import MigrationError
from stashjobs.observability import redaction
from stashjobs.observability.log import logger
from stashjobs.store import migrations

if TYPE_CHECKING:
    from collections.abc import Mapping

# What an event may have, and of which type each is.
FIELDS = {"dryRun": bool, "workerRole": str, "newest": str}


def handler(event: Mapping[str, Any], _lambda_context: Any) -> dict[str, Any]:
    """Apply the pending migrations as the owner of the tables.

    Args:
        event: `dryRun` only tells, `workerRole` grants a role what the functions need, and `newest`
            is the last migration that the caller knows.

    Returns:
        `names`: what was (or would be) applied.

    Raises:
        MigrationError: The event has another field, or one of another type; the function was built
            with other migrations than the caller knows; or Postgres refuses.
        SettingError: The URL is missing, or is none.
    """
    _refuse_what_makes_no_sense(event)
    settings.act_as_owner()
    dry_run = event.get("dryRun", False)
    try:
        names = migrations.migrate(
            settings.postgres_url(), dry_run=dry_run, role=event.get("workerRole")
        )
    except psycopg.Error as error:
        # Lambda answers with the error's text, and logs it.
        raise MigrationError(redaction.one_line(error)) from None
    logger().info("migrated", extra={"names": names, "dry_run": dry_run})
    return {"names": names}


def _refuse_what_makes_no_sense(event: object) -> None:
    if not isinstance(event, dict):
        raise MigrationError("the event must be a JSON object; {} migrates")
    for name, value in event.items():
        if name not in FIELDS:
            raise MigrationError(f"{name} is no field of this event; there are {', '.join(FIELDS)}")
        if not isinstance(value, FIELDS[name]):
            raise MigrationError(f"the event's {name} must be a {FIELDS[name].__name__}")
    newest = migrations.available()[-1].name
    if event.get("newest", newest) != newest:
        raise MigrationError(
            f"this function was built with the migrations up to {newest}, and those up to "
            f"{event['newest']} are wanted: build, deploy infra/migrate.yaml, then migrate"
        )
