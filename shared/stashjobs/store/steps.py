"""The kept results of a job's steps. Each function here is one round trip, on the caller's
connection; nothing imports this module before a job's first step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from psycopg.pq import TransactionStatus

from stashjobs.store import jsonb
from stashjobs.store.executions import call

if TYPE_CHECKING:
    from psycopg import Connection

KEEP_STEP = """
SELECT held, cancelled_by
  FROM stashjobs.keep_step(
           job_id => %(job_id)s, attempt => %(attempt)s, number => %(position)s,
           name => %(name)s, result => %(result)s, seconds => %(seconds)s,
           lease_seconds => %(lease_seconds)s)
"""
FIND_KEPT = """
-- find_kept_steps
SELECT position, name, result::text, attempt FROM job_steps WHERE job_id = %(job_id)s
"""
HAS_WRITTEN = "-- has_written\nSELECT pg_current_xact_id_if_assigned() IS NOT NULL"


class Kept(NamedTuple):
    """A step whose result is kept. `text` is that result as JSON; `attempt` kept it."""

    position: int
    name: str
    text: str
    attempt: int


def find_kept(connection: Connection[Any], job_id: str) -> dict[int, Kept]:
    """The steps that are kept, by their position."""
    rows = call(connection, FIND_KEPT, {"job_id": job_id})
    return {row[0]: Kept._make(row) for row in rows}


def keep(
    connection: Connection[Any],
    *,
    job_id: str,
    attempt: int,
    position: int,
    name: str,
    result: Any,
    seconds: float,
    lease_seconds: float,
) -> tuple[bool, str | None]:
    """Keep a step's result, and extend the lease. Returns whether the attempt still holds the job,
    without which nothing was written, and who asked for it to be cancelled."""
    parameters = {
        "job_id": job_id,
        "attempt": attempt,
        "position": position,
        "name": name,
        "result": jsonb.parameter(result),
        "seconds": seconds,
        "lease_seconds": lease_seconds,
    }
    [(held, cancelled_by)] = call(connection, KEEP_STEP, parameters)
    return held, cancelled_by


def has_written(connection: Connection[Any]) -> bool:
    """Whether the connection's transaction has written or locked anything that it may commit."""
    if connection.info.transaction_status == TransactionStatus.INERROR:
        return False
    [(written,)] = call(connection, HAS_WRITTEN, {})
    return bool(written)
