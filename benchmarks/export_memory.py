"""How much memory an export needs, and how fast it is: `python benchmarks/export_memory.py [ROWS]`.

Each format runs in a process of its own, against a real Postgres and moto's S3. The peak is that of
the process with Python, psycopg and boto3 loaded, as in a Lambda.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "shared")]

if TYPE_CHECKING:
    from collections.abc import Mapping

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
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "shared")]),
            **environment,
        },
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def main(rows: int) -> None:
    """Print the table."""
    from infra.local.postgres import Postgres
    from infra.local.s3 import S3
    from stashjobs import migrations

    with tempfile.TemporaryDirectory() as folder, Postgres(Path(folder) / "postgres") as postgres:
        s3 = S3(ROOT, 0, Path(folder) / "s3.log")
        try:
            s3.serve_now()
            migrations.migrate(postgres.url)
            fill(postgres.url, rows)
            environment = {**s3.environment, "POSTGRES_URL": postgres.url, "STAGE": "local"}
            print("| format | rows | seconds | rows/s | file MB | peak RSS MB |")
            print("|---|---|---|---|---|---|")
            for format_name in FORMATS:
                found = measure(format_name, environment)
                print(
                    f"| {format_name} | {found['rows']:,} | {found['seconds']:.1f} "
                    f"| {found['rows'] / found['seconds']:,.0f} | {found['bytes'] / 1e6:.1f} "
                    f"| {found['peakMegabytes']:.0f} |",
                    flush=True,
                )
        finally:
            s3.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000)
