"""Enqueueing: one job, 1,000, 100,000, and within the caller's transaction.

    python -m benchmarks.enqueue [--rounds 7] [--many 100000] [--quick]

Against a Postgres and the stand-in for QStash, both on this machine. Beside it: one HTTP call for
each job by the official SDK, which is how a producer without a table enqueues. A real QStash is
some ten milliseconds further away, so what is compared here is work, not distance. The largest
enqueue also has a limit beside it: pydantic validates all payloads in one call, and psycopg copies
the rows into the same table. And the memory that it adds, of 100,000 and of ten times as many.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import statistics
import subprocess
import sys
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, TypeAdapter

from benchmarks import measuring
from stashjobs import Context, job
from stashjobs.producer import qstash_client
from stashjobs.store import database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import psycopg

THOUSAND = 1_000
# So that nothing is delivered while the benchmark runs.
DELAY_SECONDS = 86_400
COPY = "COPY job_executions (job_id, job_type, payload, available_at, max_attempts) FROM STDIN"


class Welcome(BaseModel):
    to: str
    name: str
    plan: str = "free"


@job("enqueued", endpoint="/api/jobs/enqueued")
def enqueued(welcome: Welcome, context: Context) -> None: ...


class Way:
    """A way to enqueue so many jobs."""

    def __init__(self, name: str, jobs: int, enqueue: Callable[[], object]) -> None:
        self.name = name
        self.jobs = jobs
        self.enqueue = enqueue


@dataclass(frozen=True)
class Taken:
    """Seconds by the clock, of this process's CPU, and of the CPU of its session in Postgres."""

    wall: float
    client: float
    server: float


def ways(connection: psycopg.Connection[Any], many: int) -> list[Way]:
    """All that are compared."""

    def payloads(count: int) -> list[dict[str, Any]]:
        return [{"to": f"ada{number}@example.com", "name": "Ada"} for number in range(count)]

    def within_a_transaction(count: int) -> None:
        with connection.transaction():
            enqueued.enqueue_many(payloads(count), delay=DELAY_SECONDS, connection=connection)

    def by_http(count: int) -> None:
        client = qstash_client.qstash()
        for each in payloads(count):
            client.message.publish_json(
                url="https://jobs.example.test/api/jobs/enqueued",
                body={"type": "enqueued", "payload": each},
                delay=f"{DELAY_SECONDS}s",
            )

    def copied(count: int) -> None:
        due = datetime.now(UTC) + timedelta(seconds=DELAY_SECONDS)
        read = TypeAdapter(list[Welcome]).validate_python(payloads(count))
        with connection.transaction(), connection.cursor().copy(COPY) as copy:
            for welcome in read:
                text = welcome.model_dump_json()
                copy.write_row((str(uuid.uuid4()), "enqueued", text, due, 4))

    return [
        Way("one, recorded in the caller's transaction", 1, lambda: within_a_transaction(1)),
        Way(
            "one, recorded and published",
            1,
            lambda: enqueued.enqueue(payloads(1)[0], delay=DELAY_SECONDS),
        ),
        Way("one HTTP call, no record", 1, lambda: by_http(1)),
        Way(
            f"{THOUSAND:,}, recorded and published",
            THOUSAND,
            lambda: enqueued.enqueue_many(payloads(THOUSAND), delay=DELAY_SECONDS),
        ),
        Way(
            f"{THOUSAND:,}, recorded in the caller's transaction",
            THOUSAND,
            lambda: within_a_transaction(THOUSAND),
        ),
        Way(f"{THOUSAND:,} HTTP calls, no record", THOUSAND, lambda: by_http(THOUSAND)),
        Way(
            f"{many:,}, recorded in the caller's transaction",
            many,
            lambda: within_a_transaction(many),
        ),
        Way(f"{many:,}, validated and copied", many, lambda: copied(many)),
    ]


def take(way: Way, session: int) -> Taken:
    """Do it once. What is short is done a hundred times, since the clock is not that fine."""
    repeated = 100 if way.jobs == 1 else 1
    server, client, wall = server_seconds(session), time.process_time(), time.perf_counter()
    for _ in range(repeated):
        way.enqueue()
    return Taken(
        (time.perf_counter() - wall) / repeated,
        (time.process_time() - client) / repeated,
        (server_seconds(session) - server) / repeated,
    )


def server_seconds(session: int) -> float:
    """The CPU that a session's process has used (proc(5), "schedstat")."""
    return int(Path(f"/proc/{session}/schedstat").read_text().split()[0]) / 1e9


@contextlib.contextmanager
def local_qstash() -> Iterator[dict[str, str]]:
    """The stand-in, as a process of its own. Gives its settings."""
    server = subprocess.Popen(
        [sys.executable, "-m", "infra.local.qstash", "--port", "0"],
        cwd=measuring.ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None  # noqa: S101 - it is a pipe
    try:
        lines = [server.stdout.readline().strip().partition("=") for _ in range(4)]
        yield {name: value for name, _, value in lines}
    finally:
        server.terminate()
        server.wait(timeout=20)


def measure(rounds: int, many: int) -> list[tuple[Way, list[Taken]]]:
    """Every way in turns. The first turn is not counted."""
    with measuring.postgres() as postgres, local_qstash() as settings:
        os.environ.update({**measuring.SETTINGS, **settings, "POSTGRES_URL": postgres.url})
        connection = database.connection()
        found: list[tuple[Way, list[Taken]]] = [(way, []) for way in ways(connection, many)]
        try:
            for number in range(rounds + 1):
                for way, taken in found:
                    measuring.progress(f"enqueue: round {number} of {rounds}, {way.name}")
                    once = take(way, connection.info.backend_pid)
                    if number:
                        taken.append(once)
                connection.execute("TRUNCATE job_executions CASCADE")
        finally:
            database.close()
            qstash_client.close()
    return found


def report(found: Sequence[tuple[Way, list[Taken]]]) -> str:
    """The table."""
    rows = []
    for way, taken in found:
        wall, client, server = (
            statistics.median(getattr(each, name) for each in taken)
            for name in ("wall", "client", "server")
        )
        rows.append(
            [
                way.name,
                f"{wall * 1000:,.1f}",
                f"{way.jobs / wall:,.0f}",
                f"{client / way.jobs * 1e6:,.0f}",
                f"{server / way.jobs * 1e6:,.0f}",
                f"{server:,.3f}",
            ]
        )
    headers = [
        "",
        "ms",
        "jobs/s",
        "producer's CPU µs per job",
        "Postgres's CPU µs per job",
        "Postgres's CPU s, all",
    ]
    return measuring.table(headers, rows)


def ratios(found: Sequence[tuple[Way, list[Taken]]]) -> str:
    """The largest enqueue beside its limit, the last two ways."""
    (way, ours), (_, limit) = found[-2:]
    told: dict[str, Callable[[Taken], float]] = {
        "by the clock": lambda taken: taken.wall,
        "CPU of both": lambda taken: taken.client + taken.server,
        "the producer's CPU": lambda taken: taken.client,
        "Postgres's CPU": lambda taken: taken.server,
    }
    rows = [
        [name, f"{measuring.paired_ratio(list(map(of, limit)), list(map(of, ours))):.2f}"]
        for name, of in told.items()
    ]
    return measuring.table([way.name, "x validated and copied"], rows)


def memory(jobs: int) -> str:
    """What enqueueing adds to the largest size of a process, measured in one of its own."""
    with measuring.postgres() as postgres:
        settings = {**os.environ, **measuring.SETTINGS, "POSTGRES_URL": postgres.url}
        program = [sys.executable, "-m", "benchmarks.enqueue", "--peak-of", str(jobs)]
        return subprocess.run(
            program, cwd=measuring.ROOT, env=settings, stdout=subprocess.PIPE, text=True, check=True
        ).stdout.strip()


def peak_of(jobs: int) -> str:
    """Enqueue so many from a generator. Says what that added, and what of it is the answer."""

    def peak_mb() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    connection = database.connection()
    enqueued.enqueue_many([{"to": "a@example.com", "name": "Ada"}] * 5_000, connection=connection)
    before = peak_mb()
    payloads = ({"to": f"ada{n}@example.com", "name": "Ada"} for n in range(jobs))
    answer = enqueued.enqueue_many(payloads, delay=DELAY_SECONDS, connection=connection)
    added, one = peak_mb() - before, answer[-1]
    bytes_of_one = sum(map(sys.getsizeof, (one, one.job_id, one._unpublished))) + 8
    return (
        f"{jobs:,} jobs of a generator added {added:.0f} MB, "
        f"of which {bytes_of_one * jobs / 2**20:.0f} are the answer"
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.enqueue", description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--many", type=int, default=100_000, help="jobs of the largest enqueue")
    parser.add_argument("--quick", action="store_true", help="2 rounds, the largest of 2,000")
    parser.add_argument("--peak-of", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.peak_of:
        print(peak_of(options.peak_of))
        return 0
    rounds, many = (2, 2_000) if options.quick else (options.rounds, options.many)
    found = measure(rounds, many)
    print(f"{report(found)}\n\n{ratios(found)}\n")
    for jobs in (many, 10 * many):
        print(memory(jobs))
    print(f"\n{rounds} rounds, in turns. {measuring.machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
