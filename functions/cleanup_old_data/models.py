"""What a clean-up is asked to do, and what it says it did."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

DEFAULT_RETENTION_DAYS = 90

Days = Annotated[int, Field(ge=1, le=3650)]


class _Wire(BaseModel):
    """camelCase on the wire, snake_case in Python, nothing unknown in either."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class Cleanup(_Wire):
    """How old what is cleaned up must be, in days since it ended (notifications: since it was
    read or expired; emails: since the last that was heard of it).

    A type's own retention is that of `per_type`, else the one it was declared with, else
    `retention`, which is that of the access log too.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"retention": 90, "perType": {"send-email": 30}, "dryRun": False},
            ]
        }
    )

    retention: Days = DEFAULT_RETENTION_DAYS
    per_type: dict[str, Days] = {}
    notification_days: Days = DEFAULT_RETENTION_DAYS
    email_days: Days = DEFAULT_RETENTION_DAYS
    # Idempotency keys go with their rows; these let a key be used again sooner.
    idempotency_key_days: Days | None = None
    # More rows are fewer objects and fewer requests to S3, and more memory.
    batch_rows: Annotated[int, Field(ge=1, le=50_000)] = 5_000
    dry_run: bool = False


class CleanedUp(_Wire):
    """What was done, or, after a dry run, what there was to do.

    `finished` is False where the time was up first; the next run goes on. `archived` and `deleted`
    differ in a dry run only, where both are 0 and `would_delete` counts by type. `set_aside` counts
    the rows that could not be archived or deleted, those of earlier runs included; the log and
    `archive_batches` say why.
    """

    archived: int = 0
    deleted: int = 0
    finished: bool = True
    objects: int = 0
    bytes: int = 0
    notifications: int = 0
    emails: int = 0
    access_log: int = 0
    idempotency_keys: int = 0
    set_aside: int = 0
    would_delete: dict[str, Any] | None = None
