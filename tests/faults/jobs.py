"""A job whose effects are counted in two ledgers, one of them elsewhere."""

from __future__ import annotations

import time
from typing import Any

import psycopg

from stashjobs import Context, job
from stashjobs.config import settings

LEDGERS = """
CREATE TABLE effects (job_id text NOT NULL, attempt integer NOT NULL);
CREATE TABLE external_effects (key text PRIMARY KEY, calls integer NOT NULL DEFAULT 1);
"""


@job("faulty", endpoint="/api/jobs/faulty", retries=3, timeout=1, retry_delay="200")
def faulty(payload: dict[str, Any], context: Context) -> str:
    """One effect elsewhere, by key, and one in the transaction of the completion."""
    with psycopg.connect(settings.postgres_url(), connect_timeout=2) as elsewhere:
        elsewhere.execute(
            "INSERT INTO external_effects AS known (key) VALUES (%s)"
            " ON CONFLICT (key) DO UPDATE SET calls = known.calls + 1",
            [context.idempotency_key],
        )
    context.connection.execute(
        "INSERT INTO effects VALUES (%s, %s)", [context.job_id, context.attempt]
    )
    during_run(payload, context)
    time.sleep(payload.get("seconds", 0))
    if context.attempt <= payload.get("failures", 0):
        raise OSError("planned to fail")
    return "done"


def during_run(_payload: dict[str, Any], _context: Context) -> None:
    """Where tests/faults/crashing.py lets the process die."""
