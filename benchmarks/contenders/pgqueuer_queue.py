"""pgqueuer: a resident worker, and a producer that enqueues in batches.

python -m benchmarks.contenders.pgqueuer_queue install | work WORKERS
    python -m benchmarks.contenders.pgqueuer_queue send COUNT | pace COUNT RATE
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.models import Job  # noqa: TC002 - pgqueuer reads the annotation
from pgqueuer.queries import Queries

from benchmarks.contenders.noting import note, paced


async def main(what: str, number: int, rate: float) -> None:
    connection = await asyncpg.connect(os.environ["POSTGRES_URL"])
    queries = Queries.from_asyncpg_connection(connection)
    if what == "install":
        await queries.install()
    elif what == "work":
        queue = PgQueuer.from_asyncpg_connection(connection)

        @queue.entrypoint("noted")
        async def noted(job: Job) -> None:
            note(float(job.payload or b"0"))

        await queue.run(batch_size=number, max_concurrent_tasks=2 * number)
    elif what == "pace":
        await paced(lambda: queries.enqueue("noted", str(time.time()).encode()), number, rate)
    else:
        payload = str(time.time()).encode()
        await queries.enqueue(["noted"] * number, [payload] * number, [0] * number)
    await connection.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int((*sys.argv[2:], "0")[0]), float((*sys.argv[3:], "1")[0])))
