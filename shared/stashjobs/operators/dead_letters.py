"""What an operator sees of QStash's dead-letter queue, and takes out of it.

A job that is retried takes its dead letter out by itself. What is left is of jobs that stay failed,
of messages that are no job's, and of jobs that went on with another message.
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from stashjobs.errors import NotPossible
from stashjobs.operators import sql
from stashjobs.operators.schedules import ask
from stashjobs.producer import dead_letters
from stashjobs.store import database
from stashjobs.store.executions import call

if TYPE_CHECKING:
    from collections.abc import Sequence

log = logging.getLogger("stashjobs")


@dataclass(frozen=True, slots=True)
class Listed:
    """A dead letter of this stage.

    Attributes:
        job_id: None: it is no job's.
        status: The job's, as its row is now. None: it has no row.
        answer: The status of the last answer; 0 or None: there was none.
        sent_at: When its message was published.
    """

    dlq_id: str
    message_id: str
    job_id: str | None
    job_type: str | None
    status: str | None
    answer: int | None
    sent_at: datetime
    url: str


def list_all() -> list[Listed]:
    """The dead letters of this stage among the newest thousand of the account, the newest first.

    Raises:
        SettingError: A setting is missing.
        QStashFailed: QStash refused, or cannot be reached.
        psycopg.Error: Postgres cannot be reached.
    """
    there = ask(lambda: list(dead_letters.of_this_stage()))
    found = [(each, dead_letters.job_of(each)) for each in there]
    ids = [job[0] for _, job in found if job is not None]
    statuses: dict[str, str] = {}
    if ids:
        with database.borrowed() as own:
            statuses = dict(call(own, sql.READ_STATUSES_OF, {"job_ids": ids}))
    return [
        Listed(
            dlq_id=each.dlq_id,
            message_id=each.message_id,
            job_id=job[0] if job else None,
            job_type=job[1] if job else None,
            status=statuses.get(job[0]) if job else None,
            answer=each.response_status,
            sent_at=datetime.fromtimestamp(each.created_at / 1000, UTC),
            url=each.url,
        )
        for each, job in found
    ]


def summary(letters: Sequence[Listed]) -> str:
    """How many there are, and of which jobs: why they may be more than the failed jobs."""
    told = f"{_several(len(letters), 'message')} in QStash's dead-letter queue"
    of_jobs = {each.job_id: each.status for each in letters if each.status is not None}
    counts = sorted(Counter(of_jobs.values()).items())
    parts = [f"{count} {status}" for status, count in counts]
    if parts:
        told += f", of {_several(len(of_jobs), 'job')}: {', '.join(parts)}"
    if others := sum(each.status is None for each in letters):
        told += f"; {others} of no job that has a row"
    return told


def _several(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def delete(dlq_ids: Sequence[str], *, actor: str) -> int:
    """Delete dead letters of this stage from QStash's queue. Their jobs stay as they are.

    Returns:
        How many.

    Raises:
        NotPossible: One is not there, or not of this stage; then none is deleted.
        SettingError | QStashFailed | psycopg.Error: As `list_all`.
    """
    there = {each.dlq_id: each for each in list_all()}
    if missing := [dlq_id for dlq_id in dlq_ids if dlq_id not in there]:
        raise NotPossible(f"there is no dead letter {missing[0][:100]} of this stage")
    return _delete([there[dlq_id] for dlq_id in dict.fromkeys(dlq_ids)], actor)


def delete_all(*, actor: str) -> int:
    """Delete every dead letter that `list_all` finds. Returns how many. Raises as it does."""
    return _delete(list_all(), actor)


def _delete(letters: Sequence[Listed], actor: str) -> int:
    if not letters:
        return 0
    ask(lambda: dead_letters.delete([each.dlq_id for each in letters]))
    parameters = {
        "dlq_ids": [each.dlq_id for each in letters],
        "job_ids": [each.job_id for each in letters],
        "actor": actor,
    }
    with database.borrowed() as own:
        call(own, sql.RECORD_DEAD_LETTERS_DELETED, parameters)
    log.info("dead letters deleted", extra={"number": len(letters), "actor": actor})
    return len(letters)
