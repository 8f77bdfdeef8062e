"""cleanup-old-data over the whole local system."""

from __future__ import annotations

from typing import TYPE_CHECKING

from functions.cleanup_old_data.handler import cleanup_old_data
from stashjobs import files
from stashjobs.store import database
from tests.buckets import Bucket
from tests.stacks import as_an_app, ended, local_stack

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

OLD = """
INSERT INTO job_executions (job_id, job_type, status, payload, max_attempts, created_at,
                            completed_at)
VALUES ('old', 'send-email', 'completed', '{}', 1, now() - interval '31 d', now() - interval '31 d')
"""


async def test_the_example_archives_and_deletes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local_stack(tmp_path, monkeypatch) as stack:
        await as_an_app(lambda: database.connection().execute(OLD))

        enqueued = await as_an_app(lambda: cleanup_old_data.enqueue(cleanup_old_data.example()))

        done = await ended(enqueued.job_id)
        assert (done.status, done.attempt) == ("completed", 1), done.error
        assert (done.result["deleted"], done.result["finished"]) == (1, True)
        assert [row["job_id"] for row in await as_an_app(Bucket().archived)] == ["old"]
        files.close()
        nightly = stack.template.functions["CleanupOldDataFunction"].schedules
        assert [each.expression for each in nightly] == ["cron(0 3 * * ? *)"]
