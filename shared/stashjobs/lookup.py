"""Reading jobs: one by its id, or many by what they have in common. Nothing here changes a row."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import TYPE_CHECKING, Any

from stashjobs.job import to_json

if TYPE_CHECKING:
    from stashjobs.database import Connection

STATUSES = ("pending", "processing", "retrying", "completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Event:
    """One moment in a job's life."""

    at: datetime
    state: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class JobExecution:
    """A row of `job_executions`, without its payload."""

    job_id: str
    job_type: str
    status: str
    result: Any
    error: str | None
    errors: list[dict[str, Any]]
    attempt: int
    max_attempts: int
    retry_count: int
    run: int
    progress: Any
    user_id: str | None
    organization_id: str | None
    metadata: dict[str, Any]
    idempotency_key: str | None
    message_id: str | None
    dlq_id: str | None
    schedule_id: str | None
    created_at: datetime
    available_at: datetime
    published_at: datetime | None
    started_at: datetime | None
    lease_expires_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime

    @property
    def duration_seconds(self) -> float | None:
        """How long the last attempt took, once the job has ended."""
        if self.started_at is None or self.completed_at is None:
            return None
        return (self.completed_at - self.started_at).total_seconds()

    def to_document(self) -> dict[str, Any]:
        """As JSON, with the names of the columns."""
        document: dict[str, Any] = to_json(asdict(self))
        return document

    def story(self) -> list[Event]:
        """What happened to the job, in order."""
        events = [Event(self.created_at, "pending", "recorded")]
        if self.published_at is not None:
            events.append(Event(self.published_at, "pending", "QStash has the message"))
        for error in self.errors:
            number = error.get("attempt")
            last = number == self.attempt and self.status in {"failed", "cancelled"}
            started, ended = (
                datetime.fromisoformat(error[name]) for name in ("startedAt", "endedAt")
            )
            took = (ended - started).total_seconds()
            note = f"attempt {number}, {took:.3f} s: {error['type']}: {error['message']}"
            events.append(Event(started, "processing", f"attempt {number}"))
            events.append(Event(ended, self.status if last else "retrying", note))
        if self.status in {"processing", "completed"} and self.started_at is not None:
            events.append(Event(self.started_at, "processing", f"attempt {self.attempt}"))
        if self.status == "completed" and self.completed_at is not None:
            note = f"attempt {self.attempt} of {self.max_attempts}, {self.duration_seconds:.3f} s"
            events.append(Event(self.completed_at, "completed", note))
        return sorted(events, key=lambda event: event.at)


_COLUMNS = ", ".join(field.name for field in fields(JobExecution))

FIND = f"SELECT {_COLUMNS} FROM job_executions WHERE job_id = %s"

NEWEST = f"""
SELECT {_COLUMNS} FROM job_executions
 WHERE {{conditions}}
 ORDER BY created_at DESC, job_id DESC
 LIMIT %(limit)s
"""


def find(connection: Connection, job_id: str) -> JobExecution | None:
    """The job with this id, or None."""
    row = connection.execute(FIND, [job_id]).fetchone()
    return JobExecution(*row) if row else None


def newest(
    connection: Connection,
    *,
    job_type: str | None = None,
    status: str | None = None,
    user_id: str | None = None,
    organization_id: str | None = None,
    limit: int = 20,
) -> list[JobExecution]:
    """The jobs that fit every condition that is given, the newest first."""
    conditions = {
        "job_type": job_type,
        "status": status,
        "user_id": user_id,
        "organization_id": organization_id,
    }
    given = {name: value for name, value in conditions.items() if value is not None}
    # Names come from the four above, values travel as parameters.
    text = " AND ".join(f"{name} = %({name})s" for name in given) or "true"
    rows = connection.execute(NEWEST.format(conditions=text), {**given, "limit": limit})
    return [JobExecution(*row) for row in rows]
