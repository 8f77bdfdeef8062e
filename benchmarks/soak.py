"""Load for minutes or an hour: what grows, and does a job wait longer at its end?

    python -m benchmarks.soak [--minutes 5] [--share 0.6] [--quick]

The whole local system runs, with the relay and the monitor every minute and a Postgres with
autovacuum's defaults. `create-notification` jobs come at a steady rate, a share of what a burst
reached before, and the API is asked for a page of jobs every second. The table has a row for each
tenth of the time.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks import measuring
from infra.local.stack import Stack
from stashjobs.job_type import load
from stashjobs.producer import qstash_client
from stashjobs.store import database

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stashjobs import Job

TENTHS = 10
JOB, RELAY, API = "CreateNotificationFunction", "RelayFunction", "ApiFunction"
PATIENCE_SECONDS = 120.0
OPEN = "SELECT count(*) FROM job_executions WHERE completed_at IS NULL"
WAITED = """
SELECT count(*),
       coalesce(percentile_cont(0.5) WITHIN GROUP (ORDER BY waited), 0) * 1000,
       coalesce(percentile_cont(0.99) WITHIN GROUP (ORDER BY waited), 0) * 1000
  FROM (SELECT extract(epoch FROM started_at - created_at) AS waited FROM job_executions
         WHERE created_at >= to_timestamp(%s) AND created_at < to_timestamp(%s)) AS began
"""
SIZES = """
SELECT n_dead_tup, n_live_tup, pg_indexes_size(relid) / 2^20, pg_table_size(relid) / 2^20
  FROM pg_stat_user_tables WHERE relname = 'job_executions'
"""


@dataclass(frozen=True)
class Tenth:
    """What one tenth of the time was like: waits in milliseconds, sizes in MB."""

    jobs: int
    p50: float
    p99: float
    dead_rows: int
    rows: int
    index_mb: float
    table_mb: float
    memory_mb: dict[str, float]


class Soak:
    """The system, and who sends it jobs: one thread, which keeps its connections."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        load()
        from functions.create_notification.handler import create_notification

        self._job: Job[Any, Any] = create_notification
        self._postgres = psycopg.connect(stack.postgres.url, autocommit=True)

    def send(self, count: int) -> None:
        payload = self._job.example()
        self._job.enqueue_many([payload for _ in range(count)])

    def wait(self) -> None:
        """Until nothing is open.

        Raises:
            SystemExit: It takes too long.
        """
        until = time.monotonic() + PATIENCE_SECONDS
        while self._one(OPEN)[0]:
            if time.monotonic() > until:
                raise SystemExit(f"{self._one(OPEN)[0]} jobs did not end")
            time.sleep(0.02)

    def capacity(self, count: int) -> float:
        """Jobs a second in a burst, once the processes are there."""
        for _ in range(2):
            began = time.monotonic()
            self.send(count)
            self.wait()
            rate = count / (time.monotonic() - began)
        return rate

    def ask_api(self) -> None:
        request = urllib.request.Request(  # noqa: S310 - this machine's
            f"{self.stack.urls['app']}/api/jobs?limit=50",
            headers={"Authorization": f"Bearer {self.stack.environment['ADMIN_TOKEN']}"},
        )
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
            answer.read()

    def run(self, rate: float, seconds: float) -> Tenth:
        """A tenth: so many jobs a second, sent once a second."""
        began, due = time.time(), 0.0
        for second in range(max(1, round(seconds))):
            due += rate
            self.send(int(due))
            due -= int(due)
            self.ask_api()
            time.sleep(max(0.0, began + second + 1 - time.time()))
        ended = time.time()
        jobs, p50, p99 = self._one(WAITED, began, ended)
        return Tenth(jobs, p50, p99, *self._one(SIZES), memory_mb=self.memory())

    def memory(self) -> dict[str, float]:
        """The largest process of each function that has one."""
        found: dict[str, float] = {}
        for name in (JOB, RELAY, API):
            sizes = [resident_mb(each.pid) for each in self.stack.runtime.processes(name)]
            found[name] = max(sizes, default=0.0)
        return found

    def close(self) -> None:
        self._postgres.close()
        database.close()
        qstash_client.close()

    def _one(self, statement: str, *parameters: float) -> tuple[Any, ...]:
        row = self._postgres.execute(statement.encode(), parameters or None).fetchone()
        return row or ()


def resident_mb(process: int) -> float:
    """0 for one that has just ended."""
    try:
        status = Path(f"/proc/{process}/status").read_text()
    except OSError:
        return 0.0
    return int(status.partition("VmRSS:")[2].split()[0]) / 1024


def soak(stack: Stack, minutes: float, share: float) -> tuple[float, list[Tenth]]:
    """The rate of the burst, and each tenth."""
    sender = Soak(stack)
    try:
        capacity = sender.capacity(200)
        found = []
        for number in range(TENTHS):
            measuring.progress(f"soak: tenth {number + 1} of {TENTHS}")
            found.append(sender.run(capacity * share, minutes * 60 / TENTHS))
        sender.wait()
    finally:
        sender.close()
    return capacity, found


async def measure(minutes: float, share: float) -> tuple[float, list[Tenth]]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.chmod(folder, 0o711)  # noqa: S103, PTH101 - Postgres, as another user, passes through
        async with Stack(measuring.ROOT, Path(folder) / "home") as stack:
            os.environ.update(stack.environment)
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(None, soak, stack, minutes, share)


def report(found: Sequence[Tenth]) -> str:
    """The table."""
    rows = [
        [
            str(number),
            f"{each.jobs:,}",
            f"{each.p50:,.0f}",
            f"{each.p99:,.0f}",
            f"{each.dead_rows:,}",
            f"{each.dead_rows / max(each.rows, 1):.2f}",
            f"{each.index_mb:,.1f}",
            f"{each.table_mb:,.1f}",
            *(f"{each.memory_mb[name]:,.0f}" for name in (JOB, RELAY, API)),
        ]
        for number, each in enumerate(found, 1)
    ]
    headers = ["tenth", "jobs", "p50 ms", "p99 ms", "dead rows", "per row", "indexes MB"]
    headers += ["table MB", "job MB", "relay MB", "API MB"]
    return measuring.table(headers, rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--share", type=float, default=0.6, help="of what a burst reached")
    parser.add_argument("--quick", action="store_true", help="20 seconds, to see that it runs")
    options = parser.parse_args(argv)
    minutes = 20 / 60 if options.quick else options.minutes
    capacity, found = asyncio.run(measure(minutes, options.share))
    print(report(found))
    first, last = found[0], found[-1]
    print(
        f"\n{minutes:g} minutes at {options.share:g} of {capacity:,.0f} jobs/s; p99 of the last "
        f"tenth {last.p99 / max(first.p99, 0.001):.2f}x the first's. {measuring.machine()}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
