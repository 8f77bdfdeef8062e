"""The limit: claim a row, complete it, and nothing else. No signature, no log, no answer.

By the shortest statements that could be called a claim and a completion, and with psycopg's own
settings: from the sixth execution on the server keeps their plans. With `planned` it plans them
each time, as behind a pooler that shares sessions.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import psycopg
from psycopg.types.json import Jsonb

from benchmarks.contenders import deliveries, rounds
from benchmarks.contenders.cold.statements import CLAIM, COMPLETE


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

    rounds.serve(
        lambda count: deliveries.add_jobs(connection, count),
        claim_and_complete,
        ok=lambda answer: answer is not None,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
