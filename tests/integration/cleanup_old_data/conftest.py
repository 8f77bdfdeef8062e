from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from functions.cleanup_old_data.cleaner import Cleaner
from functions.cleanup_old_data.models import CleanedUp, Cleanup
from functions.cleanup_old_data.retention import Retention
from stashjobs import Context

if TYPE_CHECKING:
    from tests.deliveries import Table

NOW = datetime(2026, 11, 24, 3, tzinfo=UTC)


class Past:
    """Jobs that ended long ago, and clean-ups that begin at `NOW`."""

    def __init__(self, table: Table) -> None:
        self.table = table

    def add(self, job_id: str, *, days: float = 100, **fields: Any) -> str:
        """A job that was created, ran and ended so many days ago."""
        at = NOW - timedelta(days=days)
        ended = fields.get("status", "completed") in {"completed", "failed", "cancelled"}
        row = {
            "job_id": job_id,
            "job_type": "probe",
            "status": "completed",
            "payload": '{"of": "the payload"}',
            "max_attempts": 3,
            "created_at": at,
            "completed_at": at if ended else None,
            **fields,
        }
        names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
        self.table.run(f"INSERT INTO job_executions ({names}) VALUES ({marks})", *row.values())
        return job_id

    def ids(self) -> set[str]:
        return {row["job_id"] for row in self.table.rows()}

    def clean(self, *, declared: dict[str, int] | None = None, **payload: Any) -> CleanedUp:
        cleaner = self.cleaner(declared=declared, **payload)
        return cleaner.count() if payload.get("dry_run") else cleaner.run()

    def cleaner(
        self,
        *,
        declared: dict[str, int] | None = None,
        seconds: float = 600,
        now: datetime = NOW,
        **payload: Any,
    ) -> Cleaner:
        cleanup = Cleanup(**payload)
        context = Context(
            job_id="the-cleanup",
            job_type="cleanup-old-data",
            attempt=1,
            max_attempts=2,
            deadline=datetime.now(UTC) + timedelta(seconds=seconds),
        )
        return Cleaner(cleanup, Retention.of(cleanup, declared or {}, now), context)

    def forget(self) -> None:
        self.table.run(
            "WITH jobs AS (DELETE FROM job_executions), batches AS (DELETE FROM archive_batches),"
            " actions AS (DELETE FROM job_actions) DELETE FROM notifications"
        )


@pytest.fixture
def past(table: Table, monkeypatch: pytest.MonkeyPatch) -> Past:
    # These clean-ups are no job of the table, so there is no row to show progress on.
    monkeypatch.setattr(Context, "progress", lambda *_, **__: None)
    return Past(table)
