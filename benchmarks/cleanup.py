"""How fast the clean-up archives and deletes, and what a delivery feels of it meanwhile.

    python -m benchmarks.cleanup [--quick] [--rows 10000000] [--keep FOLDER]

A table of old jobs, and a process that records, claims and completes jobs at a steady pace. The
clean-up runs in windows of some seconds, with as long without it in between; S3 is moto's server,
in a process of its own. All of it shares this machine, which in AWS would be three; so the process
of the clean-up runs at a lower priority than Postgres and the deliveries.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import statistics as numbers
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks import growth
from benchmarks.measuring import ROOT, SETTINGS, machine, percentile, progress, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from multiprocessing.connection import Connection as Pipe

ROWS = 10_000_000
QUICK_ROWS = 300_000
WINDOWS = 5
WINDOW_SECONDS = 15.0
DELIVERIES_PER_SECOND = 40.0
# The job stops five seconds before its deadline, and its deadline is two before Lambda's.
BEFORE_THE_END = 7.0
# The clean-up's own process, which compresses, gives way to Postgres and the deliveries: in AWS it
# is on another machine.
YIELD = 10


@dataclass(frozen=True)
class Window:
    """What happened in one window.

    Attributes:
        seconds: How long it took.
        deleted: Rows, all of them archived too.
        milliseconds: Of each delivery: claim and record together.
    """

    seconds: float
    deleted: int
    milliseconds: list[float]


# --- the deliveries, in a process of their own


def deliver_steadily(url: str, orders: Pipe) -> None:
    """Record and deliver a job every so often; when asked, tell how long each has taken since the
    last time that was asked, from when it was due: one that waits for those before it is late."""
    from stashjobs import ids
    from stashjobs.store import database, executions

    pace = 1 / DELIVERIES_PER_SECOND
    taken: list[float] = []
    with database.connect(url) as connection:
        due = time.perf_counter()
        while True:
            if orders.poll():
                if orders.recv() == "stop":
                    return
                orders.send(taken)
                taken = []
            due = max(due + pace, time.perf_counter() - 1)
            time.sleep(max(0.0, due - time.perf_counter()))
            job = executions.NewJob(
                job_id=ids.new_job_id(), job_type="probe", payload={"x": 1}, max_attempts=4
            )
            executions.record_new_jobs(connection, [job])
            lease = executions.Lease(60, "msg_1", None)
            executions.claim(connection, job_id=job.job_id, job_type="probe", lease=lease)
            executions.record_completed(connection, job_id=job.job_id, attempt=1, result=None)
            taken.append((time.perf_counter() - due) * 1000)


@contextlib.contextmanager
def deliveries(url: str) -> Iterator[Pipe]:
    """The process that delivers; send it "tell" for what it has measured."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=deliver_steadily, args=(url, theirs), daemon=True)
    process.start()
    try:
        yield ours
    finally:
        ours.send("stop")
        process.join(10)
        if process.is_alive():
            process.kill()


def told(orders: Pipe) -> list[float]:
    orders.send("tell")
    answer: list[float] = orders.recv()
    return answer


# --- the clean-up


def clean_for(seconds: float) -> int:
    """Run the job as its schedule does, until its time is up; how many rows it deleted."""
    from functions.cleanup_old_data.handler import cleanup_old_data
    from stashjobs import ids
    from stashjobs.operators import search
    from stashjobs.store.database import connection
    from stashjobs.testing.deliveries import lambda_context

    job_id = ids.new_job_id()
    # Ended more than a day ago is old, which nine in ten are.
    event = {"type": "cleanup-old-data", "jobId": job_id, "payload": {"retention": 1}}
    answer = cleanup_old_data.handler(event, lambda_context(seconds + BEFORE_THE_END))
    found = search.find(connection(), job_id)
    if found is None or found.status != "completed":
        raise SystemExit(f"the clean-up answered {answer}: {found and found.error}")
    return int(found.result["deleted"])


def measure(url: str, windows: int, seconds: float) -> tuple[list[Window], list[Window]]:
    """Windows without and with the clean-up, by turns."""
    idle: list[Window] = []
    busy: list[Window] = []
    with deliveries(url) as orders:
        os.nice(YIELD)
        clean_for(1.0)  # connections, plans, imports
        for number in range(windows):
            progress(f"window {number + 1} of {windows}, deliveries alone")
            told(orders)
            time.sleep(seconds)
            idle.append(Window(seconds, 0, told(orders)))
            progress(f"window {number + 1} of {windows}, with the clean-up")
            began = time.perf_counter()
            deleted = clean_for(seconds)
            took = time.perf_counter() - began
            busy.append(Window(took, deleted, told(orders)))
            if took < seconds * 0.7:
                break  # nothing is left to clean up
    return idle, busy


# --- the command


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cleanup", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS:,} rows")
    parser.add_argument("--rows", type=int)
    parser.add_argument("--windows", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--keep", type=Path, help="a folder with databases of benchmarks.growth")
    given = parser.parse_args(argv)
    rows = given.rows or (QUICK_ROWS if given.quick else ROWS)
    windows = given.windows or (2 if given.quick else WINDOWS)
    seconds = given.seconds or (2.0 if given.quick else WINDOW_SECONDS)
    with contextlib.ExitStack() as stack:
        stack.enter_context(environment())
        postgres = stack.enter_context(growth.server(given.keep))
        filled = growth.ensure_filled(postgres, "ours", rows)
        url = stack.enter_context(copy_of(postgres.url, filled, keeps=given.keep is not None))
        os.environ["POSTGRES_URL"] = url
        nowhere = stack.enter_context(Path(os.devnull).open("w"))
        with contextlib.redirect_stdout(nowhere):  # the job's log
            idle, busy = measure(url, windows, seconds)
        print(report(rows, idle, busy))
        print(f"\n{machine()}, Postgres {(postgres.cluster / 'PG_VERSION').read_text().strip()}")
    return 0


@contextlib.contextmanager
def environment() -> Iterator[None]:
    """The settings of a job, with an S3 of its own."""
    from infra.local.s3 import S3
    from stashjobs import files
    from stashjobs.store import database

    before = dict(os.environ)
    with tempfile.TemporaryDirectory() as folder:
        s3 = S3(ROOT, 0, Path(folder) / "s3.log")
        s3.serve_now()
        os.environ.update(SETTINGS | s3.environment | {"POWERTOOLS_LOG_LEVEL": "ERROR"})
        try:
            yield
        finally:
            database.close()
            files.close()
            s3.stop()
            os.environ.clear()
            os.environ.update(before)


@contextlib.contextmanager
def copy_of(admin_url: str, url: str, *, keeps: bool) -> Iterator[str]:
    """The database itself, or, where it is to be kept, a copy: the clean-up empties it."""
    if not keeps:
        yield url
        return
    name = url.rpartition("/")[2]
    progress(f"copying {name}")
    with psycopg.connect(admin_url, autocommit=True) as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {name}_cleaned WITH (FORCE)".encode())
        connection.execute(
            f"CREATE DATABASE {name}_cleaned TEMPLATE {name} STRATEGY FILE_COPY".encode()
        )
        try:
            yield url.rpartition("/")[0] + f"/{name}_cleaned"
        finally:
            connection.execute(f"DROP DATABASE {name}_cleaned WITH (FORCE)".encode())


def report(rows: int, idle: Sequence[Window], busy: Sequence[Window]) -> str:
    rates = [window.deleted / window.seconds for window in busy]
    alone = [taken for window in idle for taken in window.milliseconds]
    meanwhile = [taken for window in busy for taken in window.milliseconds]
    usual = numbers.median(alone)
    lines: list[list[Any]] = [
        ["median", numbers.median(alone), numbers.median(meanwhile)],
        *(
            [f"p{percent:g}", percentile(alone, percent), percentile(meanwhile, percent)]
            for percent in (95, 99, 99.9)
        ),
        ["slowest", max(alone), max(meanwhile)],
        ["slowest, median of windows", _worst(idle), _worst(busy)],
    ]
    shown = [
        [name, f"{without:.1f}", f"{with_it:.1f}", f"{with_it - usual:+.1f}"]
        for name, without, with_it in lines
    ]
    headers = [
        "a job, from when it was due, ms",
        "alone",
        "during the clean-up",
        "against the median alone",
    ]
    deleted = sum(window.deleted for window in busy)
    return (
        f"{numbers.median(rates):,.0f} rows a second archived and deleted "
        f"({min(rates):,.0f} to {max(rates):,.0f} in {len(busy)} windows; {deleted:,} rows of "
        f"{rows:,}), {len(meanwhile):,} deliveries meanwhile, {datetime.now(UTC):%Y-%m-%d}\n\n"
        + table(headers, shown)
    )


def _worst(windows: Sequence[Window]) -> float:
    return numbers.median(max(window.milliseconds) for window in windows)


if __name__ == "__main__":
    raise SystemExit(main())
