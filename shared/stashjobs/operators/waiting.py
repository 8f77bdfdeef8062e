"""What an operator can do to a job that waits: run it now, reschedule, edit or delete it. Each
is recorded with who, when, and what it was before.

A job that is moved gets another message, and the one of before is taken back from QStash. Where
that comes too late nothing runs twice: one message claims the row, the other finds how it stands.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from stashjobs.errors import NotPossible
from stashjobs.operators import retry_and_cancel, search, sql
from stashjobs.producer import enqueue, publish
from stashjobs.store import database, jsonb
from stashjobs.store.executions import call
from stashjobs.store.outbox import Unpublished

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stashjobs.operators.retry_and_cancel import Changed
    from stashjobs.operators.search import Filter

log = logging.getLogger("stashjobs")

WAITING = ("waiting", "pending", "retrying")
# A job that waits for others cannot be run now.
RUNNABLE = ("pending", "retrying")


def run_now(job_id: str, *, actor: str) -> None:
    """Run a delayed, snoozed or retrying job at once. Of a paused type it waits until that is
    resumed.

    Raises:
        NoSuchJob: There is none with this id.
        NotPossible: It waits for other jobs, runs or has ended.
    """
    if not _change([job_id], "run now", actor):
        retry_and_cancel.explain(job_id, "run now", "only one that is pending or retrying can be")


def run_all_now(which: Filter, *, actor: str, seconds: float | None = None) -> Changed:
    """`run_now` for every job that fits, in batches, the oldest first. As
    `retry_and_cancel.retry_all`."""
    return retry_and_cancel.change_all(
        RUNNABLE, which, seconds, lambda ids: len(_change(ids, "run now", actor))
    )


def run_these_now(job_ids: Sequence[str], *, actor: str) -> int:
    """Run those of these jobs at once that are pending or retrying. Returns how many."""
    return len(_change(list(job_ids), "run now", actor)) if job_ids else 0


def reschedule(
    job_id: str, *, actor: str, at: datetime | None = None, delay: float | None = None
) -> datetime:
    """Have a job due at another time. One that waits for others is due when they have ended too.

    Args:
        job_id: Which.
        actor: Who asks for it.
        at: An aware datetime. Not together with `delay`.
        delay: So many seconds from now.

    Returns:
        When it is due.

    Raises:
        NoSuchJob: There is none with this id.
        NotPossible: It runs or has ended, or expires before then.
        ValueError: The time makes no sense. The message names the option.
    """
    due = enqueue.available_at(at=at, delay=delay)
    if due is None:
        raise ValueError("give delay or at")
    if not _change([job_id], "reschedule", actor, at=due):
        with database.borrowed() as own:
            found = search.find(own, job_id)
        if found is not None and found.status in WAITING and found.expires_at is not None:
            raise NotPossible(
                f"job {job_id} expires at {found.expires_at.isoformat()}, before then"
            )
        retry_and_cancel.explain(job_id, "rescheduled", "only one that waits can be")
    return due


def edit(job_id: str, *, actor: str, payload: Any) -> None:
    """Give a job that waits another payload, plain JSON; it runs when it would have run.

    Raises:
        NoSuchJob: There is none with this id.
        NotPossible: It runs or has ended, or only the system enqueues its type.
        InvalidPayload | PayloadTooLarge | SettingError: As `retry_and_cancel.retry`.
    """
    payload = retry_and_cancel.checked_and_encrypted(job_id, payload)
    if not _change([job_id], "edit", actor, payload=jsonb.parameter(payload)):
        retry_and_cancel.explain(
            job_id, "edited", "only one that waits can be; one that has ended is retried with it"
        )


def delete(job_id: str, *, actor: str) -> None:
    """Delete a job that waits, as if it had never been enqueued. What waits for it is cancelled, or
    released where it asked for `ended`.

    Raises:
        NoSuchJob: There is none with this id.
        NotPossible: It runs or has ended.
    """
    if not _delete([job_id], actor):
        retry_and_cancel.explain(job_id, "deleted", "only one that waits can be")


def delete_all(which: Filter, *, actor: str, seconds: float | None = None) -> Changed:
    """`delete` every waiting job that fits, in batches, the oldest first. As
    `retry_and_cancel.retry_all`."""
    return retry_and_cancel.change_all(
        WAITING, which, seconds, lambda ids: len(_delete(ids, actor))
    )


def delete_these(job_ids: Sequence[str], *, actor: str) -> int:
    """Delete those of these jobs that wait. Returns how many."""
    return len(_delete(list(job_ids), actor)) if job_ids else 0


def _change(
    job_ids: list[str],
    action: Literal["run now", "reschedule", "edit"],
    actor: str,
    *,
    at: datetime | None = None,
    payload: Any = None,
) -> list[str]:
    parameters = {
        "job_ids": job_ids,
        "actor": actor,
        "action": action,
        "at": None if at is None else at.astimezone(UTC),
        "payload": payload,
    }
    with database.borrowed() as own:
        rows = call(own, sql.CHANGE_WAITING, parameters)
    for job_id, *_ in rows:
        log.info(action, extra={"job_id": job_id, "actor": actor})
    if action != "edit":
        publish.cancel_messages([message for *_, message in rows if message is not None])
        moved = [row for row in rows if row[8] != "waiting"]
        publish.publish([Unpublished(*row[:7])._replace(moved=row[7]) for row in moved])
    return [job_id for job_id, *_ in rows]


def _delete(job_ids: list[str], actor: str) -> list[str]:
    with database.borrowed() as own:
        rows = call(own, sql.DELETE_WAITING, {"job_ids": job_ids, "actor": actor})
    for job_id, _ in rows:
        log.info("deleted by an operator", extra={"job_id": job_id, "actor": actor})
    publish.cancel_messages([message for _, message in rows if message is not None])
    return [job_id for job_id, _ in rows]
