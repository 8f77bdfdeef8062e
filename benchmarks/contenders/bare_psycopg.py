"""The limit: claim a row, complete it, and nothing else. No signature, no log, no answer.

By the shortest statements that could be called a claim and a completion, and with psycopg's own
settings: from the sixth execution on the server keeps their plans. With `planned` it plans them
each time, as behind a pooler that shares sessions. With `functions` the same loop calls what
deliveries call, `stashjobs.claim` and `stashjobs.complete`.
"""

from __future__ import annotations

import os
import sys
import uuid
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.contenders import deliveries, rounds
from benchmarks.contenders.cold.statements import CLAIM, COMPLETE
from stashjobs.store import executions


def main(*options: str) -> None:
    connection = psycopg.connect(os.environ["POSTGRES_URL"], autocommit=True)
    if "planned" in options:
        connection.prepare_threshold = None

    def claim_and_complete(job_id: str) -> Any:
        row = connection.execute(CLAIM, [job_id]).fetchone()
        if row is None:
            return None
        result = {"count": row[0]["count"], "attempt": row[1]}
        connection.execute(COMPLETE, [Jsonb(result), job_id, row[1]])
        return result

    def call_functions(job_id: str) -> Any:
        lease = executions.Lease(40.0, f"msg_{job_id}", None, uuid.uuid4().hex)
        claim = executions.claim(
            connection, job_id=job_id, job_type=deliveries.JOB_TYPE, lease=lease
        )
        if claim is None or not claim.held:
            return None
        result = {"count": claim.payload["count"], "attempt": claim.attempt}
        return executions.record_completed(
            connection, job_id=job_id, attempt=claim.attempt, result=result
        )

    rounds.serve(
        lambda count: deliveries.add_jobs(connection, count),
        call_functions if "functions" in options else claim_and_complete,
        ok=lambda answer: answer is not None,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
