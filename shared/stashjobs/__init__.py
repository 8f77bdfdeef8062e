"""stashjobs: background jobs for AWS Lambda, delivered by QStash, recorded in Postgres.

from stashjobs import Context, job

@job("send-email", endpoint="/api/jobs/email", retries=3, timeout=30)
def send_email(email: Email, context: Context) -> SentEmail: ...

handler = send_email.handler                       # what Lambda calls
send_email.enqueue(Email(...), user_id="u_1")      # what an app calls
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from stashjobs.delivery.context import Context
from stashjobs.errors import (
    Cancelled,
    DeadlineNear,
    DeliveryRefused,
    EncryptionError,
    InvalidEnvelope,
    InvalidPayload,
    InvalidSignature,
    LeaseLost,
    MigrationError,
    NoSuchJob,
    NoSuchSchedule,
    NotPossible,
    NotSynced,
    PayloadTooLarge,
    PermanentError,
    QStashFailed,
    RetryLater,
    SecretUnreadable,
    SettingError,
    Snooze,
    SnoozedTooOften,
    StashjobsError,
    StepRefused,
    UnknownJobType,
)
from stashjobs.hooks import around
from stashjobs.job import Job, job

if TYPE_CHECKING:
    from stashjobs.producer.batch import Batch, batch
    from stashjobs.producer.enqueue import Enqueued
    from stashjobs.producer.options import EnqueueOptions
    from stashjobs.producer.schedules import Schedule
    from stashjobs.store.executions import JobState, NewJob, Parent

__version__ = "0.2.0"

__all__ = [
    "Batch",
    "Cancelled",
    "Context",
    "DeadlineNear",
    "DeliveryRefused",
    "EncryptionError",
    "EnqueueOptions",
    "Enqueued",
    "InvalidEnvelope",
    "InvalidPayload",
    "InvalidSignature",
    "Job",
    "JobState",
    "LeaseLost",
    "MigrationError",
    "NewJob",
    "NoSuchJob",
    "NoSuchSchedule",
    "NotPossible",
    "NotSynced",
    "Parent",
    "PayloadTooLarge",
    "PermanentError",
    "QStashFailed",
    "RetryLater",
    "Schedule",
    "SecretUnreadable",
    "SettingError",
    "Snooze",
    "SnoozedTooOften",
    "StashjobsError",
    "StepRefused",
    "UnknownJobType",
    "around",
    "batch",
    "job",
]


if os.environ.get("AWS_LAMBDA_INITIALIZATION_TYPE") == "snap-start":
    from stashjobs import snapstart

    snapstart.register()


def __getattr__(name: str) -> Any:
    """What annotations name. Imported when it is: a worker that enqueues nothing starts without
    the producer."""
    if name in {"Batch", "batch"}:
        from stashjobs.producer import batch as module

        return getattr(module, name)
    if name == "Enqueued":
        from stashjobs.producer.enqueue import Enqueued

        return Enqueued
    if name == "EnqueueOptions":
        from stashjobs.producer.options import EnqueueOptions

        return EnqueueOptions
    if name in {"JobState", "NewJob", "Parent"}:
        from stashjobs.store import executions

        return getattr(executions, name)
    if name == "Schedule":
        from stashjobs.producer.schedules import Schedule

        return Schedule
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
