"""The limit: claim a row, complete it, and nothing else. No signature, no log, no answer.

With `same` the two statements are those of stashjobs, with `planned` too, but planned anew each
time; with `shortest` the shortest that could be called a claim and a completion.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.contenders import deliveries, rounds
from benchmarks.contenders.cold.statements import CLAIM, COMPLETE
from stashjobs import database, execution_log
from stashjobs.execution_log import Lease


def main(statements: str) -> None:
    url = os.environ["POSTGRES_URL"]
    connection = psycopg.connect(url, autocommit=True, prepare_threshold=None)

    def shortest(job_id: str) -> Any:
        row = connection.execute(CLAIM, [job_id]).fetchone()
        if row is None:
            return None
        result = {"count": row[0]["count"], "attempt": row[1]}
        connection.execute(COMPLETE, [Jsonb(result), job_id, row[1]])
        return result

    if statements == "planned":
        database.USES_BEFORE_PREPARING = sys.maxsize

    def same(job_id: str) -> Any:
        claim = execution_log.claim(
            connection,
            job_id=job_id,
            job_type=deliveries.JOB_TYPE,
            lease=Lease(40.0, "msg_1", None),
        )
        if claim is None or not claim.held:
            return None
        result = {"count": claim.payload["count"], "attempt": claim.attempt}
        execution_log.record_completed(
            connection, job_id=job_id, attempt=claim.attempt, result=result
        )
        return result

    rounds.serve(
        lambda count: deliveries.add_jobs(connection, count),
        shortest if statements == "shortest" else same,
        ok=lambda answer: answer is not None,
    )


if __name__ == "__main__":
    main(sys.argv[1])
