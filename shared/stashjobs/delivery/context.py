"""What a job's function knows of its delivery, and what it can do besides its own work."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from stashjobs import encryption, envelope
from stashjobs.config import settings
from stashjobs.encryption import Place
from stashjobs.errors import Cancelled, LeaseLost
from stashjobs.store import database, executions
from stashjobs.store.jsonb import to_shown

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from aws_lambda_powertools import Logger

    # A delivery that enqueues nothing never needs the producer, and few have steps.
    from stashjobs.delivery.steps import Steps  # noqa: TC004
    from stashjobs.job import Job
    from stashjobs.producer.batch import Batch
    from stashjobs.producer.enqueue import Enqueued  # noqa: TC004
    from stashjobs.producer.options import EnqueueOptions
    from stashjobs.store.executions import Parent

MAX_NOTE_CHARACTERS = 1_000
# Where a job's metadata say which job enqueued it.
PARENT = "parentJobId"
# Of the jobs that an end releases, so many are published at once; the rest is the relay's.
RELEASED_AT_ONCE = 1_000


@dataclass
class Context:
    """One attempt at one job.

    Attributes:
        job_id: The job's id, the same in every attempt.
        job_type: Its type.
        attempt: The number of this attempt, from 1. It never goes down; manual retries go on
            counting.
        max_attempts: The number of the last possible attempt.
        run: 1, plus one for every manual retry of a job that had ended.
        user_id: As given to `enqueue`.
        organization_id: As given to `enqueue`.
        deadline: When this attempt is stopped (UTC).
        lease_seconds: How far `heartbeat` extends the lease.
        encrypted: Whether the job's payload is encrypted; then its result is too, and neither notes
            of `progress` nor messages of errors are stored.
    """

    job_id: str
    job_type: str
    attempt: int
    max_attempts: int
    run: int = 1
    user_id: str | None = None
    organization_id: str | None = None
    deadline: datetime = field(default_factory=lambda: datetime.max.replace(tzinfo=UTC))
    lease_seconds: float = 60.0
    encrypted: bool = False
    # The worker's connection, while a transaction of the job's is open on it.
    _own: database.Connection | None = field(default=None, repr=False)
    # The same session as an object of the job's own.
    _lent: database.Connection | None = field(default=None, repr=False)
    _beside: database.Connection | None = field(default=None, repr=False)
    _enqueued: list[Enqueued] = field(default_factory=list, repr=False)
    _undone: list[Enqueued] = field(default_factory=list, repr=False)
    _steps: Steps | None = field(default=None, repr=False)

    @property
    def idempotency_key(self) -> str:
        """A key for services that accept one (Resend, Stripe): the same in every attempt, so that
        an effect whose record was lost is not repeated; a new one after a manual retry."""
        return self.job_id if self.run == 1 else f"{self.job_id}-{self.run}"

    @property
    def logger(self) -> Logger:
        """The Powertools logger; its lines carry this job's id, type and attempt."""
        from stashjobs.observability.log import logger

        return logger()

    def remaining_seconds(self) -> float:
        """The time until the deadline, in seconds, not below 0."""
        return max(0.0, self.deadline.timestamp() - time.time())

    @property
    def connection(self) -> database.Connection:
        """The worker's connection, in a transaction that commits together with the job's
        completion: what is written here happens if and only if the job completes. The transaction
        begins at the first use, so use it late: a long one holds back Postgres's vacuum.

        Changes to the connection or its session (a row factory, a `SET`, an advisory lock, a
        temporary table) end with the attempt."""
        own = self._begun()
        if self._lent is None:
            self._lent = database.lent(own)
        return self._lent

    @property
    def has_connection(self) -> bool:
        """Whether the job has used `connection`, so that there is a transaction to end."""
        return self._own is not None

    @property
    def recording_connection(self) -> database.Connection:
        """Where the attempt is recorded: in the job's transaction, if it began one. The worker's to
        use, not the job's."""
        return self._own or database.connection()

    def _begun(self) -> database.Connection:
        if self._own is None:
            # Noted first: the deadline may come between any two lines.
            self._own = database.connection()
            # Should this machine vanish without a word, its locks are not to outlive its lease.
            database.begin(self._own, idle_seconds=self.lease_seconds)
        return self._own

    def _end(self, own: database.Connection, ending: str) -> None:
        if self._lent is None:
            own.execute(ending.encode())
        else:
            database.end_loan(own, ending)
        self._own = self._lent = None

    def commit(self) -> None:
        """End the job's transaction, if it began one. The worker's to call, not the job's."""
        if self._own is not None:
            self._end(self._own, "COMMIT")
        self._close_beside()

    def rollback(self) -> None:
        """Undo the job's transaction, if it began one. The worker's to call, not the job's."""
        if self._own is not None:
            if not database.is_dropped(self._own):
                self._end(self._own, "ROLLBACK")
            self._own = self._lent = None
            self._enqueued, self._undone = [], self._enqueued
        database.close_if_in_transaction()  # one that the deadline interrupted as it began or ended
        self._close_beside()

    def committed_after_all(self) -> None:
        """What was taken for undone has been committed: only the acknowledgement was lost. The
        worker's to call, not the job's."""
        self._enqueued, self._undone = self._enqueued or self._undone, []

    def undo_step(self) -> None:
        """Undo the job's transaction for good, with what was enqueued in it. The worker's to call,
        not the job's."""
        self.rollback()
        self._undone = []

    def publish_enqueued_by_step(self) -> None:
        """Publish the jobs that were committed with a step. The worker's to call, not the job's."""
        self.publish_enqueued()
        self._enqueued, self._undone = [], []

    def _close_beside(self) -> None:
        if self._beside is not None:
            self._beside.close()
            self._beside = None

    def publish_enqueued(self, released: Sequence[str] = ()) -> None:
        """Publish the jobs that were committed together with this one, and those that waited for
        its end: their ids. The relay publishes the rest of very many."""
        if self._enqueued:
            from stashjobs.producer import enqueue

            enqueue.publish_enqueued(self._enqueued)
        if released:
            from stashjobs.producer import publish

            publish.publish_released(released[:RELEASED_AT_ONCE])

    def parents(self) -> list[Parent]:
        """The jobs that this one waited for (`after=`), in the order in which they were given, with
        their results."""
        found = executions.find_parents(self.recording_connection, self.job_id)
        return [_decrypted(parent) for parent in found]

    @property
    def batch_id(self) -> str | None:
        """The batch that this job belongs to, for `context.enqueue(..., batch=context.batch_id)`.
        Each access is a query."""
        from stashjobs.store import batches

        return batches.find_id_of(self.recording_connection, self.job_id)

    def batch(self, name: str, **arguments: Any) -> Batch:
        """A batch that is created if and only if this job completes; the arguments are those of
        `stashjobs.batch`. It is published right after the commit."""
        from stashjobs.producer import batch

        owners: EnqueueOptions = {
            "user_id": self.user_id,
            "organization_id": self.organization_id,
            "metadata": {PARENT: self.job_id},
        }
        if arguments.get("on_ended") is not None:
            arguments = {**owners, **arguments}
        made = batch.batch(name, connection=self._begun(), **arguments)
        return made.within(owners, self._enqueued.extend)

    def enqueue(self, job: Job[Any, Any], payload: Any, **options: Any) -> Enqueued:
        """Enqueue another job if and only if this one completes; the options are those of
        `Job.enqueue`. It is published right after the commit."""
        options.setdefault("user_id", self.user_id)
        options.setdefault("organization_id", self.organization_id)
        options["metadata"] = {PARENT: self.job_id} | dict(options.get("metadata") or {})
        enqueued = job.enqueue(payload, connection=self._begun(), **options)
        self._enqueued.append(enqueued)
        return enqueued

    def step(self, name: str, function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        """Call `function` once in the life of the job and keep its result: later attempts do not
        call it again, and get the kept result. What it writes through `connection` is committed
        together with the result, and what it enqueues is published at once.

        An attempt that reaches its deadline after it kept a new step continues in the next
        delivery, without using up an attempt.

        Args:
            name: What the step does, in up to 200 characters; never encrypted. A job's steps have
                the same names in the same order in every attempt.
            function: A function, or an `async def`; then await the step. It must not call a step
                itself.
            args: Passed to the function, like `options`.

        Returns:
            The function's result as JSON: a tuple becomes a list, a model an object.

        Raises:
            StepRefused: Another step is kept in this place, since the code has changed; or the job
                has written in its transaction outside of a step; or a step is already running; or
                the job has 1,000 steps.
            PermanentError: The result is not JSON, or larger than 256 KiB, or all results together
                are larger than 4 MiB.
            LeaseLost: Another delivery has claimed the job. Stop.
            Cancelled: An operator has cancelled the job; the step is kept. Do not catch it.
        """
        if self._steps is None:
            from stashjobs.delivery.steps import Steps

            self._steps = Steps(self)
        return self._steps.call(name, function, *args, **options)

    @property
    def last_new_step(self) -> str | None:
        """The name of the last step that this attempt kept, if any."""
        return self._steps.last if self._steps is not None and self._steps.new else None

    def progress(self, fraction: float, note: str = "", **details: Any) -> None:
        """Record how far the job is, and extend the lease.

        Args:
            fraction: From 0 to 1. For an encrypted job, only this is stored.
            note: A short note for operators.
            details: Any JSON. What a row cannot hold is replaced, in the note too: a character by
                U+FFFD, NaN by null, an object that is not JSON by its text. Details of more than
                64,000 bytes or 64 levels are left out.

        Raises:
            LeaseLost: Another delivery has claimed the job. Stop.
            Cancelled: An operator has cancelled the job. Do not catch it.
        """
        shown: dict[str, Any] = {"fraction": min(1.0, max(0.0, float(fraction)))}
        if not self.encrypted:
            shown |= _made_storable(note, details)
        self._extend_lease(shown)

    @property
    def cancelled(self) -> bool:
        """Whether an operator has cancelled this job while it runs: raise `Cancelled` then, or
        return if the work is done already. Each access is a query."""
        return executions.is_cancel_requested(self._outside(), self.job_id)

    def heartbeat(self) -> None:
        """Extend the lease to `lease_seconds` from now, so that no other attempt begins while this
        one is at work. `progress` does so too.

        Raises:
            LeaseLost: Another delivery has claimed the job. Stop.
            Cancelled: An operator has cancelled the job. Do not catch it.
        """
        self._extend_lease(None)

    def _extend_lease(self, progress: dict[str, Any] | None) -> None:
        # In the job's own transaction it would be invisible, and the row would stay locked.
        held, cancelled_by = executions.extend_lease(
            self._outside(),
            job_id=self.job_id,
            attempt=self.attempt,
            lease_seconds=self.lease_seconds,
            progress=progress,
        )
        if not held:
            raise LeaseLost(f"attempt {self.attempt} of {self.job_id} no longer holds the job")
        if cancelled_by is not None:
            raise Cancelled(f"cancelled by {cancelled_by}")

    def _outside(self) -> database.Connection:
        """A connection that is in no transaction of the job's."""
        if self.has_connection and self._beside is None:
            self._beside = database.connect(settings.postgres_url())
        return self._beside or database.connection()


def _made_storable(note: str, details: dict[str, Any]) -> dict[str, Any]:
    """What `progress` shows must not be what an attempt fails of."""
    try:
        document, _ = envelope.storable(to_shown({"note": note, **details}))
        if envelope.size_of(document) <= envelope.MAX_METADATA_BYTES:
            if envelope.unstorable(document) is None:
                return dict(document)
            left_out = "details nested too deeply are left out"
        else:
            left_out = "details of too many bytes are left out"
    except Exception as error:  # noqa: BLE001 - the details' own methods, among others
        left_out = f"details that are no JSON are left out: {type(error).__name__}"
    short, _ = envelope.storable(str(note)[:MAX_NOTE_CHARACTERS])
    return {"note": short, "leftOut": left_out}


def _decrypted(parent: Parent) -> Parent:
    if not encryption.is_encrypted(parent.result):
        return parent
    place = Place(parent.job_id, parent.job_type, "result")
    return parent._replace(result=encryption.decrypt(parent.result, place))
