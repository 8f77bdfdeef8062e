"""Warm deliveries: throughput and CPU per delivery of a job's handler, beside others.

    python -m benchmarks.delivery [--rounds 15] [--count 400] [--network-ms 1] [--quick]

Each contender is a process that keeps its connection to the same Postgres and answers one signed
delivery after the other. They take turns, round by round: directly, and behind PgBouncer in
transaction mode, where a client's prepared statements are of no use. With `--network-ms` a round
trip to Postgres or to the pooler takes so much longer than on one machine.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks import measuring
from tests import pgbouncer
from tests.network import Network

if TYPE_CHECKING:
    from collections.abc import Sequence

OURS = "stashjobs"
POOLED = "stashjobs, pooled"
LIMIT = "psycopg loop (the limit)"
POOLED_LIMIT = "psycopg loop, pooled"
FUNCTIONS = "our functions in the loop, pooled"
# Its name in the table: the module, and its arguments.
CONTENDERS: dict[str, tuple[str, ...]] = {
    LIMIT: ("bare_psycopg",),
    OURS: ("stashjobs_handler",),
    "FastAPI + Mangum + Receiver": ("fastapi_mangum",),
    "django-qstash's view": ("django_qstash_view",),
}
# A client that does not plan anew each time fails behind the pooler, or does after a while.
POOLED_CONTENDERS: dict[str, tuple[str, ...]] = {
    POOLED_LIMIT: ("bare_psycopg", "planned"),
    FUNCTIONS: ("bare_psycopg", "planned", "functions"),
    POOLED: ("stashjobs_handler",),
    "FastAPI + Mangum + Receiver, pooled": ("fastapi_mangum", "planned"),
}


def measure(rounds: int, count: int, network_ms: float) -> dict[str, list[dict[str, Any]]]:
    """What every contender measured, round by round, with so much time between it and Postgres."""
    with measuring.postgres() as postgres, contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        # As many sessions as contenders, so that none waits for another's.
        size = len(POOLED_CONTENDERS)
        pooler = stack.enter_context(pgbouncer.running(Path(folder), postgres.url, pool_size=size))
        processes = {}
        for contenders, url in (
            (CONTENDERS, postgres.url),
            (POOLED_CONTENDERS, pooler.url_of(postgres.url)),
        ):
            seconds = network_ms / 1000
            network = stack.enter_context(Network.before(url, round_trip_seconds=seconds))
            reached = network.url_of(url) if network_ms else url
            environment = {"POSTGRES_URL": reached, "LOG_LEVEL": "INFO"}
            for name, (module, *arguments) in contenders.items():
                contender = measuring.Contender(module, environment, *arguments)
                processes[name] = stack.enter_context(contender)
        found: dict[str, list[dict[str, Any]]] = {name: [] for name in processes}
        connection = stack.enter_context(psycopg.connect(postgres.url, autocommit=True))
        for _ in range(3):  # warm, and a table whose plans are kept
            for each in processes.values():
                each.ask(count=count)
        for number in range(rounds):
            measuring.progress(f"delivery: round {number + 1} of {rounds}")
            for name, each in processes.items():
                before = server_seconds(connection)
                measured = each.ask(count=count)
                measured["server"] = server_seconds(connection) - before
                found[name].append(measured)
    return found


def server_seconds(connection: psycopg.Connection[Any]) -> float:
    """The CPU that all sessions of Postgres have used, of which one is at work at a time (proc(5),
    "schedstat"). What prepares a round is in it, the same for all."""
    rows = connection.execute(
        "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'"
    )
    files = [Path(f"/proc/{pid}/schedstat") for (pid,) in rows]
    return sum(int(file.read_text().split()[0]) for file in files if file.exists()) / 1e9


def ratios(found: dict[str, list[dict[str, Any]]]) -> str:
    """What a delivery costs beside a bare claim and completion of the same kind."""
    rows = []
    for ours, limit, how in (
        (OURS, LIMIT, "a delivery, direct"),
        (POOLED, POOLED_LIMIT, "a delivery, behind PgBouncer"),
        (FUNCTIONS, POOLED_LIMIT, "the functions alone, behind PgBouncer"),
    ):
        server, wall = (
            measuring.paired_ratio(
                [each[what] for each in found[limit]], [each[what] for each in found[ours]]
            )
            for what in ("server", "wall")
        )
        rows.append([how, f"{server:.2f}", f"{wall:.2f}"])
    return measuring.table(["beside the bare loop", "Postgres's CPU", "by the clock"], rows)


def report(found: dict[str, list[dict[str, Any]]], count: int) -> str:
    """The table."""
    walls = {name: [each["wall"] for each in rounds] for name, rounds in found.items()}
    rows = []
    for name, rounds in found.items():
        taken = [one * 1000 for each in rounds for one in each["taken"]]
        server = statistics.median(each["server"] for each in rounds) / count * 1e6
        cpu = statistics.median(each["cpu"] for each in rounds) / count * 1e6
        rows.append(
            [
                name,
                f"{count / statistics.median(walls[name]):,.0f}",
                f"{measuring.paired_ratio(walls[name], walls[OURS]):.2f}",
                f"{cpu:,.0f}",
                f"{server:,.0f}",
                f"{measuring.percentile(taken, 50):.2f}",
                f"{measuring.percentile(taken, 99):.2f}",
            ]
        )
    headers = [
        "",
        "deliveries/s",
        "stashjobs = 1",
        "CPU µs",
        "Postgres's CPU µs",
        "p50 ms",
        "p99 ms",
    ]
    return measuring.table(headers, rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.delivery", description=__doc__)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--count", type=int, default=400, help="deliveries in a round")
    parser.add_argument("--quick", action="store_true", help="3 rounds of 50, to see that it runs")
    parser.add_argument("--network-ms", type=float, default=0.0, help="a round trip takes longer")
    options = parser.parse_args(argv)
    rounds, count = (3, 50) if options.quick else (options.rounds, options.count)
    measuring.require_comparators()
    found = measure(rounds, count, options.network_ms)
    print(report(found, count))
    print("\n" + ratios(found))
    print(
        f"\n{rounds} rounds of {count}, {options.network_ms:g} ms of network. {measuring.machine()}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
