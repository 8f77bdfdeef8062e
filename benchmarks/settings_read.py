"""What it costs a cold start to read the stage's secret: by the standard library, by boto3.

    python -m benchmarks.settings_read [--runs 15] [--quick]

A fresh interpreter each time, after everything that a delivery imports anyhow, against moto's
server on this machine; so the network and TLS (some 15 ms within a region) come on top of both.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

import boto3
from moto.server import ThreadedMotoServer

from benchmarks import measuring

if TYPE_CHECKING:
    from collections.abc import Sequence

BEFORE = r"""
import json, re, time
from stashjobs.observability.log import logger
from stashjobs.delivery import handler as worker
logger()
def megabytes():  # of this program alone; ru_maxrss begins with what the parent had
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024
before, began = megabytes(), time.perf_counter()
"""
AFTER = """
print(json.dumps([(time.perf_counter() - began) * 1000, megabytes() - before]))
"""
WAYS = {
    "standard library": """
from stashjobs.config import secrets_manager
secrets_manager.read("stashjobs/bench")
import ssl; ssl.create_default_context()  # what https needs on top
""",
    "boto3": """
import boto3
boto3.client("secretsmanager").get_secret_value(SecretId="stashjobs/bench")
""",
}


def measure(runs: int) -> dict[str, list[list[float]]]:
    """Milliseconds and megabytes of each run, the two ways in turns."""
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(measuring.ROOT / "shared"),
            "AWS_ACCESS_KEY_ID": "AKID",
            "AWS_SECRET_ACCESS_KEY": "key",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": f"http://{host}:{port}",
        }
        os.environ.update(environment)
        boto3.client("secretsmanager").create_secret(Name="stashjobs/bench", SecretString="{}")
        found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        for number in range(runs):
            for way, code in WAYS.items():
                measuring.progress(f"settings_read: run {number + 1} of {runs}, {way}")
                ran = subprocess.run(
                    [sys.executable, "-c", BEFORE + code + AFTER],
                    env=environment,
                    stdout=subprocess.PIPE,
                    text=True,
                    check=True,
                )
                found[way].append(json.loads(ran.stdout))
        return found
    finally:
        server.stop()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.settings_read", description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="2 runs")
    options = parser.parse_args(argv)
    rows = []
    for way, runs in measure(2 if options.quick else options.runs).items():
        times, memory = zip(*runs, strict=True)
        rows.append(
            [
                way,
                f"{statistics.median(times):.0f}",
                f"{max(times):.0f}",
                f"{statistics.median(memory):.0f}",
            ]
        )
    print(measuring.table(["way", "ms, median", "ms, slowest", "MB more"], rows))
    print(f"\n{measuring.machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
