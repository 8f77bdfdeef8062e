"""A job whose effects can be counted, and the clean-up of what has ended."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg

from functions.cleanup_old_data.cleaner import Cleaner
from functions.cleanup_old_data.models import CleanedUp, Cleanup
from functions.cleanup_old_data.retention import Retention
from stashjobs import Context, PermanentError, job
from stashjobs.config import settings

# `effects` is written in the job's own transaction: there is a row if and only if it completed, so
# it has no key that would hide a second one. `external_effects` stands for a service that takes an
# idempotency key: it may be called again, and does it once. `step_effects` is written by steps,
# each of which is done once however often its job is tried.
LEDGERS = """
CREATE TABLE effects (
    job_id text NOT NULL, run integer NOT NULL, attempt integer NOT NULL, number integer NOT NULL
);
CREATE TABLE external_effects (
    key text PRIMARY KEY, job_id text NOT NULL, calls integer NOT NULL DEFAULT 1
);
CREATE TABLE step_effects (job_id text NOT NULL, step integer NOT NULL);
CREATE INDEX ON effects (job_id);
CREATE INDEX ON step_effects (job_id);
CREATE INDEX ON external_effects (job_id);
"""

# What ended so long ago is archived.
RETENTION_SECONDS = 2.0
# Few, so that one clean-up writes many objects.
BATCH_ROWS = 10

_elsewhere: psycopg.Connection[Any] | None = None


@job("chaos-failed", endpoint="/api/jobs/chaos-failed", retries=5, retry_delay="200")
def chaos_failed(payload: dict[str, str], _context: Context) -> str:
    """What follows a job that has failed for good."""
    return payload["jobId"]


@job(
    "chaos",
    endpoint="/api/jobs/chaos",
    retries=5,
    timeout=2,
    retry_delay="200 + 300 * retried",
    on_failed=chaos_failed,
)
def chaos(payload: dict[str, Any], context: Context) -> int:
    """Leave a mark in each ledger, unless the payload asks for a failure first."""
    for step in range(payload["steps"]):
        context.step(f"step {step}", write_in_step, context, step)
    call_elsewhere(context)
    time.sleep(payload["seconds"])
    if context.attempt <= payload["failures"]:
        raise OSError("planned to fail")
    if payload["permanent"]:
        raise PermanentError("planned to fail for good")
    number: int = payload["number"]
    context.connection.execute(
        "INSERT INTO effects VALUES (%s, %s, %s, %s)",
        [context.job_id, context.run, context.attempt, number],
    )
    return number


@job(
    "chaos-clean-up",
    endpoint="/api/jobs/chaos-clean-up",
    retries=3,
    timeout=5,
    retry_delay="500",
    enqueued_by="operators",
)
def clean_up(_payload: dict[str, Any], context: Context) -> CleanedUp:
    """`cleanup-old-data`, with a retention of seconds."""
    cutoff = datetime.now(UTC) - timedelta(seconds=RETENTION_SECONDS)
    retention = Retention(cutoff, cutoff, {}, cutoff, cutoff, None)
    return Cleaner(Cleanup(batch_rows=BATCH_ROWS), retention, context).run()


def write_in_step(context: Context, step: int) -> None:
    """One step's effect, in the transaction that keeps the step."""
    context.connection.execute("INSERT INTO step_effects VALUES (%s, %s)", [context.job_id, step])


def call_elsewhere(context: Context) -> None:
    """The call to a service with idempotency keys: a connection and a transaction of its own."""
    global _elsewhere  # noqa: PLW0603 - one connection per process, like the worker's
    if _elsewhere is None or _elsewhere.closed:
        _elsewhere = psycopg.connect(
            settings.postgres_url(),
            autocommit=True,
            connect_timeout=2,
            prepare_threshold=None,  # a pooler is in between
        )
    try:
        _elsewhere.execute(
            "INSERT INTO external_effects AS known (key, job_id) VALUES (%s, %s)"
            " ON CONFLICT (key) DO UPDATE SET calls = known.calls + 1",
            [context.idempotency_key, context.job_id],
        )
    except psycopg.OperationalError:
        _elsewhere.close()
        raise
