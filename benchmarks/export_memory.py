"""How much memory an export needs, and how fast it is.

    python -m benchmarks.export_memory [--rows 1000000] [--quick]

Each format runs in a process of its own, against a real Postgres and moto's S3. The peak is that of
the process with Python, psycopg and boto3 loaded, as in a Lambda.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks import measuring

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORMATS = ("csv", "xlsx", "jsonl")
FILL = """
INSERT INTO job_executions (job_id, job_type, status, payload, result, error, max_attempts, attempt,
                            user_id, organization_id, created_at, started_at, completed_at)
SELECT 'job_' || lpad(i::text, 12, '0'),
       (ARRAY['send-email', 'export-data', 'process-webhook'])[1 + mod(i, 3)],
       CASE WHEN mod(i, 20) = 0 THEN 'failed' ELSE 'completed' END,
       jsonb_build_object('to', 'ada@example.com', 'text', repeat('x', 100)),
       '{"emailId": "4f1c"}', CASE WHEN mod(i, 20) = 0 THEN 'ResendError: 500 Server Error' END,
       4, 1, 'u_' || mod(i, 1000), 'o_' || mod(i, 50),
       now() - i * interval '1 s', now() - i * interval '1 s', now() - (i - 0.4) * interval '1 s'
  FROM generate_series(1, %s) AS i
"""
# Runs in the child. VmHWM is of this program alone; ru_maxrss begins with what the parent had.
EXPORT = """
import json, re, sys, time
from datetime import UTC, datetime, timedelta
from functions.export_data import exporter
from functions.export_data.models import Export
from stashjobs import Context
Context.progress = lambda *_, **__: None  # there is no row of this job
export = Export(entity="executions", format=sys.argv[1])
context = Context(job_id="measured", job_type="export-data", attempt=1, max_attempts=1,
                  deadline=datetime.now(UTC) + timedelta(seconds=880))
began = time.monotonic()
rows, size = exporter.run(export, context)
peak = re.search("VmHWM:\\s+(\\d+)", open("/proc/self/status").read())
print(json.dumps({"rows": rows, "bytes": size, "seconds": time.monotonic() - began,
                  "peakMegabytes": int(peak[1]) / 1024}))
"""


def fill(url: str, rows: int) -> None:
    """Add executions, newest first, one a second."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(FILL, [rows])
        connection.execute("ANALYZE job_executions")


def measure(format_name: str, environment: Mapping[str, str]) -> dict[str, Any]:
    """Run one export in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-c", EXPORT, format_name],
        cwd=measuring.ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(measuring.ROOT), str(measuring.ROOT / "shared")]),
            **environment,
        },
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def rows_of_table(rows: int) -> list[list[str]]:
    """What each format took, for so many rows."""
    from infra.local.s3 import S3

    with tempfile.TemporaryDirectory() as folder, measuring.postgres() as postgres:
        s3 = S3(measuring.ROOT, 0, Path(folder) / "s3.log")
        try:
            s3.serve_now()
            measuring.progress(f"export_memory: adding {rows:,} rows")
            fill(postgres.url, rows)
            environment = {**s3.environment, "POSTGRES_URL": postgres.url, "STAGE": "local"}
            table = []
            for format_name in FORMATS:
                measuring.progress(f"export_memory: {format_name}")
                found = measure(format_name, environment)
                table.append(
                    [
                        format_name,
                        f"{found['rows']:,}",
                        f"{found['seconds']:.1f}",
                        f"{found['rows'] / found['seconds']:,.0f}",
                        f"{found['bytes'] / 1e6:.1f}",
                        f"{found['peakMegabytes']:.0f}",
                    ]
                )
            return table
        finally:
            s3.stop()


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.export_memory", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true", help="10,000 rows")
    options = parser.parse_args(argv)
    rows = rows_of_table(10_000 if options.quick else options.rows)
    headers = ["format", "rows", "seconds", "rows/s", "file MB", "peak RSS MB"]
    print(measuring.table(headers, rows))
    print(f"\n{measuring.machine()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
