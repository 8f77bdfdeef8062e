"""An app and its jobs that name everything which `stashjobs` exports, for type checkers alone: mypy
runs over it in `make check`, as over every test; so does pyright without a complaint.

Each `assert_type` says what an editor shows.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, assert_type

from pydantic import BaseModel

import stashjobs
from stashjobs import (
    Batch,
    Cancelled,
    Context,
    DeadlineNear,
    DeliveryRefused,
    EncryptionError,
    Enqueued,
    EnqueueOptions,
    InvalidEnvelope,
    InvalidPayload,
    InvalidSignature,
    Job,
    JobState,
    LeaseLost,
    MigrationError,
    NewJob,
    NoSuchJob,
    NoSuchSchedule,
    NotPossible,
    NotSynced,
    Parent,
    PayloadTooLarge,
    PermanentError,
    QStashFailed,
    RetryLater,
    Schedule,
    SecretUnreadable,
    SettingError,
    Snooze,
    SnoozedTooOften,
    StashjobsError,
    StepRefused,
    UnknownJobType,
    around,
    batch,
    job,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from psycopg import AsyncConnection, Connection


class Resize(BaseModel):
    """A picture, and its new width in pixels."""

    picture: str
    width: int = 200


class Resized(BaseModel):
    """What came of it."""

    size: int


class Failed(BaseModel):
    """What `on_failed` gives its job."""

    jobId: str  # noqa: N815 - as on the wire


@job("example-failed", endpoint="/api/jobs/example-failed", parallelism=1)
def tell(payload: Failed, context: Context) -> None:
    """Say that one failed."""
    for parent in context.parents():
        assert_type(parent, Parent)
        context.logger.error("failed", job=payload.jobId, error=parent.error)


def size_of(picture: str, width: int) -> int:
    """A part of the job."""
    return len(picture) * width


@job(
    "example-resize",
    endpoint="/api/jobs/example-resize",
    retries=5,
    timeout=120,
    retry_delay="pow(2, retried) * 1000",
    rate=(100, "1m"),
    parallelism=2,
    encrypted=True,
    retention=30,
    enqueued_by="operators",
    on_failed=tell,
)
def resize(payload: Resize, context: Context) -> Resized:
    """Everything that a job may do."""
    if context.cancelled or context.remaining_seconds() < 1:
        raise Cancelled("no longer wanted")
    if payload.width > 4_000:
        raise PermanentError("too wide")
    if payload.width == 0:
        raise RetryLater(60, "not there yet")
    if payload.width < 0:
        raise Snooze("by night", until=datetime.now(UTC) + timedelta(hours=8))
    context.progress(0.5, "half", width=payload.width)
    context.heartbeat()
    size = context.step("size", size_of, payload.picture, payload.width)
    context.connection.execute("SELECT 1")
    with context.batch("copies", on_ended=tell) as copies:
        copies.enqueue(thumbnail, {"picture": payload.picture})
    told = context.enqueue(thumbnail, {"picture": payload.picture}, user_id=1)
    assert_type(told, Enqueued)
    key: str = context.idempotency_key
    context.logger.info("resized", key=key, attempt=context.attempt, job=context.job_id)
    return Resized(size=size)


@job("example-thumbnail", endpoint="/api/jobs/example-thumbnail", parallelism=1)
async def thumbnail(payload: dict[str, Any], context: Context) -> None:
    """A job may be asynchronous, and its payload a plain object."""
    context.logger.info("thumbnail", picture=payload["picture"])


assert_type(tell, Job[Failed, None])
assert_type(resize, Job[Resize, Resized])
handler: Callable[[Mapping[str, Any], Any], dict[str, Any]] = resize.handler
nightly: Schedule = resize.schedule(
    "0 3 * * *", Resize(picture="a"), name="nightly", timezone="UTC"
)


@around("attempt")
def timed(_payload: Any, context: Context) -> Iterator[None]:
    """A hook around every attempt."""
    context.logger.info("begun")
    yield


@around("enqueue")
def of_tenant(jobs: list[NewJob]) -> Iterator[None]:
    """A hook around every enqueue."""
    for new in jobs:
        new.metadata.setdefault("tenant", "t_1")
    yield


def enqueue(connection: Connection[Any]) -> list[str]:
    """What an app does."""
    options: EnqueueOptions = {"user_id": "u_1", "organization_id": 7, "delay": 30}
    first = resize.enqueue(Resize(picture="a"), **options)
    assert_type(first, Enqueued)
    then = resize.enqueue(
        {"picture": "b"},
        after=[first],
        when="ended",
        unique="b",
        unique_while="running",
        replace=True,
        expires=timedelta(days=1),
        idempotency_key="b",
        headers={"A": "b"},
        metadata={"a": 1},
        connection=connection,
    )
    then.publish()
    many = resize.enqueue_many([Resize(picture="c")], each=[{"retries": 0}])
    assert_type(many, list[Enqueued])
    with batch("import", on_ended=tell) as whole:
        assert_type(whole, Batch)
        whole.enqueue(resize, Resize(picture="d"))
        whole.enqueue_many(resize, [Resize(picture="e")])
    state = first.wait(20)
    assert_type(state, JobState)
    return [each.job_id for each in (first, then, *many)] if state.ended else []


async def enqueue_async(connection: AsyncConnection[Any]) -> JobState:
    """What an asynchronous app does."""
    told = await resize.enqueue_async(Resize(picture="a"), connection=connection)
    return await told.wait_async(1.5)


def tried(connection: Connection[Any]) -> str:
    """Every error has the family's name."""
    try:
        enqueue(connection)
    except (InvalidPayload, PayloadTooLarge, UnknownJobType) as error:
        return f"refused: {error}"
    except (SettingError, SecretUnreadable, EncryptionError, MigrationError) as error:
        return f"set up wrongly: {error}"
    except (QStashFailed, NotSynced, NotPossible, NoSuchJob, NoSuchSchedule) as error:
        return f"not done: {error}"
    except (InvalidSignature, InvalidEnvelope, DeliveryRefused) as error:
        return f"not delivered: {error}"
    except (DeadlineNear, LeaseLost, SnoozedTooOften, StepRefused) as error:
        return f"not ended: {error}"
    except StashjobsError as error:
        return f"{stashjobs.__version__}: {error}"
    return "done"
