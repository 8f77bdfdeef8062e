"""The steps of one attempt: what an attempt before it did is not done again.

Steps are told apart by the number of their call, so a job must call the same ones in the same
order in every attempt; the name is there to notice where it does not. Nothing imports this module
before a job's first step.
"""

from __future__ import annotations

import contextlib
import inspect
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from stashjobs import encryption, envelope
from stashjobs.encryption import Place
from stashjobs.errors import Cancelled, LeaseLost, PermanentError, StepRefused
from stashjobs.store import database, jsonb
from stashjobs.store import steps as store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stashjobs.delivery.context import Context
    from stashjobs.store.steps import Kept

MAX_NAME_CHARACTERS = 200
# All of a job's are read at once, into the memory of a small Lambda.
MAX_RESULT_BYTES = 256 * 1024
MAX_ALL_BYTES = 4 * 1024 * 1024
MAX_STEPS = 1_000
# How long to wait between tries to keep a result, in seconds.
PAUSES = (0.1, 0.4, 1.0)


class _Begun(NamedTuple):
    """A step that is to be run, and when that began (`time.monotonic`)."""

    position: int
    name: str
    at: float


class Steps:
    """The steps of one attempt.

    Attributes:
        new: How many this attempt has kept.
        last: The name of the last one of those.
    """

    def __init__(self, context: Context) -> None:
        self.new = 0
        self.last = ""
        self._context = context
        self._position = 0
        self._running: str | None = None
        # Only an attempt before this one can have kept any.
        first = context.attempt == 1
        self._kept = {} if first else store.find_kept(database.connection(), context.job_id)
        self._bytes = sum(len(each.text.encode()) for each in self._kept.values())

    def call(self, name: str, function: Callable[..., Any], /, *args: Any, **options: Any) -> Any:
        """`Context.step`. For an `async def` function, what is to be awaited."""
        _refuse_name(name)
        if any(map(inspect.iscoroutinefunction, (function, type(function).__call__))):
            return self._call_async(name, function, *args, **options)
        kept = self._next(name)
        if kept is not None:
            return self._opened(kept)
        with self._run(name) as step:
            result = function(*args, **options)
            if inspect.isawaitable(result):
                if inspect.iscoroutine(result):
                    result.close()
                raise TypeError(
                    f"the function of the step {name!r} returned an awaitable: give the step the "
                    "async def function itself, and await the step"
                )
            return self._keep(step, result)

    async def _call_async(
        self, name: str, function: Callable[..., Any], /, *args: Any, **options: Any
    ) -> Any:
        kept = self._next(name)
        if kept is not None:
            return self._opened(kept)
        with self._run(name) as step:
            return self._keep(step, await function(*args, **options))

    def _next(self, name: str) -> Kept | None:
        """Go on to the next place. Returns what is kept there, if anything is."""
        if self._running is not None:
            raise StepRefused(
                f"the step {name!r} was called while the step {self._running!r} is running: "
                "steps run one after the other"
            )
        self._position += 1
        kept = self._kept.get(self._position)
        if kept is not None and kept.name != name:
            raise StepRefused(
                f"step {self._position} is {name!r} now, and it was {kept.name!r} when attempt "
                f"{kept.attempt} kept its result: the code between the two has changed. Bring the "
                "steps back into their order, or drop the kept results from there on: "
                f"stashjobs retry {self._context.job_id} --from-step {kept.name!r}"
            )
        return kept

    def _opened(self, kept: Kept) -> Any:
        document = jsonb.read(kept.text)
        if isinstance(document, jsonb.Unreadable):
            raise PermanentError(
                f"the kept result of the step {kept.name!r} cannot be read: {document.reason}"
            )
        if encryption.is_encrypted(document):
            return encryption.decrypt(document, self._place(kept.position))
        return document

    def _place(self, position: int) -> Place:
        return Place(self._context.job_id, self._context.job_type, f"step {position}")

    @contextlib.contextmanager
    def _run(self, name: str) -> Iterator[_Begun]:
        """Run one step: what it wrote in the job's transaction is kept with it, or undone."""
        if self._position > MAX_STEPS:
            raise StepRefused(f"{name!r} is step {self._position}, the limit is {MAX_STEPS} steps")
        self._refuse_writes_before(name)
        self._running = name
        try:
            yield _Begun(self._position, name, time.monotonic())
        except BaseException:
            # The job may catch it and go on.
            with contextlib.suppress(psycopg.Error):
                self._context.undo_step()
            raise
        finally:
            self._running = None

    def _refuse_writes_before(self, name: str) -> None:
        """What the job wrote outside of its steps would be committed with this one, and written
        again by the next attempt."""
        context = self._context
        if not context.has_connection:
            left_open = database.close_if_in_transaction()
        else:
            left_open = store.has_written(context.recording_connection)
            context.undo_step()
        if left_open:
            raise StepRefused(
                f"before the step {name!r} the job has written or enqueued in its transaction, "
                "outside of a step, which was undone; do that in a step of its own, or after the "
                "last step"
            )

    def _keep(self, step: _Begun, result: Any) -> Any:
        """Keep what the function returned, and commit what it wrote. Returns it as JSON, as a later
        attempt will find it."""
        context = self._context
        if not context.has_connection and database.close_if_in_transaction():
            raise StepRefused(
                f"the step {step.name!r} left a transaction open, which was undone; use "
                "context.connection in each step for writes that commit with it"
            )
        document, size = self._checked(step, result)
        kept: Any = document
        if context.encrypted:
            kept = encryption.encrypt(document, self._place(step.position))
        held, cancelled_by = self._written(step, kept)
        if not held:
            raise LeaseLost(
                f"attempt {context.attempt} of {context.job_id} no longer holds the job"
            )
        self._bytes += size
        self.new += 1
        self.last = step.name
        context.publish_enqueued_by_step()
        if cancelled_by is not None:
            raise Cancelled(f"cancelled by {cancelled_by}")
        return document

    def _written(self, step: _Begun, document: Any) -> tuple[bool, str | None]:
        """Where the answer is lost, what was written may be there all the same."""
        context = self._context
        seconds = time.monotonic() - step.at
        for pause in (*PAUSES, None):
            own = context.recording_connection
            try:
                held, cancelled_by = store.keep(
                    own,
                    job_id=context.job_id,
                    attempt=context.attempt,
                    position=step.position,
                    name=step.name,
                    result=document,
                    seconds=seconds,
                    lease_seconds=context.lease_seconds,
                )
                if held:
                    context.commit()
            except psycopg.OperationalError:
                if pause is None or not database.is_dropped(own):
                    raise
                had_writes = context.has_connection
                context.rollback()
                time.sleep(pause)
                if had_writes:
                    if not self._is_there(step):
                        raise
                    context.committed_after_all()
                    return True, None
            else:
                return held, cancelled_by
        raise AssertionError("unreachable")

    def _is_there(self, step: _Begun) -> bool:
        found = store.find_kept(database.connection(), self._context.job_id).get(step.position)
        return found is not None and found.attempt == self._context.attempt

    def _checked(self, step: _Begun, result: Any) -> tuple[Any, int]:
        """The result as JSON, and its bytes. To run a step again would not make it fit."""
        ran = f"the step {step.name!r} ran, but its result"
        try:
            document = jsonb.to_json(result)
        except (TypeError, ValueError, RecursionError) as error:
            raise PermanentError(f"{ran} is not JSON: {error}") from None
        if (misfit := envelope.unstorable(document)) is not None:
            raise PermanentError(f"{ran} contains {misfit}")
        if encryption.is_encrypted(document):
            raise PermanentError(f"{ran} has the reserved member $sealed")
        size = envelope.size_of(document)
        elsewhere = "Keep the data elsewhere and return a reference to it"
        if size > MAX_RESULT_BYTES:
            raise PermanentError(
                f"{ran} is {size} bytes, the limit is {MAX_RESULT_BYTES} bytes. {elsewhere}"
            )
        if self._bytes + size > MAX_ALL_BYTES:
            raise PermanentError(
                f"{ran} makes {self._bytes + size} bytes with those before, the limit of one job "
                f"is {MAX_ALL_BYTES} bytes. {elsewhere}"
            )
        return document, size


def _refuse_name(name: object) -> None:
    if not isinstance(name, str):
        raise TypeError(f"the name of a step is a text, not a {type(name).__name__}")
    if not 0 < len(name) <= MAX_NAME_CHARACTERS or envelope.unstorable(name) is not None:
        raise ValueError(
            f"the name of a step has 1 to {MAX_NAME_CHARACTERS} characters, and none that Postgres "
            "cannot hold"
        )
