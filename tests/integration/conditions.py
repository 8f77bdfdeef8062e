"""The alert conditions, each brought just within its threshold or just beyond it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stashjobs.ids import new_job_id

if TYPE_CHECKING:
    from tests.deliveries import Table

RECORD = """
INSERT INTO job_executions (job_id, job_type, status, payload, max_attempts, attempt, published_at,
                            created_at, available_at, started_at, lease_expires_at, completed_at)
SELECT %(id)s || n, %(type)s, %(status)s, '{}', 1, 1,
       CASE WHEN %(published)s THEN now() END,
       now() - %(age)s::interval, now() - %(age)s::interval,
       CASE WHEN %(status)s <> 'pending'
            THEN now() - %(age)s::interval - make_interval(secs => %(took)s) END,
       CASE WHEN %(status)s = 'processing' THEN now() + interval '1 hour' END,
       CASE WHEN %(status)s IN ('completed', 'failed') THEN now() - %(age)s::interval END
  FROM generate_series(1, %(count)s) AS n
"""


def record(
    table: Table,
    status: str,
    count: int = 1,
    *,
    age: str = "1 minute",
    took: float = 1,
    published: bool = True,
) -> None:
    """So many jobs that ended, began or became due that long ago."""
    values = {
        "id": new_job_id(),
        "type": "send-email",
        "status": status,
        "count": count,
        "age": age,
        "took": took,
        "published": published,
    }
    table.other.execute(RECORD, values)


def failing(table: Table, *, beyond: bool) -> None:
    failed = 6 if beyond else 5
    record(table, "failed", failed)
    record(table, "completed", 100 - failed)


def stuck(table: Table, *, beyond: bool) -> None:
    record(table, "processing", age="11 minutes" if beyond else "9 minutes")


def standstill(table: Table, *, beyond: bool) -> None:
    record(table, "pending", age="16 minutes")
    record(table, "completed", age="61 minutes" if beyond else "59 minutes")


def depth(table: Table, *, beyond: bool) -> None:
    record(table, "pending", 1_001 if beyond else 1_000)


def oldest(table: Table, *, beyond: bool) -> None:
    record(table, "pending", age="910 seconds" if beyond else "880 seconds")


def slow(table: Table, *, beyond: bool) -> None:
    """Half of the 30 seconds that a send-email may take."""
    record(table, "completed", took=15.1 if beyond else 14.9)


def unpublished(table: Table, *, beyond: bool) -> None:
    record(table, "pending", age="200 seconds" if beyond else "160 seconds", published=False)
