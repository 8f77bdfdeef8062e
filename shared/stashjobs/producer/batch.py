"""A batch: jobs that are enqueued together, seen together, and followed by one when all have
ended."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from psycopg import AsyncConnection

from stashjobs.config import settings
from stashjobs.ids import new_job_id
from stashjobs.producer import enqueue as producer
from stashjobs.producer import qstash_client
from stashjobs.producer.enqueue import Enqueued
from stashjobs.producer.options import Options
from stashjobs.store import batches, database
from stashjobs.store.app_connection import psycopg_of
from stashjobs.store.outbox import Unpublished

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import TracebackType
    from typing import Self, Unpack

    from stashjobs.job_type import JobType
    from stashjobs.producer.options import EnqueueOptions
    from stashjobs.store.app_connection import AppConnection
    from stashjobs.store.executions import NewJob

MAX_NAME = 200
# So many rows in one INSERT.
CHUNK = 1_000
# What would make the batch's own job another one, or have it wait for something else.
NOT_AT_THE_END = ("after", "when", "batch", "idempotency_key", "unique", "debounce")


class Batch:
    """Jobs that belong together: made by `with batch(...) as b`, or `async with`, and enqueued at
    the end of the block, all of them or, where it raises, none.

    Attributes:
        batch_id: Names it to `enqueue(batch=)`, on the dashboard and in the API. It is also the id
            of the job of `on_ended`.
        name: As it was given.
    """

    def __init__(
        self,
        name: str,
        *,
        on_ended: JobType[Any, Any] | None = None,
        payload: Any = None,
        connection: AppConnection | AsyncConnection[Any] | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> None:
        """See `batch`."""
        _refuse_no_name(name)
        if on_ended is None and (payload is not None or options):
            raise ValueError("payload and options are those of the job of on_ended; give it too")
        for option in NOT_AT_THE_END:
            if options.get(option) is not None:
                raise ValueError(f"{option} is not for the job of on_ended: it waits for its batch")
        self.batch_id = new_job_id()
        self.name = name
        self._connection = connection
        self._defaults: EnqueueOptions = {}
        self._recorded: Callable[[list[Enqueued]], object] = list
        self._jobs: list[tuple[NewJob, Enqueued]] = []
        self._last: tuple[NewJob, Enqueued] | None = None
        if on_ended is not None:
            given = {"batchId": self.batch_id} if payload is None else payload
            new = producer.prepare(on_ended, given, Options.of(options), job_id=self.batch_id)
            self._last = (new, _planned(new))

    @property
    def on_ended(self) -> Enqueued | None:
        """The job that runs when all of the batch's have ended."""
        return self._last and self._last[1]

    def enqueue(
        self,
        job: JobType[Any, Any],
        payload: Any,
        **options: Unpack[EnqueueOptions],
    ) -> Enqueued:
        """Add a job, with the options of `Job.enqueue`. It is checked now and recorded at the end
        of the block; until then the answer says nothing but the id.

        Raises:
            InvalidPayload | PayloadTooLarge | TypeError | ValueError | SettingError: As
                `Job.enqueue`.
        """
        if options.get("batch") is not None:
            raise ValueError("batch is this one; leave it out")
        given = Options.of({**self._defaults, **options})
        return self._add(producer.prepare(job, payload, given))

    def _add(self, new: NewJob) -> Enqueued:
        new = replace(new, batch_id=self.batch_id)
        self._jobs.append((new, _planned(new)))
        return self._jobs[-1][1]

    def enqueue_many(
        self,
        job: JobType[Any, Any],
        payloads: Iterable[Any],
        **options: Unpack[EnqueueOptions],
    ) -> list[Enqueued]:
        """Add many jobs of one type, as `enqueue` adds one."""
        return [self.enqueue(job, payload, **options) for payload in payloads]

    def within(
        self, defaults: EnqueueOptions, recorded: Callable[[list[Enqueued]], object]
    ) -> Self:
        """For the context of a job: options that its jobs have where they are given no others, and
        what is told of them once they are recorded."""
        self._defaults, self._recorded = defaults, recorded
        return self

    def publish(self) -> None:
        """Publish what is due. For after the commit of the transaction that `connection=` joined;
        where it is left out, the relay does it within a minute."""
        producer.publish_enqueued([one for one in self._all() if not one.published])

    def __enter__(self) -> Self:
        if isinstance(self._connection, AsyncConnection):
            raise TypeError("the batch's connection is async; write async with batch(...)")
        return self._entered()

    async def __aenter__(self) -> Self:
        return self._entered()

    def _entered(self) -> Self:
        if self._connection is None:
            # A missing setting is found before anything is done.
            settings.base_url()
            qstash_client.qstash()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            return
        if self._connection is not None:
            self._record(psycopg_of(self._connection))
            self._recorded(self._all())
            return
        with database.borrowed() as own, own.transaction():
            self._record(own)
        self.publish()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None:
            return
        if isinstance(self._connection, AsyncConnection):
            await self._record_async(self._connection)
        else:
            await asyncio.to_thread(self._exit_apart)

    def _exit_apart(self) -> None:
        """In a thread of the event loop's, with which no connection is to stay."""
        try:
            self.__exit__(None, None, None)
        finally:
            if not database.has_pool():
                database.close()

    def _record(self, connection: Any) -> None:
        batches.create(connection, self.batch_id, self.name)
        for part in self._parts():
            new = [each for each, _ in part]
            _take_over(part, producer.enqueue_prepared(new, connection))

    async def _record_async(self, connection: AsyncConnection[Any]) -> None:
        await batches.create_async(connection, self.batch_id, self.name)
        for part in self._parts():
            new = [each for each, _ in part]
            _take_over(part, await producer.enqueue_prepared_async(new, connection))

    def _parts(self) -> Iterator[list[tuple[NewJob, Enqueued]]]:
        """What is recorded in one INSERT each. The last one waits for what those before became."""
        for start in range(0, len(self._jobs), CHUNK):
            yield self._jobs[start : start + CHUNK]
        if self._last is not None:
            new, planned = self._last
            members = list(dict.fromkeys(one.job_id for _, one in self._jobs))
            after = {"ids": members, "when": "ended"} if members else None
            yield [(replace(new, after=after), planned)]

    def _all(self) -> list[Enqueued]:
        return [one for _, one in (*self._jobs, *([self._last] if self._last else ()))]


def batch(
    name: str,
    *,
    on_ended: JobType[Any, Any] | None = None,
    payload: Any = None,
    connection: AppConnection | AsyncConnection[Any] | None = None,
    **options: Unpack[EnqueueOptions],
) -> Batch:
    """Make a batch, for a `with` or `async with` block in which jobs are added to it:
    `b.enqueue(part, {...})`.

    Args:
        name: What people call it; it need not be unique.
        on_ended: A job type. One job of it runs when all of the batch's have ended, however they
            did; `context.parents()` has them.
        payload: That job's; `{"batchId": "…"}` where it is left out.
        connection: The batch joins this connection's transaction, as in `Job.enqueue`; an async one
            takes `async with`. Call `publish()` on it after the commit, or leave that to the relay.
        options: Those of `Job.enqueue`, of the job of `on_ended`.

    Raises:
        ValueError | TypeError: An argument makes no sense. The message names it.
        InvalidPayload | PayloadTooLarge | SettingError: As `Job.enqueue`.
    """
    return Batch(name, on_ended=on_ended, payload=payload, connection=connection, **options)


def record_prepared(
    batch_id: str, name: str, jobs: Sequence[NewJob], last: NewJob | None
) -> list[Enqueued]:
    """Record a batch of prepared jobs, and the one that runs at its end, which has the batch's id;
    publish what is due.

    Raises:
        ValueError: The name makes no sense.
        psycopg.errors.UniqueViolation: There is a batch with this id.
    """
    made = Batch(name)
    made.batch_id = batch_id
    made._last = None if last is None else (last, _planned(last))
    with made:
        return [made._add(new) for new in jobs]


def _refuse_no_name(name: object) -> None:
    if not (isinstance(name, str) and name.isprintable() and 1 <= len(name.strip()) <= MAX_NAME):
        raise ValueError(f"name is {name!r}; a batch's has 1 to {MAX_NAME} characters, on one line")


def _planned(new: NewJob) -> Enqueued:
    unpublished = Unpublished(
        new.job_id, new.job_type, 1, 0, new.max_attempts, new.available_at, new.delivery
    )
    return Enqueued(new.job_id, created=False, published=False, due=False, _unpublished=unpublished)


def _take_over(planned: list[tuple[NewJob, Enqueued]], recorded: list[Enqueued]) -> None:
    """What was planned becomes what is."""
    for (_, plan), found in zip(planned, recorded, strict=True):
        plan.job_id, plan.created, plan.due = found.job_id, found.created, found.due
        plan._unpublished = found._unpublished
