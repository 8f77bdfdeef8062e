"""Batches in the database. The connection is the caller's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.rows import tuple_row

from stashjobs.store.executions import call

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection


@dataclass(frozen=True, slots=True)
class BatchState:
    """How a batch stands.

    Attributes:
        counts: How many of its jobs have each status; those that the clean-up took are not among
            them.
        on_ended: The status of the job that runs when all have ended. None: there is none.
    """

    batch_id: str
    name: str
    created_at: datetime
    counts: dict[str, int]
    on_ended: str | None

    @property
    def total(self) -> int:
        """All of its jobs."""
        return sum(self.counts.values())

    @property
    def done(self) -> int:
        """Those that have completed."""
        return self.counts.get("completed", 0)

    @property
    def failed(self) -> int:
        """Those that have failed, or were cancelled."""
        return self.counts.get("failed", 0) + self.counts.get("cancelled", 0)

    @property
    def waiting(self) -> int:
        """Those that have not ended."""
        return self.total - self.done - self.failed


CREATE_BATCH = "SELECT stashjobs.create_batch(batch_id => %(batch_id)s, name => %(name)s)"
_STATE = """
SELECT batch.batch_id, batch.name, batch.created_at,
       coalesce((SELECT jsonb_object_agg(each.status, each.jobs)
                   FROM (SELECT job.status, count(*) AS jobs FROM job_executions AS job
                          WHERE job.batch_id = batch.batch_id GROUP BY job.status) AS each), '{}'),
       (SELECT last.status FROM job_executions AS last WHERE last.job_id = batch.batch_id)
  FROM job_batches AS batch
"""
FIND_BATCH = f"-- find_batch{_STATE} WHERE batch.batch_id = %(batch_id)s"
LIST_BATCHES = (
    f"-- list_batches{_STATE} ORDER BY batch.created_at DESC, batch.batch_id DESC LIMIT %(limit)s"
)
FIND_BATCH_OF = """
-- find_batch_of
SELECT batch_id FROM job_executions WHERE job_id = %(job_id)s
"""


def create(connection: Connection[Any], batch_id: str, name: str) -> None:
    """Make a batch, which has no jobs yet."""
    call(connection, CREATE_BATCH, {"batch_id": batch_id, "name": name})


async def create_async(connection: AsyncConnection[Any], batch_id: str, name: str) -> None:
    """`create` on an async connection."""
    async with psycopg.AsyncCursor(connection, row_factory=tuple_row) as cursor:
        parameters = {"batch_id": batch_id, "name": name}
        await cursor.execute(CREATE_BATCH.encode(), parameters, prepare=False)


def find(connection: Connection[Any], batch_id: str) -> BatchState | None:
    """How a batch stands. None: there is none with this id."""
    rows = call(connection, FIND_BATCH, {"batch_id": batch_id})
    return BatchState(*rows[0]) if rows else None


def newest(connection: Connection[Any], *, limit: int) -> list[BatchState]:
    """The newest batches, at most so many."""
    return [BatchState(*row) for row in call(connection, LIST_BATCHES, {"limit": limit})]


def find_id_of(connection: Connection[Any], job_id: str) -> str | None:
    """The batch of a job. None: it is in none."""
    rows = call(connection, FIND_BATCH_OF, {"job_id": job_id})
    return rows[0][0] if rows else None
