"""What an operator can do to jobs: retry and cancel, one or many, each recorded with who and when.

Both are idempotent: what is pending already is not retried again, what has ended is not cancelled.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from stashjobs import encryption, envelope
from stashjobs.encryption import Place
from stashjobs.errors import InvalidPayload, NoSuchJob, NotPossible
from stashjobs.job_type import declared
from stashjobs.operators import sql
from stashjobs.operators.search import Filter
from stashjobs.producer import dead_letters, enqueue, publish
from stashjobs.store import database, jsonb
from stashjobs.store.executions import call
from stashjobs.store.outbox import Unpublished

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

log = logging.getLogger("stashjobs")

RETRYABLE = ("failed", "cancelled", "completed")
NOT_COMPLETED: tuple[str, ...] = ("failed", "cancelled")
CANCELLABLE = ("waiting", "pending", "retrying")
BATCH = 500
# What an operation whose time is limited takes upon itself: their ids fit into memory.
MAX_IN_TIME = 100_000


@dataclass(frozen=True, slots=True)
class Changed:
    """What an operation on many did.

    Attributes:
        count: How many jobs it changed.
        complete: False where its time was over before all that fit were.
    """

    count: int
    complete: bool


def refuse_empty(which: Filter) -> None:
    """A filter that says nothing fits every job, and is more likely a mistake than a wish.

    Raises:
        NotPossible: It says nothing.
    """
    if which == Filter():
        raise NotPossible("an empty filter would change every job; say at least one thing")


def of_many(status: str | None) -> tuple[str, ...]:
    """Which of `RETRYABLE` an operation on many retries: what went well once is run again only
    where the filter asks for that status."""
    return RETRYABLE if status == "completed" else NOT_COMPLETED


def count(action_statuses: Sequence[str], which: Filter, *, seconds: float | None = None) -> int:
    """How many jobs an operation on this filter would change; `RETRYABLE` or `CANCELLABLE`.

    Raises:
        psycopg.errors.QueryCanceled: It took longer than `seconds`; without them, than any
            statement may.
    """
    [(found,)] = _look(sql.COUNT_JOBS, action_statuses, which, {}, seconds)
    return int(found)


def _look(
    statement: str,
    statuses: Sequence[str],
    which: Filter,
    more: dict[str, Any],
    seconds: float | None,
) -> list[tuple[Any, ...]]:
    conditions, parameters = which.conditions()
    parameters |= {"statuses": list(statuses), **more}
    text = statement.format(conditions=conditions).encode()
    with database.borrowed() as own:
        if seconds is None:
            return own.execute(text, parameters).fetchall()
        with own.transaction():
            own.execute(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}".encode())
            return own.execute(text, parameters).fetchall()


def retry(job_id: str, *, actor: str, payload: Any = None, from_step: str | None = None) -> None:
    """Have a job that has ended run again, from its first attempt, with its history kept. The steps
    that are kept stay where it had not completed and keeps its payload; else it begins anew.

    Args:
        job_id: Which.
        actor: Who asks for it.
        payload: Plain JSON in place of the job's own; None leaves it. Encrypted where the job's own
            is, or where the type is declared encrypted here.
        from_step: The name of the first step whose kept result is dropped, with all after it; those
            before it stay.

    Raises:
        NotPossible: There is no such job, or it has not ended, or has kept no such step, or a
            payload is given for a type that only the system enqueues.
        InvalidPayload: The payload does not fit its type, where that is declared here, or has a
            reserved member.
        PayloadTooLarge: It is larger than `MAX_PAYLOAD_BYTES` allows.
        SettingError: It must be encrypted, and `PAYLOAD_KEYS` is missing.
    """
    if payload is not None:
        payload = checked_and_encrypted(job_id, payload)
    if not _retry([job_id], actor, payload, from_step):
        if from_step is not None:
            _refuse_unknown_step(job_id, from_step)
        explain(job_id, "retried", "it has not ended yet")


def _refuse_unknown_step(job_id: str, name: str) -> None:
    with database.borrowed() as own:
        kept = [row[1] for row in own.execute(sql.READ_STEPS, [job_id])]
        known = own.execute(sql.READ_STATUS, [job_id]).fetchone() is not None
    if known and name not in kept:
        raise NotPossible(
            f"job {job_id} has kept no step {name[:200]!r}; "
            f"it has kept {', '.join(map(repr, kept[:20])) or 'none'}"
        )


def checked_and_encrypted(job_id: str, payload: Any) -> Any:
    """The payload to write: validated as for a new job, encrypted if the job's own payload is."""
    with database.borrowed() as own:
        row = own.execute(sql.READ_ENCRYPTED, [job_id]).fetchone()
    if row is None:
        return payload
    job_type, is_encrypted = row
    encryption.refuse_mark(job_type, payload)
    job = next((job for job in declared() if job.type == job_type), None)
    if job is not None and job.enqueued_by == "system":
        raise NotPossible(
            f"{job_type} stands for a verified source, so its payload cannot be replaced; "
            "retry it as it is"
        )
    if job is not None:
        payload = job.dump_payload(payload)
    if (misfit := envelope.unstorable(payload)) is not None:
        raise InvalidPayload(job_type, [f"it contains {misfit}"])
    enqueue.refuse_too_large(payload, enqueue.max_payload_bytes())
    if is_encrypted or (job is not None and job.encrypted):
        return encryption.encrypt(payload, Place(job_id, job_type, "payload"))
    return payload


def retry_all(
    which: Filter,
    *,
    actor: str,
    seconds: float | None = None,
    statuses: Sequence[str] = RETRYABLE,
) -> Changed:
    """Retry every job that fits, in batches, the oldest first.

    Args:
        which: At least one condition.
        actor: Who asks for it.
        seconds: No batch is begun after so long. None: as long as it takes.
        statuses: Which of `RETRYABLE`.

    Raises:
        NotPossible: The filter says nothing.
        psycopg.errors.QueryCanceled: To find them alone took longer than `seconds`.
    """
    return change_all(statuses, which, seconds, lambda ids: len(_retry(ids, actor)))


def retry_these(job_ids: Sequence[str], *, actor: str) -> int:
    """Retry those of these jobs that have ended. Returns how many."""
    return sum(
        len(_retry(list(job_ids[start : start + BATCH]), actor))
        for start in range(0, len(job_ids), BATCH)
    )


def cancel_these(job_ids: Sequence[str], *, actor: str) -> int:
    """Cancel those of these jobs that wait. Returns how many."""
    return sum(
        len(_cancel(list(job_ids[start : start + BATCH]), actor))
        for start in range(0, len(job_ids), BATCH)
    )


def cancel(job_id: str, *, actor: str) -> None:
    """Cancel a job that waits, and QStash's message with it. One that runs is asked to stop: its
    attempt hears of it with its next sign of life, and unless it completes it is the last.

    Raises:
        NotPossible: There is no such job, or it has ended.
    """
    if not _cancel([job_id], actor) and not _cancel_running(job_id, actor):
        explain(job_id, "cancelled", "only one that waits or runs can be")


def cancel_all(which: Filter, *, actor: str, seconds: float | None = None) -> Changed:
    """Cancel every waiting job that fits, in batches, the oldest first. As `retry_all`."""
    return change_all(CANCELLABLE, which, seconds, lambda ids: len(_cancel(ids, actor)))


def change_all(
    statuses: Sequence[str],
    which: Filter,
    seconds: float | None,
    change: Callable[[list[str]], int],
) -> Changed:
    """Change every job that fits and has one of the statuses, in batches, the oldest first.

    Raises:
        NotPossible: The filter says nothing.
        psycopg.errors.QueryCanceled: To find them alone took longer than `seconds`.
    """
    refuse_empty(which)
    began, changed = time.monotonic(), 0
    limit = None if seconds is None else MAX_IN_TIME
    found = _look(sql.FIND_IDS, statuses, which, {"limit": limit}, seconds)
    for start in range(0, len(found), BATCH):
        if seconds is not None and time.monotonic() - began > seconds:
            return Changed(changed, complete=False)
        changed += change([job_id for (job_id,) in found[start : start + BATCH]])
    return Changed(changed, complete=len(found) != limit)


def _retry(
    job_ids: list[str], actor: str, payload: Any = None, from_step: str | None = None
) -> list[Unpublished]:
    parameters = {
        "job_ids": job_ids,
        "actor": actor,
        "payload": None if payload is None else jsonb.parameter(payload),
        "from_step": from_step,
    }
    with database.borrowed() as own:
        rows = call(own, sql.RETRY, parameters)
    retried = [Unpublished(*row[:7]) for row in rows]
    for each in retried:
        log.info("manual retry", extra={"job_id": each.job_id, "actor": actor})
    if retried:
        publish.publish(retried)
        dead_letters.discard([row[7] for row in rows if row[7] is not None])
    return retried


def _cancel(job_ids: list[str], actor: str) -> list[str]:
    with database.borrowed() as own:
        cancelled = call(own, sql.CANCEL, {"job_ids": job_ids, "actor": actor})
    for job_id, _ in cancelled:
        log.info("cancelled by an operator", extra={"job_id": job_id, "actor": actor})
    publish.cancel_messages([message_id for _, message_id in cancelled if message_id is not None])
    return [job_id for job_id, _ in cancelled]


def _cancel_running(job_id: str, actor: str) -> bool:
    with database.borrowed() as own:
        [(asked,)] = call(own, sql.CANCEL_RUNNING, {"job_id": job_id, "actor": actor})
    if asked:
        log.info("asked to stop by an operator", extra={"job_id": job_id, "actor": actor})
    return bool(asked)


def explain(job_id: str, done: str, why: str) -> NoReturn:
    """Raise the error that says why nothing was done.

    Raises:
        NoSuchJob | NotPossible: Which it is.
    """
    with database.borrowed() as own:
        row = own.execute(sql.READ_STATUS, [job_id]).fetchone()
    if row is None:
        raise NoSuchJob(f"there is no job {job_id}")
    raise NotPossible(f"job {job_id} is {row[0]} and cannot be {done}: {why}")
