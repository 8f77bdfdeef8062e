"""Jobs as the browser tests need them: rows in every status, with what makes a page difficult."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from stashjobs.ids import new_job_id

PAYLOAD = {"userId": "u_1", "type": "news", "title": "Hello", "message": "you"}
LONG_TYPE = "synchronize-customer-relationship-records-with-the-external-provider"
LONG_ERROR = (
    "ClientError: AccessDenied: arn:aws:sts::123456789012:assumed-role/"
    + "stashjobs-production-GenerateReportFunctionRole" * 6
    + " is not allowed to do this, "
    + "and that for many reasons, " * 20
)
RECORD = """
INSERT INTO job_executions (job_id, job_type, status, payload, error, errors, attempt, max_attempts,
                            progress, user_id, organization_id, metadata, created_at, available_at,
                            published_at, started_at, lease_expires_at, completed_at)
VALUES (%(job_id)s, %(type)s, %(status)s, %(payload)s, %(error)s, %(errors)s, 1, 4, %(progress)s,
        'u_1', 'o_1', '{"source": "test"}', now() - make_interval(secs => %(age)s),
        now() + make_interval(secs => %(delay)s), now(),
        CASE WHEN %(status)s <> 'pending' THEN now() - make_interval(secs => %(age)s) END,
        CASE WHEN %(status)s = 'processing' THEN now() + interval '1 h' END,
        CASE WHEN %(status)s IN ('completed', 'failed', 'cancelled')
             THEN now() - make_interval(secs => %(age)s - 0.4) END)
"""
# All that failed, and the last of them is what runs at its end.
MAKE_BATCH = """
WITH batch AS (
    INSERT INTO job_batches VALUES (%(batch_id)s, %(name)s, now())
), links AS (
    INSERT INTO job_dependencies (job_id, parent_id, position, required, open)
    SELECT %(batch_id)s, job_id, row_number() OVER (), 'ended', false FROM job_executions
     WHERE job_id <> %(batch_id)s
)
UPDATE job_executions SET batch_id = %(batch_id)s WHERE job_id <> %(batch_id)s
"""


@dataclass
class Jobs:
    """The rows of this test."""

    connection: psycopg.Connection[Any]

    def add(
        self,
        status: str = "completed",
        *,
        type: str = "create-notification",  # noqa: A002
        error: str | None = None,
        age: float = 60,
        delay: float = 0,
        payload: Any = None,
    ) -> str:
        """Record one."""
        job_id = new_job_id()
        kind, _, message = (error or "").partition(": ")
        failed = {
            "attempt": 1,
            "type": kind,
            "message": message,
            "traceback": "Traceback (most recent call last):\n" + "  File x, line 1\n" * 30,
            "startedAt": "2026-11-24T08:00:00+00:00",
            "endedAt": "2026-11-24T08:00:01.5+00:00",
        }
        values = {
            "job_id": job_id,
            "type": type,
            "status": status,
            "payload": Jsonb(PAYLOAD if payload is None else payload),
            "error": error,
            "errors": Jsonb([failed] if error else []),
            "progress": Jsonb({"fraction": 0.4, "note": "rows"})
            if status == "processing"
            else None,
            "age": age,
            "delay": delay,
        }
        self.connection.execute(RECORD, values)
        return job_id

    def status(self, job_id: str) -> str:
        statement = "SELECT status FROM job_executions WHERE job_id = %s"
        row = self.connection.execute(statement, [job_id]).fetchone()
        assert row is not None
        return str(row[0])

    def add_a_day(self) -> str:
        """Some of everything. Returns the id of one that failed."""
        for number in range(12):
            self.add(age=7_000 * number + 30)
            self.add("failed", error="ValueError: no good", age=14_000 * number + 60)
        for status in ("pending", "processing", "retrying", "cancelled"):
            self.add(status, type="generate-report", delay=3_600, age=100)
        self.add("completed", type=LONG_TYPE)
        last = self.add("failed", type=LONG_TYPE, error=LONG_ERROR, payload={"a": "x" * 3_000})
        self.connection.execute(MAKE_BATCH, {"batch_id": last, "name": "import of " + LONG_TYPE})
        return last
