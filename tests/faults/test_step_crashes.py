"""A job with steps whose worker is killed between any two of its statements does each step once."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg

from tests.faults import step_crashes

if TYPE_CHECKING:
    import pytest


def test_a_worker_killed_between_any_two_statements_does_each_step_once(
    settings: pytest.MonkeyPatch, database_url: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as own:
        own.execute("CREATE TABLE effects (job_id text, name text)")
        program = [sys.executable, "-m", "tests.faults.step_crashes"]
        said = subprocess.run(program, check=True, stdout=subprocess.PIPE)
        document = json.loads(said.stdout.splitlines()[-1])
        assert document["ended"] == 0
        # Claim; three steps that write, one that enqueues and one that does neither; the end.
        assert document["places"] >= 1 + 3 * 4 + 3 + 1 + 3
        own.execute(
            "UPDATE job_executions SET lease_expires_at = now() - interval '3 s'"
            " WHERE status = 'processing'"
        )
        open_jobs = own.execute(
            "SELECT job_id FROM job_executions"
            " WHERE job_type = 'in-steps' AND status <> 'completed'"
        ).fetchall()
        assert len(open_jobs) in {document["places"], document["places"] - 1}
        for (job_id,) in open_jobs:
            step_crashes.deliver(job_id)
        jobs = document["places"] + 2
        assert own.execute(
            "SELECT status, count(*) FROM job_executions WHERE job_type = 'in-steps' GROUP BY 1"
        ).fetchall() == [("completed", jobs)]
        assert own.execute(
            "SELECT name, count(*), count(DISTINCT job_id) FROM effects GROUP BY 1 ORDER BY 1"
        ).fetchall() == [(name, jobs, jobs) for name in ("end", "fetch", "report", "store")]
        [(children,)] = own.execute(
            "SELECT count(*) FROM job_executions WHERE job_type = 'child'"
        ).fetchall()
        assert children == jobs
