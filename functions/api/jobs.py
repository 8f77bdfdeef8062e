"""`/api/jobs`: enqueue, look, list, retry and cancel."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from functions.api.guard import Connected, needs
from stashjobs import dispatcher, execution_log, lookup, operations
from stashjobs.job import declared, find
from stashjobs.lookup import Filter, JobExecution

MAX_JOBS_PER_REQUEST = 1_000
MAX_PAGE = 200

router = APIRouter(prefix="/api", tags=["jobs"])


class Wire(BaseModel):
    """JSON with names in camelCase; a member that is not known is refused, not ignored."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="forbid")


class NewJob(Wire):
    """A job to be enqueued."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "send-email",
                    "payload": {
                        "to": "ada@example.com",
                        "template": "welcome",
                        "data": {"name": "Ada", "getStartedUrl": "https://app.example.com"},
                    },
                    "userId": "u_1",
                    "delay": 60,
                }
            ]
        }
    )

    type: str
    payload: Any = None
    user_id: str | None = None
    organization_id: str | None = None
    delay: Annotated[float, Field(ge=0)] | None = None
    at: datetime | None = None
    idempotency_key: str | None = None
    retries: Annotated[int, Field(ge=0, le=100)] | None = None
    metadata: dict[str, Any] = {}


class NewJobs(Wire):
    """Jobs to be enqueued, all of them or none."""

    jobs: Annotated[list[NewJob], Field(min_length=1, max_length=MAX_JOBS_PER_REQUEST)]


class Accepted(Wire):
    """What became of an enqueue: `created` is false where the idempotency key existed."""

    job_id: str
    created: bool
    published: bool


class AcceptedJobs(Wire):
    """What became of several, in their order."""

    jobs: list[Accepted]


class Page(Wire):
    """A page of jobs, newest first. `next` is the `cursor` of the next page, if there is one."""

    jobs: list[dict[str, Any]]
    next: str | None


class Retry(Wire):
    """How to retry one job."""

    payload: Any = None


class Selection(Wire):
    """Which jobs an operation is for: those that fit every condition that is given."""

    type: str | None = None
    status: str | None = None
    user_id: str | None = None
    organization_id: str | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None
    error: str | None = None
    dry_run: bool = False

    def to_filter(self) -> Filter:
        return Filter(
            job_type=self.type,
            status=self.status,
            user_id=self.user_id,
            organization_id=self.organization_id,
            created_before=self.created_before,
            created_after=self.created_after,
            error_contains=self.error,
        )


class Counted(Wire):
    """How many jobs were changed, or would be."""

    count: int
    dry_run: bool


@router.post("/jobs", status_code=202)
def enqueue(
    new: NewJob | NewJobs,
    response: Response,
    _actor: Annotated[str, needs("enqueue")],
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Accepted | AcceptedJobs:
    """Enqueue one job, or many: `{"jobs": [...]}`. The header `Idempotency-Key` is for one."""
    if isinstance(new, NewJob):
        if idempotency_key is not None:
            new.idempotency_key = idempotency_key
        [enqueued] = dispatcher.enqueue_prepared([_prepared(new)])
        response.status_code = 202 if enqueued.created else 200
        return _accepted(enqueued)
    if idempotency_key is not None:
        raise HTTPException(422, "Idempotency-Key is for one job; give each its idempotencyKey")
    all_of_them = dispatcher.enqueue_prepared([_prepared(one) for one in new.jobs])
    return AcceptedJobs(jobs=[_accepted(one) for one in all_of_them])


@router.get("/jobs/{job_id}")
def show(job_id: str, _actor: Annotated[str, needs("read")], own: Connected) -> dict[str, Any]:
    """One job: its state, attempts, progress and result, and its story."""
    found = lookup.find(own, job_id)
    if found is None:
        raise HTTPException(404, f"there is no job {job_id}")
    story = [
        {"at": event.at.isoformat(), "state": event.state, "note": event.note}
        for event in found.story(lookup.read_actions(own, job_id))
    ]
    return _shown(found) | {"story": story}


@router.get("/jobs")
def list_jobs(
    _actor: Annotated[str, needs("read")],
    own: Connected,
    *,
    type: str | None = None,  # noqa: A002 - the field's own term
    status: str | None = None,
    user_id: Annotated[str | None, Query(alias="userId")] = None,
    organization_id: Annotated[str | None, Query(alias="organizationId")] = None,
    created_before: Annotated[datetime | None, Query(alias="createdBefore")] = None,
    created_after: Annotated[datetime | None, Query(alias="createdAfter")] = None,
    error: str | None = None,
    metadata: Annotated[str | None, Query(description="A JSON object.")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    cursor: str | None = None,
) -> Page:
    """List jobs, the newest first."""
    which = Filter(
        job_type=type,
        status=status,
        user_id=user_id,
        organization_id=organization_id,
        created_before=created_before,
        created_after=created_after,
        error_contains=error,
        metadata=_object(metadata),
    )
    before = None if cursor is None else _read_cursor(cursor)
    found = lookup.newest(own, which, limit=limit + 1, before=before)
    page = found[:limit]
    more = len(found) > limit
    return Page(jobs=[_shown(one) for one in page], next=_cursor(page[-1]) if more else None)


@router.post("/jobs/{job_id}/retry")
def retry(
    job_id: str, actor: Annotated[str, needs("operate")], how: Retry | None = None
) -> Counted:
    """Run a job again that has ended, with another payload if one is given."""
    operations.retry(job_id, actor=actor, payload=None if how is None else how.payload)
    return Counted(count=1, dry_run=False)


@router.post("/jobs/{job_id}/cancel")
def cancel(job_id: str, actor: Annotated[str, needs("operate")]) -> Counted:
    """Cancel a job that waits."""
    operations.cancel(job_id, actor=actor)
    return Counted(count=1, dry_run=False)


@router.post("/admin/jobs/retry")
def retry_all(which: Selection, actor: Annotated[str, needs("operate")]) -> Counted:
    """Retry all jobs that fit; with `dryRun`, only count them."""
    if which.dry_run:
        found = operations.count(operations.RETRYABLE, which.to_filter())
        return Counted(count=found, dry_run=True)
    return Counted(count=operations.retry_all(which.to_filter(), actor=actor), dry_run=False)


@router.post("/admin/jobs/cancel")
def cancel_all(which: Selection, actor: Annotated[str, needs("operate")]) -> Counted:
    """Cancel all waiting jobs that fit; with `dryRun`, only count them."""
    if which.dry_run:
        found = operations.count(operations.CANCELLABLE, which.to_filter())
        return Counted(count=found, dry_run=True)
    return Counted(count=operations.cancel_all(which.to_filter(), actor=actor), dry_run=False)


@router.get("/types")
def types(_actor: Annotated[str, needs("read")]) -> list[dict[str, Any]]:
    """The job types, with what QStash does for each."""
    return [
        {
            "type": job.type,
            "endpoint": job.endpoint,
            "retries": job.retries,
            "timeout": job.timeout,
            "encrypted": job.encrypted,
            "description": (job.__doc__ or "").strip().partition("\n")[0],
        }
        for job in declared()
    ]


def _prepared(new: NewJob) -> execution_log.NewJob:
    """The row, or the error that says why there can be none; nothing is written yet."""
    options = dispatcher.Options(
        user_id=new.user_id,
        organization_id=new.organization_id,
        delay=new.delay,
        at=new.at,
        idempotency_key=new.idempotency_key,
        retries=new.retries,
        metadata=new.metadata,
    )
    return dispatcher.prepare(find(new.type), new.payload, options)


def _accepted(enqueued: dispatcher.Enqueued) -> Accepted:
    return Accepted(job_id=enqueued.job_id, created=enqueued.created, published=enqueued.published)


def _shown(job: JobExecution) -> dict[str, Any]:
    return {to_camel(name): value for name, value in job.to_document().items()}


def _cursor(last: JobExecution) -> str:
    text = json.dumps([last.created_at.isoformat(), last.job_id])
    return base64.urlsafe_b64encode(text.encode()).decode()


def _read_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        created_at, job_id = json.loads(base64.urlsafe_b64decode(cursor))
        return datetime.fromisoformat(created_at), str(job_id)
    except (binascii.Error, ValueError, TypeError) as error:
        raise HTTPException(422, "cursor: not one that this API has given") from error


def _object(text: str | None) -> dict[str, Any] | None:
    if text is None:
        return None
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise HTTPException(422, "metadata: not a JSON object")
    return document
