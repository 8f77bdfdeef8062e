"""What it costs that jobs are of a batch: the same jobs bare, in batches with a job at the end, and
as very many parents of one child; and beside them Procrastinate with a counter by hand.

    make bench NAME=batches                      # 100,000 jobs in batches of 1,000
    make bench NAME=batches ARGS="--quick"       # 1,000 in batches of 100

Every job is claimed and completed by the functions that deliveries call, on four connections at
once. No message, no signature, no Lambda: it is Postgres's work that is compared.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks import measuring
from stashjobs.ids import new_job_id
from stashjobs.store import batches, executions
from stashjobs.store.executions import Lease, NewJob

if TYPE_CHECKING:
    from collections.abc import Sequence

TYPE, AT_THE_END = "part", "at-the-end"
SESSIONS = 4
FAN_IN = "parents of one child"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=100_000, help="in each round")
    parser.add_argument("--size", type=int, default=1_000, help="jobs of one batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parents", type=int, default=10_000, help="of one child")
    parser.add_argument("--quick", action="store_true", help="1,000 jobs, one round")
    parser.add_argument("--alone", action="store_true", help="without Procrastinate")
    options = parser.parse_args(argv)
    jobs, size, parents, rounds = options.jobs, options.size, options.parents, options.rounds
    if options.quick:
        jobs, size, parents, rounds = 1_000, 100, 1_000, 1
    if not options.alone:
        measuring.require_comparators()
    times: dict[str, list[float]] = {}
    with measuring.postgres() as server, measuring.postgres(migrated=False) as theirs:
        for number in range(rounds):
            # Bare ones are recorded in INSERTs as large: their rows have one time of creation, and
            # so many equal entries in the indexes.
            for name, of_batch, chunk, count in (
                ("bare", 0, size, jobs),
                (f"in batches of {size:,}", size, size, jobs),
                ("bare, as many as parents", 0, parents, parents),
                (FAN_IN, parents, parents, parents),
            ):
                measuring.progress(f"round {number + 1}: {name}")
                times.setdefault(name, []).append(_ours(server.url, count, of_batch, chunk))
            if not options.alone:
                measuring.progress(f"round {number + 1}: Procrastinate")
                name = "Procrastinate, a counter by hand"
                times.setdefault(name, []).append(_theirs(theirs.url, jobs, size))
    print(report(times, jobs, parents))
    print(f"\n{rounds} rounds, in turns, {SESSIONS} connections. {measuring.machine()}")
    return 0


def report(times: dict[str, list[float]], jobs: int, parents: int) -> str:
    """As a table."""
    rows = []
    for name, seconds in times.items():
        is_fan_in = "parents" in name
        count = parents if is_fan_in else jobs
        bare = times["bare, as many as parents" if is_fan_in else "bare"]
        each = statistics.median(seconds) / count * 1e6
        ratio = measuring.paired_ratio(bare, seconds)
        rows.append([name, f"{count:,}", f"{each:,.0f} µs", f"{ratio:.2f}"])
    return measuring.table(["", "jobs", "a job, claimed and ended", "to the bare ones"], rows)


def _ours(url: str, jobs: int, size: int, chunk: int) -> float:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("TRUNCATE job_executions, job_dependencies, job_batches")
        ids = _enqueued(connection, jobs, size, chunk)
        connection.execute("ANALYZE")
    began = time.perf_counter()
    with ThreadPoolExecutor(SESSIONS) as sessions:
        released = sum(sessions.map(_work, [(url, ids[n::SESSIONS]) for n in range(SESSIONS)]))
    seconds = time.perf_counter() - began
    wanted = jobs // size if size else 0
    if released != wanted:
        raise SystemExit(f"{released} jobs were released, and not {wanted}")
    return seconds


def _enqueued(connection: psycopg.Connection[Any], jobs: int, size: int, chunk: int) -> list[str]:
    ids: list[str] = []
    for start in range(0, jobs, chunk):
        batch_id = new_job_id() if size else None
        of_batch = [new_job_id() for _ in range(min(chunk, jobs - start))]
        with connection.transaction():
            if batch_id is not None:
                batches.create(connection, batch_id, "import")
            executions.record_new_jobs(
                connection, [NewJob(each, TYPE, {}, 1, batch_id=batch_id) for each in of_batch]
            )
            if batch_id is not None:
                after = {"ids": of_batch, "when": "ended"}
                last = NewJob(batch_id, AT_THE_END, {}, 1, after=after)
                executions.record_new_jobs(connection, [last])
        ids += of_batch
    return ids


def _work(share: tuple[str, list[str]]) -> int:
    """Claim and complete them. Returns how many jobs that released."""
    url, ids = share
    released = 0
    with psycopg.connect(url, autocommit=True) as connection:
        for job_id in ids:
            lease = Lease(60, None, None)
            claim = executions.claim(connection, job_id=job_id, job_type=TYPE, lease=lease)
            if claim is None or not claim.held:
                raise SystemExit(f"{job_id} could not be claimed: {claim}")
            recorded = executions.record_completed(
                connection, job_id=job_id, attempt=claim.attempt, result=None
            )
            released += len(recorded.released) if recorded else 0
    return released


def _theirs(url: str, jobs: int, size: int) -> float:
    with psycopg.connect(url, autocommit=True) as connection:
        known = connection.execute("SELECT to_regclass('procrastinate_jobs')").fetchone()
    environment = {"POSTGRES_URL": url}
    if known == (None,):
        with measuring.Contender("procrastinate_queue", environment, "install"):
            pass
    with measuring.Contender("procrastinate_batches", environment) as contender:
        answer = contender.ask(jobs=jobs, size=size, sessions=SESSIONS)
    wanted = jobs + jobs // size
    if answer["done"] != wanted:
        raise SystemExit(f"Procrastinate ended {answer['done']} jobs, and not {wanted}")
    return float(answer["seconds"])


if __name__ == "__main__":
    sys.exit(main())
