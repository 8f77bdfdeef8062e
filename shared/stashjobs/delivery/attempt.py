"""One attempt: decrypt and validate the payload, run the job's function until its deadline, and
return an outcome. This module neither writes to Postgres nor knows about QStash."""

from __future__ import annotations

import contextvars
import inspect
import signal
import threading
import time
import typing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from stashjobs import encryption, envelope, hooks
from stashjobs.encryption import Place
from stashjobs.errors import (
    Cancelled,
    DeadlineNear,
    EncryptionError,
    InvalidPayload,
    PermanentError,
    RetryLater,
    SettingError,
    Snooze,
)
from stashjobs.observability import redaction
from stashjobs.store import database
from stashjobs.store.jsonb import Unreadable, to_json

if TYPE_CHECKING:
    from types import FrameType

    from stashjobs.delivery.context import Context
    from stashjobs.job_type import JobType

DEADLINE_RETRY_SECONDS = 5
# For a person to mend a setting.
SETTING_RETRY_SECONDS = 300

# What ends the process and not just the attempt: nothing, but the pytest plugin's `Crash`.
LET_OUT: tuple[type[BaseException], ...] = ()

Status = Literal["completed", "retrying", "failed", "cancelled"]


class Outcome(NamedTuple):
    """How an attempt ended: the status for its row, and what the answer needs. `error` is there
    unless it completed; `counted` is False where the job's function could not be run at all,
    `intended` True where an error was only the job's way to ask for this. `until` is when a job
    that put itself off is to run again."""

    status: Status
    result: Any = None
    error: BaseException | None = None
    retry_after: float | None = None
    counted: bool = True
    intended: bool = False
    until: datetime | None = None


def run(job: JobType[Any, Any], document: Any, context: Context) -> Outcome:
    """Decrypt the payload if need be, run the job's function and return the outcome. Raises
    nothing, but `LET_OUT`."""
    if isinstance(document, Unreadable):
        error = PermanentError(f"the row's payload cannot be read: {document.reason}")
        return Outcome("failed", error=error)
    try:
        plain = _decrypted(job, document, context)
    except EncryptionError as error:
        return Outcome("failed", error=error)
    except SettingError as error:
        wait = SETTING_RETRY_SECONDS
        return Outcome("retrying", error=error, retry_after=wait, counted=False)
    outcome = _attempt(job, plain, context)
    if outcome.error is not None:
        return outcome._replace(error=shown(context, outcome.error))
    return outcome


def _decrypted(job: JobType[Any, Any], document: Any, context: Context) -> Any:
    if context.encrypted:
        return encryption.decrypt(document, Place(context.job_id, job.type, "payload"))
    if job.encrypted:
        raise EncryptionError(
            f"{job.type} is declared encrypted, and the row's payload is plain. If it is the right "
            "one, retry the job with it as the edited payload, which encrypts it"
        )
    return document


def shown(context: Context, error: BaseException) -> BaseException:
    """The error as the row, the log and the answer may show it. Whatever happens once an encrypted
    payload is open may have parts of it in its words."""
    return redaction.Redacted(error) if context.encrypted else error


def _attempt(job: JobType[Any, Any], document: Any, context: Context) -> Outcome:
    try:
        payload = job.read_payload(document)
        with _Stopping(context.deadline.timestamp()):
            # What it sets in a context variable is not the next delivery's.
            result = contextvars.copy_context().run(_call, job, payload, context)
        if not context.has_connection and database.close_if_in_transaction():
            raise PermanentError(
                f"{job.type} left a transaction open, which was rolled back; use "
                "context.connection for writes that commit with the job"
            )
        return Outcome("completed", result=_storable_result(job, result, context))
    except LET_OUT:
        raise
    except BaseException as error:  # noqa: BLE001 - any of them ends just this attempt
        return _outcome_of(context, error)


def _call(job: JobType[Any, Any], payload: Any, context: Context) -> Any:
    if around := hooks.declared("attempt"):
        with hooks.entered(around, payload, context):
            return _run(job, payload, context)
    return _run(job, payload, context)


def _run(job: JobType[Any, Any], payload: Any, context: Context) -> Any:
    result = job.function(payload, context)
    if inspect.isawaitable(result):
        from stashjobs.delivery import event_loop

        # The loop cancels it at the deadline; the alarm is for what blocks the loop.
        _postpone_alarm(event_loop.TIDY_UP_SECONDS)
        return event_loop.run(result, context.deadline.timestamp())
    return result


def _outcome_of(context: Context, error: BaseException) -> Outcome:
    """What a group of errors means is what all of them mean; only a deadline counts alone."""
    kinds = [type(each) for each in _leaves(error)]
    if all(issubclass(kind, Cancelled) for kind in kinds):
        return Outcome("cancelled", error=error, intended=True)
    if all(issubclass(kind, Snooze) for kind in kinds):
        until = max(_until_of(each) for each in _leaves(error))
        return Outcome("retrying", error=error, counted=False, intended=True, until=until)
    if all(issubclass(kind, PermanentError | InvalidPayload) for kind in kinds):
        return Outcome("failed", error=error)
    return not_completed(context, error)


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors in a group, and in the groups in it; an error that is no group, alone.

    By their types: `isinstance` asks the error itself for its class, and an error may answer with
    another error.
    """
    found: list[BaseException] = []
    rest = [error]
    while rest:
        each = rest.pop()
        if issubclass(type(each), BaseExceptionGroup):
            rest.extend(typing.cast("BaseExceptionGroup[BaseException]", each).exceptions)
        else:
            found.append(each)
    return found


def _seconds_of(error: BaseException) -> float:
    try:
        return float(typing.cast("RetryLater", error).seconds)
    except BaseException:  # noqa: BLE001 - it may be a subclass that does not tell
        return 0.0


def _until_of(error: BaseException) -> datetime:
    try:
        return typing.cast("Snooze", error).until.astimezone(UTC)
    except BaseException:  # noqa: BLE001 - it may be a subclass that does not tell
        return datetime.now(UTC)


def not_completed(context: Context, error: BaseException) -> Outcome:
    """The outcome of an attempt that may be repeated, while attempts are left."""
    near = any(issubclass(type(each), DeadlineNear) for each in _leaves(error))
    if near and (step := context.last_new_step) is not None:
        on = Snooze(f"its time was over after the step {step!r}; it goes on from there", seconds=0)
        return Outcome("retrying", error=on, counted=False, intended=True, until=on.until)
    status: Status = "retrying" if context.attempt < context.max_attempts else "failed"
    leaves = _leaves(error)
    waits = [_seconds_of(each) for each in leaves if issubclass(type(each), RetryLater)]
    asked_for = len(waits) == len(leaves)
    wait: float | None = max(waits) if asked_for else None
    if near:
        wait = DEADLINE_RETRY_SECONDS
    intended = status == "retrying" and asked_for
    return Outcome(status, error=error, retry_after=wait, intended=intended)


def _storable_result(job: JobType[Any, Any], result: Any, context: Context) -> Any:
    """The result as the row keeps it. One that cannot be kept fails the job for good: its work is
    done, and doing it again would only do it twice."""
    try:
        document = to_json(result)
    except (TypeError, ValueError, RecursionError) as error:
        raise PermanentError(f"{job.type} ran, but its result is not JSON: {error}") from None
    if (misfit := envelope.unstorable(document)) is not None:
        raise PermanentError(f"{job.type} ran, but its result contains {misfit}")
    if context.encrypted:
        return encryption.encrypt(document, Place(context.job_id, job.type, "result"))
    if encryption.is_encrypted(document):
        raise PermanentError(f"{job.type} ran, but its result has the reserved member $sealed")
    return document


def _postpone_alarm(seconds: float) -> None:
    """Where there is one (`_Stopping`)."""
    if threading.current_thread() is threading.main_thread():
        left, _ = signal.getitimer(signal.ITIMER_REAL)
        signal.setitimer(signal.ITIMER_REAL, left + seconds)


class _Stopping:
    """Raise DeadlineNear in the block at the deadline. Only the main thread can be interrupted, and
    it is where Lambda runs a handler; elsewhere `context.deadline` is all there is.

    Not made by `contextmanager`, which would change the traceback of an error on its way.
    """

    def __init__(self, deadline: float) -> None:
        self._deadline = deadline
        self._is_main = threading.current_thread() is threading.main_thread()

    def __enter__(self) -> None:
        if not self._is_main:
            return
        self._began = time.time()
        self._previous = signal.signal(signal.SIGALRM, self._stop)
        left = max(0.001, self._deadline - self._began)
        self._left, _ = signal.setitimer(signal.ITIMER_REAL, left)

    def __exit__(self, *_error: object) -> None:
        if not self._is_main:
            return
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._previous)
        if self._left:  # the caller's own alarm, such as the time limit of a test
            gone = time.time() - self._began
            signal.setitimer(signal.ITIMER_REAL, max(0.001, self._left - gone))

    def _stop(self, _signal: int, _frame: FrameType | None) -> None:
        raise DeadlineNear(
            f"the attempt was stopped at its deadline, after {time.time() - self._began:.1f} s"
        )
