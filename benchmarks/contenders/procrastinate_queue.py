"""Procrastinate: a resident worker, and a producer that defers in batches.

python -m benchmarks.contenders.procrastinate_queue install | work WORKERS
    python -m benchmarks.contenders.procrastinate_queue send COUNT | pace COUNT RATE
"""

from __future__ import annotations

import asyncio
import sys
import time

from benchmarks.contenders.noting import paced
from benchmarks.contenders.procrastinate_app import app, noted


async def main(what: str, number: int, rate: float) -> None:
    async with app.open_async():
        if what == "install":
            await app.schema_manager.apply_schema_async()
        elif what == "work":
            await app.run_worker_async(concurrency=number)
        elif what == "pace":
            await paced(lambda: noted.defer_async(sent=time.time()), number, rate)
        else:
            sent = time.time()
            await noted.batch_defer_async(*({"sent": sent} for _ in range(number)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int((*sys.argv[2:], "0")[0]), float((*sys.argv[3:], "1")[0])))
