"""Jobs through a whole system on one machine: how many a second, and how long until one runs.

    python -m benchmarks.stack [--rounds 3] [--jobs 300] [--workers 1 4 16] [--quick]

stashjobs: row, stand-in for QStash, gateway, a process for each Lambda at work, row. Beside it
Procrastinate and pgqueuer on the same Postgres, each with one resident worker that runs as many
tasks at once. They need that worker to be there, day and night; stashjobs needs none, and pays for
it with two HTTP calls a job. Here all of those share this machine's cores, the stand-in and the
gateway too, which in AWS are not ours.

A job notes when it was sent and when it ran, and does nothing else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import measuring
from benchmarks.contenders import noting
from benchmarks.contenders.stack_job import noted
from infra.local.chaos.system import System
from stashjobs.producer import qstash_client
from stashjobs.store import database

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

TEMPLATE = Path(__file__).parent / "contenders" / "stack_template.yaml"
PATIENCE_SECONDS = 120.0


class Queue(ABC):
    """A queue with so many workers, which note what they ran in `file`."""

    def __init__(self, url: str, file: Path) -> None:
        self.url = url
        self.file = file

    @abstractmethod
    async def send(self, count: int) -> None:
        """Enqueue so many jobs, in as few calls as it takes."""

    @abstractmethod
    async def pace(self, count: int, rate: float) -> None:
        """Enqueue so many jobs one by one, so many a second."""

    async def burst(self, count: int) -> float:
        """Jobs a second, from the sending to the last one's run."""
        await self.send(count)
        ran = await self.wait_for(count)
        return count / (max(run for _, run in ran) - min(sent for sent, _ in ran))

    async def one_by_one(self, count: int) -> list[float]:
        """Seconds from sending to running, of jobs that find all workers idle."""
        taken = []
        for _ in range(count):
            await self.send(1)
            [(sent, run)] = await self.wait_for(1)
            taken.append(run - sent)
        return taken

    async def at_half_load(self, count: int, rate: float) -> list[float]:
        """Seconds from sending to running, at half of what a burst reached."""
        await self.pace(count, rate / 2)
        return [run - sent for sent, run in await self.wait_for(count)]

    async def wait_for(self, count: int) -> list[tuple[float, float]]:
        """When each of them was sent and run. The file is empty afterwards."""
        lines: list[str] = []
        until = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < until:
            lines = self.file.read_text().splitlines()
            if len(lines) >= count:
                self.file.write_text("")
                return [(float(sent), float(run)) for sent, run in map(str.split, lines)]
            await asyncio.sleep(0.005)
        raise SystemExit(f"{type(self).__name__}: {len(lines)} of {count} jobs ran")


class Stashjobs(Queue):
    """The producer is one thread, as an app's would be, which keeps its connections."""

    def __init__(self, url: str, file: Path) -> None:
        super().__init__(url, file)
        self._thread = ThreadPoolExecutor(1)

    async def send(self, count: int) -> None:
        def work() -> None:
            sent = time.time()
            noted.enqueue_many([{"sent": sent} for _ in range(count)])

        await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def pace(self, count: int, rate: float) -> None:
        await noting.paced(lambda: self.send(1), count, rate)

    def close(self) -> None:
        self._thread.submit(database.close).result()
        self._thread.submit(qstash_client.close).result()
        self._thread.shutdown()


class Resident(Queue):
    """One whose worker is a process of its own."""

    module = ""

    async def send(self, count: int) -> None:
        await self.command("send", str(count))

    async def pace(self, count: int, rate: float) -> None:
        await self.command("pace", str(count), str(rate))

    async def command(self, *arguments: str) -> None:
        process = await self.start(*arguments)
        if code := await process.wait():
            raise SystemExit(f"{self.module} {arguments}: exit code {code}")

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        paths = os.pathsep.join([str(measuring.ROOT), str(measuring.ROOT / "shared")])
        return await asyncio.create_subprocess_exec(
            measuring.BENCH_PYTHON,
            "-m",
            f"benchmarks.contenders.{self.module}",
            *arguments,
            cwd=measuring.ROOT,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": paths,
                "POSTGRES_URL": self.url,
                noting.FILE: str(self.file),
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL if arguments[0] == "work" else None,
        )

    @contextlib.asynccontextmanager
    async def working(self, workers: int) -> AsyncIterator[None]:
        process = await self.start("work", str(workers))
        try:
            yield
        finally:
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), 15)
            if process.returncode is None:
                process.kill()
                await process.wait()


class Procrastinate(Resident):
    module = "procrastinate_queue"


class Pgqueuer(Resident):
    module = "pgqueuer_queue"


class Found:
    """What one queue reached with so many workers."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.taken: list[float] = []
        self.loaded: list[float] = []


async def measure(rounds: int, jobs: int, workers: Sequence[int]) -> dict[tuple[str, int], Found]:
    """Every queue, in turns, with each number of workers, on the Postgres of the stack. Its first
    jobs in a round, which start the processes, are not counted."""
    found: dict[tuple[str, int], Found] = {}
    for at_once in workers:
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            async with System(Path(folder), TEMPLATE, parallelism=at_once) as system:
                file = Path(folder) / "noted"
                file.touch()
                system.configure(**{noting.FILE: str(file)})
                os.environ.update(system.environment)
                ours = Stashjobs(system.postgres.url, file)
                residents = [each(system.postgres.url, file) for each in (Procrastinate, Pgqueuer)]
                for each in residents:
                    await each.command("install")
                try:
                    for number in range(rounds):
                        for queue in (ours, *residents):
                            name = type(queue).__name__
                            at = f"{at_once} workers, round {number + 1} of {rounds}, {name}"
                            measuring.progress(f"stack: {at}")
                            into = found.setdefault((name, at_once), Found())
                            if isinstance(queue, Resident):
                                async with queue.working(at_once):
                                    await once(queue, jobs, at_once, into)
                            else:
                                await once(queue, jobs, at_once, into)
                finally:
                    ours.close()
    return found


async def once(queue: Queue, jobs: int, workers: int, into: Found) -> None:
    """One queue's turn."""
    await queue.burst(2 * workers)
    into.rates.append(await queue.burst(jobs))
    into.taken += await queue.one_by_one(max(5, jobs // 15))
    into.loaded += await queue.at_half_load(jobs, into.rates[-1])


def report(found: dict[tuple[str, int], Found]) -> str:
    """The table."""
    rows = []
    for (name, workers), each in found.items():
        milliseconds = [seconds * 1000 for seconds in each.taken]
        loaded = [seconds * 1000 for seconds in each.loaded]
        rows.append(
            [
                name,
                str(workers),
                f"{statistics.median(each.rates):,.0f}",
                f"{measuring.percentile(milliseconds, 50):,.0f}",
                f"{measuring.percentile(milliseconds, 90):,.0f}",
                f"{max(milliseconds):,.0f}",
                f"{measuring.percentile(loaded, 50):,.0f}",
                f"{measuring.percentile(loaded, 99):,.0f}",
            ]
        )
    headers = ["", "workers", "jobs/s", "p50 ms", "p90 ms", "slowest"]
    return measuring.table([*headers, "p50 at half load", "p99"], rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.stack", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=300, help="in a burst")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--quick", action="store_true", help="1 round of 20 jobs by 2 workers")
    options = parser.parse_args(argv)
    if options.quick:
        options.rounds, options.jobs, options.workers = 1, 20, [2]
    measuring.require_comparators()
    found = asyncio.run(measure(options.rounds, options.jobs, options.workers))
    print(report(found))
    print(f"\n{options.rounds} rounds of {options.jobs} jobs. {measuring.machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
