"""`/api/jobs`: enqueue, look, list, retry and cancel."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Path, Query, Response
from pydantic import ConfigDict, Discriminator, Field, StrictBool, Tag

from functions.api import cursor as cursors
from functions.api.answers import WITH_TOKEN, misfit, refusals
from functions.api.guard import Connected, Guarded, needs
from functions.api.wire import JSON_NUMBER, Given, Moment, Nothing, Text, Wire, example
from stashjobs import dispatcher, execution_log, lookup, operations, telemetry
from stashjobs.execution_log import Status
from stashjobs.job import Job, declared, find
from stashjobs.lookup import Filter, JobExecution

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_JOBS_PER_REQUEST = 1_000
MAX_PAGE = 200
MAX_KEY = 255
MAX_RETRIES = 100
# Ten years; whoever means more has mistaken the unit.
MAX_DELAY_SECONDS = 10 * 366 * 86_400
# A search by what no index serves would go through every row.
STATEMENT_SECONDS = 5
# For an operation on many: after it a last batch ends before API Gateway hangs up.
OPERATION_SECONDS = 20

# FastAPI cannot say that a parameter is JSON.
METADATA = {
    "name": "metadata",
    "in": "query",
    "description": "Members that the job's metadata has too.",
    "content": {"application/json": {"schema": {"type": "object"}, "example": {"from": "signup"}}},
}

router = APIRouter(
    prefix="/api", tags=["jobs"], route_class=Guarded, responses=refusals(*WITH_TOKEN)
)
JobId = Annotated[Text, Path(description="As `jobId` of the enqueue.", examples=["0190f1c2"])]


class NewJob(Wire):
    """A job to be enqueued. `GET /api/types` has the schema of each type's `payload`.

    `delay` is in seconds, `at` a moment: not both. `retries` is in place of the type's own.
    """

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
            ],
            "not": {
                "required": ["delay", "at"],
                "properties": {"delay": {"type": "number"}, "at": {"type": "string"}},
            },
        }
    )

    type: Text
    payload: Any = None
    user_id: Text | None = None
    organization_id: Text | None = None
    delay: (
        Annotated[float, Field(ge=0, le=MAX_DELAY_SECONDS, allow_inf_nan=False), JSON_NUMBER] | None
    ) = None
    at: Moment | None = None
    idempotency_key: Given | None = None
    retries: Annotated[int, Field(ge=0, le=MAX_RETRIES), JSON_NUMBER] | None = None
    metadata: Annotated[dict[str, Any], Field(default_factory=dict)]


class NewJobs(Wire):
    """Jobs to be enqueued, all of them or none."""

    model_config = example(
        {
            "jobs": [
                {"type": "cleanup-old-data", "payload": {}},
                {"type": "cleanup-old-data", "payload": {}, "delay": 3600},
            ]
        }
    )

    jobs: Annotated[list[NewJob], Field(min_length=1, max_length=MAX_JOBS_PER_REQUEST)]


def _one_or_many(body: Any) -> str:
    return (
        "many"
        if isinstance(body, NewJobs) or (isinstance(body, dict) and "jobs" in body)
        else "one"
    )


OneOrMany = Annotated[
    Annotated[NewJob, Tag("one")] | Annotated[NewJobs, Tag("many")], Discriminator(_one_or_many)
]


class Accepted(Wire):
    """What became of an enqueue: `created` is false where the idempotency key existed, `published`
    where QStash does not know yet; it is told within a minute."""

    model_config = example({"jobId": "0190f1c2", "created": True, "published": True})

    job_id: str
    created: bool
    published: bool


class AcceptedJobs(Wire):
    """What became of several, in their order."""

    jobs: list[Accepted]


class Shown(Wire):
    """A job. `attempt` of `maxAttempts` is the last that began; `errors` has what each attempt that
    failed said; a sealed result is shown as it is kept, sealed."""

    job_id: str
    job_type: str
    status: Status
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


class Moments(Wire):
    """One moment in a job's life."""

    at: datetime
    state: Status
    note: str


JOB_EXAMPLE: dict[str, Any] = {
    "jobId": "0190f1c2",
    "jobType": "send-email",
    "status": "completed",
    "result": {"id": "re_1"},
    "error": None,
    "errors": [],
    "attempt": 1,
    "maxAttempts": 4,
    "retryCount": 0,
    "run": 1,
    "progress": None,
    "userId": "u_1",
    "organizationId": None,
    "metadata": {},
    "idempotencyKey": None,
    "messageId": "msg_1",
    "dlqId": None,
    "scheduleId": None,
    "createdAt": "2030-01-31T09:00:00Z",
    "availableAt": "2030-01-31T09:00:00Z",
    "publishedAt": "2030-01-31T09:00:00.1Z",
    "startedAt": "2030-01-31T09:00:00.2Z",
    "leaseExpiresAt": None,
    "completedAt": "2030-01-31T09:00:01Z",
    "updatedAt": "2030-01-31T09:00:01Z",
}


class ShownWithStory(Shown):
    """A job, and what happened to it, in order."""

    model_config = example(
        JOB_EXAMPLE
        | {"story": [{"at": "2030-01-31T09:00:00Z", "state": "pending", "note": "recorded"}]}
    )

    story: list[Moments]


class Page(Wire):
    """A page of jobs, newest first. `next` is the `cursor` of the next page, if there is one.

    A search for an error or metadata looks at 5,000 jobs for each page, so a page may have few or
    none of them and a `next` all the same.
    """

    model_config = example({"jobs": [JOB_EXAMPLE], "next": None})

    jobs: list[Shown]
    next: str | None


class Retry(Wire):
    """How to retry one job: with its own payload, unless another is given."""

    model_config = example({"payload": {"to": "ada@example.com"}})

    payload: Any = None


class Selection(Wire):
    """Which jobs an operation is for: those that fit every condition that is given, and at least
    one must be. `error` is a part of the last error's text; `metadata` has members that the job's
    has too. With `dryRun` they are only counted."""

    model_config = example(
        {
            "type": "send-email",
            "status": "failed",
            "createdAfter": "2030-01-31T09:00:00Z",
            "error": "rate limit",
            "dryRun": True,
        }
    )

    type: Text | None = None
    status: Status | None = None
    user_id: Text | None = None
    organization_id: Text | None = None
    created_before: Moment | None = None
    created_after: Moment | None = None
    error: Given | None = None
    metadata: Annotated[dict[str, Any], Field(min_length=1)] | None = None
    dry_run: StrictBool = False

    def to_filter(self) -> Filter:
        """The filter.

        Raises:
            NotPossible: It has no condition.
        """
        which = Filter(
            job_type=self.type,
            status=self.status,
            user_id=self.user_id,
            organization_id=self.organization_id,
            created_before=self.created_before,
            created_after=self.created_after,
            error_contains=self.error,
            metadata=self.metadata,
        )
        operations.refuse_empty(which)
        return which


class Counted(Wire):
    """How many jobs were changed, or would be. `complete` is false where the time for one request,
    20 seconds, was over before all that fit were changed: the same request goes on."""

    model_config = example({"count": 3, "dryRun": False, "complete": True})

    count: int
    dry_run: bool
    complete: bool = True


class JobType(Wire):
    """A job type: what QStash does for it, and the JSON schema of its payload."""

    model_config = example(
        {
            "type": "send-email",
            "endpoint": "/api/jobs/email",
            "retries": 3,
            "timeout": 30,
            "retryDelay": None,
            "rate": None,
            "parallelism": None,
            "encrypted": False,
            "retention": None,
            "description": "Send one email.",
            "payloadSchema": {"type": "object"},
            "example": None,
        }
    )

    type: str
    endpoint: str
    retries: int
    timeout: float
    retry_delay: str | None
    rate: int | None
    parallelism: int | None
    encrypted: bool
    retention: int | None
    description: str
    payload_schema: dict[str, Any]
    example: Any


@router.post(
    "/jobs",
    status_code=202,
    response_model=Accepted | AcceptedJobs,
    responses={
        200: {
            "model": Accepted,
            "description": "A job of this type has this idempotency key already; nothing is new.",
            "content": {
                "application/json": {
                    "example": {"jobId": "0190f1c2", "created": False, "published": False}
                }
            },
        },
        **refusals(404, 413, 415),
    },
)
def enqueue_jobs(
    new: OneOrMany,
    response: Response,
    actor: Annotated[str, needs("enqueue")],
    idempotency_key: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            min_length=1,
            max_length=MAX_KEY,
            description="For each job that has no `idempotencyKey`; of many, with its number.",
            examples=["welcome:u_1"],
        ),
    ] = None,
) -> Accepted | AcceptedJobs:
    """Enqueue one job, or many: `{"jobs": [...]}`. With the header `Idempotency-Key` the same
    request sent again enqueues nothing new, and answers with the jobs there are."""
    jobs = [new] if isinstance(new, NewJob) else new.jobs
    if idempotency_key is not None:
        _give_keys(new, idempotency_key)
    try:
        enqueued = dispatcher.enqueue_prepared([_prepared(one) for one in jobs])
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
    telemetry.logger().info(
        "enqueued by request",
        extra={"actor": actor, "jobs": len(enqueued), "job_id": enqueued[0].job_id},
    )
    accepted = [_accepted(one) for one in enqueued]
    if isinstance(new, NewJobs):
        return AcceptedJobs(jobs=accepted)
    response.status_code = 202 if accepted[0].created else 200
    return accepted[0]


@router.get("/jobs/{job_id}", responses=refusals(404))
def show_job(
    job_id: JobId, _actor: Annotated[str, needs("read")], own: Connected
) -> ShownWithStory:
    """One job: its state, attempts, progress and result, and its story."""
    found = lookup.find(own, job_id)
    if found is None:
        raise HTTPException(404, f"there is no job {job_id}")
    story = [
        {"at": event.at, "state": event.state, "note": event.note}
        for event in found.story(lookup.read_actions(own, job_id))
    ]
    return ShownWithStory.model_validate(_document(found) | {"story": story})


@router.get("/jobs", openapi_extra={"parameters": [METADATA]})
def list_jobs(
    _actor: Annotated[str, needs("read")],
    own: Connected,
    *,
    type: Annotated[Text | None, Query(examples=["send-email"])] = None,  # noqa: A002 - the term
    status: Annotated[Status | None, Query(examples=["failed"])] = None,
    user_id: Annotated[Text | None, Query(alias="userId", examples=["u_1"])] = None,
    organization_id: Annotated[Text | None, Query(alias="organizationId", examples=["o_1"])] = None,
    created_before: Annotated[
        Moment | None, Query(alias="createdBefore", examples=["2030-01-31T09:00:00Z"])
    ] = None,
    created_after: Annotated[
        Moment | None, Query(alias="createdAfter", examples=["2030-01-31T09:00:00Z"])
    ] = None,
    error: Annotated[
        Text | None, Query(description="A part of the last error's text.", examples=["timeout"])
    ] = None,
    metadata: Annotated[str | None, Query(include_in_schema=False)] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    cursor: Annotated[
        str | None,
        Query(description="`next` of the page before.", json_schema_extra={"format": "cursor"}),
    ] = None,
) -> Page:
    """List jobs, the newest first. A search that takes longer than five seconds is 422."""
    which = Filter(
        job_type=type,
        status=status,
        user_id=user_id,
        organization_id=organization_id,
        created_before=created_before,
        created_after=created_after,
        error_contains=error,
        metadata=None if metadata is None else _object(metadata),
    )
    before = None if cursor is None else _read_cursor(cursor)
    with own.transaction():
        own.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'".encode())
        page = lookup.page(own, which, limit=limit, before=before)
    return Page(
        jobs=[Shown.model_validate(_document(one)) for one in page.jobs],
        next=None if page.next is None else cursors.write(*page.next),
    )


@router.post("/jobs/{job_id}/retry", responses=refusals(404, 409, 413, 415))
def retry_job(
    job_id: JobId, actor: Annotated[str, needs("operate")], how: Retry | None = None
) -> Counted:
    """Run a job again that has ended, with another payload if one is given."""
    operations.retry(job_id, actor=actor, payload=None if how is None else how.payload)
    return Counted(count=1, dry_run=False)


@router.post("/jobs/{job_id}/cancel", responses=refusals(404, 409, 415))
def cancel_job(
    job_id: JobId, actor: Annotated[str, needs("operate")], _body: Nothing | None = None
) -> Counted:
    """Cancel a job that waits."""
    operations.cancel(job_id, actor=actor)
    return Counted(count=1, dry_run=False)


@router.post("/admin/jobs/retry", responses=refusals(409, 415))
def retry_jobs(which: Selection, actor: Annotated[str, needs("operate")]) -> Counted:
    """Retry all jobs that have ended and fit; with `dryRun`, only count them. A search that takes
    longer than 20 seconds is 422."""
    return _on_many(which, operations.RETRYABLE, operations.retry_all, actor)


@router.post("/admin/jobs/cancel", responses=refusals(409, 415))
def cancel_jobs(which: Selection, actor: Annotated[str, needs("operate")]) -> Counted:
    """Cancel all waiting jobs that fit; with `dryRun`, only count them. A search that takes longer
    than 20 seconds is 422."""
    return _on_many(which, operations.CANCELLABLE, operations.cancel_all, actor)


def _on_many(
    which: Selection,
    statuses: tuple[str, ...],
    change: Callable[..., operations.Changed],
    actor: str,
) -> Counted:
    wanted = which.to_filter()
    if which.dry_run:
        found = operations.count(statuses, wanted, seconds=OPERATION_SECONDS)
        return Counted(count=found, dry_run=True)
    changed = change(wanted, actor=actor, seconds=OPERATION_SECONDS)
    return Counted(count=changed.count, dry_run=False, complete=changed.complete)


@router.get("/types")
def list_types(_actor: Annotated[str, needs("read")]) -> list[JobType]:
    """The job types, with what QStash does for each and what its payload must be."""
    return [_described(job) for job in declared()]


def _described(job: Job[Any, Any]) -> JobType:
    schema = job.payload_schema()
    return JobType(
        type=job.type,
        endpoint=job.endpoint,
        retries=job.retries,
        timeout=job.timeout,
        retry_delay=job.retry_delay,
        rate=job.rate,
        parallelism=job.parallelism,
        encrypted=job.encrypted,
        retention=job.retention,
        description=(job.__doc__ or "").strip().partition("\n")[0],
        payload_schema=schema,
        example=next(iter(schema.get("examples", [])), None),
    )


def _give_keys(new: NewJob | NewJobs, key: str) -> None:
    """The request's key, for each job that has none of its own: so a request that is sent again
    enqueues nothing twice, whether it is for one or for many."""
    if isinstance(new, NewJob):
        new.idempotency_key = new.idempotency_key or key
        return
    for number, each in enumerate(new.jobs):
        each.idempotency_key = each.idempotency_key or f"{key}:{number}"


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


def _document(job: JobExecution) -> dict[str, Any]:
    return {field: getattr(job, field) for field in Shown.model_fields}


def _read_cursor(text: str) -> tuple[datetime, str]:
    try:
        return cursors.read(text)
    except ValueError as error:
        raise misfit("query", "cursor", "is not one that this API has given") from error


def _object(text: str) -> dict[str, Any]:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise misfit("query", "metadata", "is not a JSON object")
    return document
