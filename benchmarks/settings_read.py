"""What it costs a cold start to read the stage's secret: by the standard library, by boto3.

    python benchmarks/settings_read.py

A fresh interpreter each time, after everything that a delivery imports anyhow, against moto's
server on this machine; so the network and TLS (some 15 ms within a region) come on top of both.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import boto3
from moto.server import ThreadedMotoServer

ROOT = Path(__file__).parents[1]
RUNS = 15
BEFORE = r"""
import json, re, time
from stashjobs import telemetry, worker
telemetry.logger()
def megabytes():  # of this program alone; ru_maxrss begins with what the parent had
    return int(re.search(r"VmHWM:\s+(\d+)", open("/proc/self/status").read())[1]) / 1024
before, began = megabytes(), time.perf_counter()
"""
AFTER = """
print(json.dumps([(time.perf_counter() - began) * 1000, megabytes() - before]))
"""
WAYS = {
    "standard library": """
from stashjobs import secrets_manager
secrets_manager.read("stashjobs/bench")
import ssl; ssl.create_default_context()  # what https needs on top
""",
    "boto3": """
import boto3
boto3.client("secretsmanager").get_secret_value(SecretId="stashjobs/bench")
""",
}


def main() -> None:
    server = ThreadedMotoServer(port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "shared"),
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": f"http://{host}:{port}",
    }
    os.environ.update(environment)
    boto3.client("secretsmanager").create_secret(Name="stashjobs/bench", SecretString="{}")
    print("| way | ms, median | ms, slowest | MB more |\n| --- | ---: | ---: | ---: |")
    for way, code in WAYS.items():
        runs = [
            json.loads(
                subprocess.run(
                    [sys.executable, "-c", BEFORE + code + AFTER],
                    env=environment,
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout
            )
            for _ in range(RUNS)
        ]
        times, memory = zip(*runs, strict=True)
        print(
            f"| {way} | {statistics.median(times):.0f} | {max(times):.0f} "
            f"| {statistics.median(memory):.0f} |"
        )
    server.stop()


if __name__ == "__main__":
    main()
