"""Killed at any point, the clean-up loses no row and archives none twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from functions.cleanup_old_data import archive
from functions.cleanup_old_data import cleaner as cleaning
from stashjobs.store import database
from tests.examples import examples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.buckets import Bucket
    from tests.integration.cleanup_old_data.conftest import Past

PROGRAM = """
import os, signal, sys
from stashjobs import Context, files
from functions.cleanup_old_data.handler import cleanup_old_data
from functions.cleanup_old_data.models import Cleanup
Context.progress = lambda *_, **__: None
put = files.put
def put_and_die(*arguments):
    put(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)
files.put = put_and_die
from datetime import UTC, datetime, timedelta
context = Context(job_id="c", job_type="cleanup-old-data", attempt=1, max_attempts=2,
                  deadline=datetime.now(UTC) + timedelta(seconds=600))
cleanup_old_data(Cleanup(retention=1, batch_rows=4), context)
"""


class Killed(KeyboardInterrupt):
    """As if the process had been killed here."""


@contextmanager
def killed_at(point: str, batch: int) -> Iterator[None]:
    """Kill the clean-up at its `batch`-th pass through a point."""
    passes = 0

    def die() -> None:
        nonlocal passes
        passes += 1
        if passes == batch:
            raise Killed

    def around(original: Any, *, before: bool) -> Any:
        def wrapped(*arguments: Any, **options: Any) -> Any:
            if before:
                die()
            answer = original(*arguments, **options)
            if not before:
                die()
            return answer

        return wrapped

    places: dict[str, tuple[Any, str, bool]] = {
        "batch chosen": (cleaning.Cleaner, "_move", True),
        "rows deleted, object not written": (archive, "write", True),
        "object written, not committed": (archive, "write", False),
        "batch committed": (cleaning.Cleaner, "_move", False),
    }
    owner, name, before = places[point]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(owner, name, around(getattr(owner, name), before=before))
        try:
            yield
        except Killed:
            database.close()  # the process is gone, and its connection with it


points = st.sampled_from(
    [
        "batch chosen",
        "rows deleted, object not written",
        "object written, not committed",
        "batch committed",
    ]
)
between = st.sampled_from(["nothing", "retry one", "an older one appears"])


@given(
    crashes=st.lists(st.tuples(points, st.integers(1, 3), between), max_size=5),
    rows=st.integers(1, 4),
    at_once=st.integers(1, 3),
)
@hypothesis_settings(
    max_examples=examples(8),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_every_row_is_in_the_table_or_once_in_the_archive(
    past: Past,
    bucket: Bucket,
    monkeypatch: pytest.MonkeyPatch,
    crashes: list[tuple[str, int, str]],
    rows: int,
    at_once: int,
) -> None:
    monkeypatch.setattr(cleaning, "BATCHES_AT_ONCE", at_once)
    past.forget()
    bucket.clear()
    everything = {past.add(f"job-{number}", days=100 + number // 3) for number in range(9)}
    for number, (point, batch, then) in enumerate(crashes):
        with killed_at(point, batch):
            past.clean(batch_rows=rows)
        if then == "retry one":
            past.table.run(
                "UPDATE job_executions SET status = 'pending', completed_at = NULL WHERE job_id = "
                "(SELECT max(job_id) FROM job_executions WHERE status = 'completed')"
            )
        if then == "an older one appears":
            everything.add(past.add(f"older-{number}", days=200))

    assert past.clean(batch_rows=rows).finished

    archived = [row["job_id"] for row in bucket.archived()]
    assert sorted([*archived, *past.ids()]) == sorted(everything)
    assert all(row["status"] == "pending" for row in past.table.rows())
    assert past.table.run("SELECT 1 FROM archive_batches") == []
    # Those that were retried end again, and are then archived like the others.
    past.table.run("UPDATE job_executions SET status = 'cancelled', completed_at = created_at")
    past.clean(batch_rows=rows)
    assert sorted(row["job_id"] for row in bucket.archived()) == sorted(everything)


def test_sigkill_after_the_object_is_written(past: Past, bucket: Bucket, database_url: str) -> None:
    for number in range(10):
        past.add(f"job-{number}", days=100)

    written = []
    for _ in range(2):
        ran = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(["shared", "."])},
            check=False,
        )
        assert ran.returncode == -signal.SIGKILL
        written.append(set(bucket.keys()))

    assert len(past.ids()) == 10
    assert written[0]
    assert written[0] <= written[1]  # the second run wrote the same objects again
    past.clean(retention=1, batch_rows=4)
    assert sorted(row["job_id"] for row in bucket.archived()) == [f"job-{n}" for n in range(10)]
    assert past.ids() == set()
