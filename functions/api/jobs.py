"""`/api/jobs`: enqueue, look, list, retry and cancel (`job_documents` has what is said)."""

from __future__ import annotations

import functools
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any
from uuid import NAMESPACE_OID, uuid5

from fastapi import APIRouter, Header, HTTPException, Path, Query, Response
from psycopg.errors import UniqueViolation
from pydantic.alias_generators import to_camel

from functions.api import cursor as cursors
from functions.api.auth import Connected, Guarded, needs, needs_enqueue
from functions.api.errors import WITH_TOKEN, misfit, refusals
from functions.api.job_schemas import (
    Accepted,
    AcceptedBatch,
    AcceptedJobs,
    Counted,
    Due,
    Edit,
    JobType,
    NewBatch,
    NewJob,
    NewJobs,
    NewTime,
    OneOrMany,
    Page,
    Retry,
    Selection,
    ShownJob,
    ShownJobWithStory,
)
from functions.api.schema import Moment, Nothing, Text
from stashjobs.ids import new_job_id
from stashjobs.job_type import declared, find
from stashjobs.observability.log import logger
from stashjobs.operators import access, retry_and_cancel, search, story, waiting
from stashjobs.operators.search import Filter, JobExecution
from stashjobs.producer import batch as batches
from stashjobs.producer import ending, enqueue
from stashjobs.producer.options import Options
from stashjobs.store import database
from stashjobs.store.executions import Status  # noqa: TC001 - FastAPI reads annotations

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from stashjobs import job_type
    from stashjobs.store import executions

MAX_PAGE = 200
# Lambda takes no answer over 6 MB; a page that would come near ends sooner.
MAX_PAGE_BYTES = 4_000_000
MAX_KEY = 255
# API Gateway, and the function itself, give up on a request after 29 seconds.
MAX_WAIT_SECONDS = 25
# The keys of what the system itself enqueues (process_stripe_webhook.customer_emails): a caller who
# took one first would keep that job from being enqueued.
RESERVED_KEYS = ("stashjobs:", "stripe:")
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


@router.post(
    "/jobs",
    status_code=202,
    response_model=Accepted | AcceptedBatch | AcceptedJobs,
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
    asker: Annotated[access.Decision, needs_enqueue()],
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
    """Enqueue one job, or many: `{"jobs": [...]}`, also as a batch. With the header
    `Idempotency-Key` the same request sent again enqueues nothing new, and answers with the jobs
    there are."""
    jobs = [new] if isinstance(new, NewJob) else new.jobs
    if idempotency_key is not None:
        _give_keys(new, idempotency_key)
    for one in jobs:
        _refuse_forbidden(one, asker)
    if isinstance(new, NewJobs) and new.batch is not None:
        return _enqueue_batch(new, new.batch, asker, idempotency_key)
    try:
        enqueued = enqueue.enqueue_prepared([_prepared(one, asker) for one in jobs])
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
    logger().info(
        "enqueued by request",
        extra={"actor": asker.actor, "jobs": len(enqueued), "job_id": enqueued[0].job_id},
    )
    accepted = [_accepted(one) for one in enqueued]
    if isinstance(new, NewJobs):
        return AcceptedJobs(jobs=accepted)
    response.status_code = 202 if accepted[0].created else 200
    return accepted[0]


@router.get("/jobs/{job_id:path}", responses=refusals(404))
def show_job(
    job_id: JobId,
    _actor: Annotated[str, needs("read")],
    wait: Annotated[
        float,
        Query(
            ge=0,
            le=MAX_WAIT_SECONDS,
            allow_inf_nan=False,
            description="Answer when the job has ended, or after so many seconds.",
            examples=[20],
        ),
    ] = 0,
) -> ShownJobWithStory:
    """One job: its state, attempts, progress and result, and its story."""
    database.pool()
    found, actions, steps = _find(job_id)
    if wait and found.completed_at is None:
        ending.wait_until_ended(job_id, wait)
        found, actions, steps = _find(job_id)
    events = [
        {"at": event.at, "state": event.state, "note": event.note}
        for event in story.tell(found, actions, steps)
    ]
    kept = [
        {
            "position": step.position,
            "name": step.name,
            "attempt": step.attempt,
            "startedAt": step.started_at,
            "endedAt": step.ended_at,
            "seconds": step.seconds,
        }
        for step in steps
        if step.is_kept
    ]
    return ShownJobWithStory.model_validate(_document(found) | {"story": events, "steps": kept})


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
    batch_id: Annotated[Text | None, Query(alias="batchId", examples=["0190f1c2"])] = None,
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
        batch_id=batch_id,
    )
    before = None if cursor is None else _read_cursor(cursor)
    with own.transaction():
        own.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'".encode())
        page = search.page(own, which, limit=limit, before=before)
    jobs: list[ShownJob] = []
    size = 0
    for one in page.jobs:
        shown = ShownJob.model_validate(_listed(one))
        size += len(shown.model_dump_json(by_alias=True).encode())
        if jobs and size > MAX_PAGE_BYTES:
            last = jobs[-1]
            return Page(jobs=jobs, next=cursors.write(last.created_at, last.job_id))
        jobs.append(shown)
    return Page(jobs=jobs, next=None if page.next is None else cursors.write(*page.next))


@router.post("/jobs/{job_id:path}/retry", responses=refusals(404, 409, 413, 415))
def retry_job(
    job_id: JobId, actor: Annotated[str, needs("operate")], how: Retry | None = None
) -> Counted:
    """Run a job again that has ended, with another payload if one is given. Kept steps stay if it
    had not completed and keeps its payload; with `fromStep`, those before that one."""
    how = how or Retry()
    retry_and_cancel.retry(job_id, actor=actor, payload=how.payload, from_step=how.from_step)
    return Counted(count=1, dry_run=False)


@router.post("/jobs/{job_id:path}/cancel", responses=refusals(404, 409, 415))
def cancel_job(
    job_id: JobId, actor: Annotated[str, needs("operate")], _body: Nothing | None = None
) -> Counted:
    """Cancel a job that waits, or ask one that runs to stop."""
    retry_and_cancel.cancel(job_id, actor=actor)
    return Counted(count=1, dry_run=False)


@router.post("/jobs/{job_id:path}/run-now", responses=refusals(404, 409, 415))
def run_job_now(
    job_id: JobId, actor: Annotated[str, needs("operate")], _body: Nothing | None = None
) -> Counted:
    """Run a delayed, snoozed or retrying job at once."""
    waiting.run_now(job_id, actor=actor)
    return Counted(count=1, dry_run=False)


@router.post("/jobs/{job_id:path}/reschedule", responses=refusals(404, 409, 415))
def reschedule_job(job_id: JobId, actor: Annotated[str, needs("operate")], when: NewTime) -> Due:
    """Have a job that waits due at another time."""
    try:
        due = waiting.reschedule(job_id, actor=actor, at=when.at, delay=when.delay)
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
    return Due(job_id=job_id, available_at=due)


@router.post("/jobs/{job_id:path}/edit", responses=refusals(404, 409, 413, 415))
def edit_job(job_id: JobId, actor: Annotated[str, needs("operate")], how: Edit) -> Counted:
    """Give a job that waits another payload."""
    waiting.edit(job_id, actor=actor, payload=how.payload)
    return Counted(count=1, dry_run=False)


@router.delete("/jobs/{job_id:path}", responses=refusals(404, 409))
def delete_job(job_id: JobId, actor: Annotated[str, needs("operate")]) -> Counted:
    """Delete a job that waits, as if it had never been enqueued."""
    waiting.delete(job_id, actor=actor)
    return Counted(count=1, dry_run=False)


@router.post("/admin/jobs/retry", responses=refusals(409, 415))
def retry_jobs(which: Selection, actor: Annotated[str, needs("operate")]) -> Counted:
    """Retry all failed and cancelled jobs that fit, and completed ones where `status` says so; with
    `dryRun`, only count them. A search that takes longer than 20 seconds is 422."""
    statuses = retry_and_cancel.of_many(which.status)
    change = functools.partial(retry_and_cancel.retry_all, statuses=statuses)
    return _on_many(which, statuses, change, actor)


@router.post("/admin/jobs/cancel", responses=refusals(409, 415))
def cancel_jobs(which: Selection, actor: Annotated[str, needs("operate")]) -> Counted:
    """Cancel all waiting jobs that fit; with `dryRun`, only count them. A search that takes longer
    than 20 seconds is 422."""
    return _on_many(which, retry_and_cancel.CANCELLABLE, retry_and_cancel.cancel_all, actor)


@router.post("/admin/jobs/run-now", responses=refusals(409, 415))
def run_jobs_now(which: Selection, actor: Annotated[str, needs("operate")]) -> Counted:
    """Run all delayed, snoozed and retrying jobs that fit at once; with `dryRun`, only count them.
    A search that takes longer than 20 seconds is 422."""
    return _on_many(which, waiting.RUNNABLE, waiting.run_all_now, actor)


@router.post("/admin/jobs/delete", responses=refusals(409, 415))
def delete_jobs(which: Selection, actor: Annotated[str, needs("operate")]) -> Counted:
    """Delete all waiting jobs that fit, as if they had never been enqueued; with `dryRun`, only
    count them. A search that takes longer than 20 seconds is 422."""
    return _on_many(which, waiting.WAITING, waiting.delete_all, actor)


def _on_many(
    which: Selection,
    statuses: tuple[str, ...],
    change: Callable[..., retry_and_cancel.Changed],
    actor: str,
) -> Counted:
    wanted = which.to_filter()
    if which.dry_run:
        found = retry_and_cancel.count(statuses, wanted, seconds=OPERATION_SECONDS)
        return Counted(count=found, dry_run=True)
    changed = change(wanted, actor=actor, seconds=OPERATION_SECONDS)
    return Counted(count=changed.count, dry_run=False, complete=changed.complete)


@router.get("/types")
def list_types(_actor: Annotated[str, needs("read")]) -> list[JobType]:
    """The job types, with what QStash does for each and what its payload must be."""
    return [_described(job) for job in declared()]


def _described(job: job_type.JobType[Any, Any]) -> JobType:
    schema = job.payload_schema()
    return JobType(
        type=job.type,
        endpoint=job.endpoint,
        retries=job.retries,
        timeout=job.timeout,
        retry_delay=job.retry_delay,
        rate=job.rate,
        period_seconds=None if job.rate is None else job.period_seconds,
        parallelism=job.parallelism,
        encrypted=job.encrypted,
        retention=job.retention,
        enqueued_by=job.enqueued_by,
        on_failed=None if job.on_failed is None else job.on_failed.type,
        description=(job.__doc__ or "").strip().partition("\n")[0],
        payload_schema=schema,
        example=next(iter(schema.get("examples", [])), None),
    )


def _enqueue_batch(
    new: NewJobs, described: NewBatch, asker: access.Decision, key: str | None
) -> AcceptedBatch:
    """With a key, the batch's id is made of it, so that the same request finds the same batch."""
    batch_id = new_job_id()
    if key is not None:
        parts = [key, described.name, *(one.type for one in new.jobs)]
        batch_id = str(uuid5(NAMESPACE_OID, json.dumps(parts)))
    for number, one in enumerate(new.jobs):
        if one.batch is not None:
            raise misfit("body", f"jobs.{number}.batch", "is the batch beside jobs; leave it out")
    try:
        last = None
        if described.on_ended is not None:
            _refuse_not_at_the_end(described.on_ended)
            _refuse_forbidden(described.on_ended, asker)
            last = _prepared(described.on_ended, asker, job_id=batch_id)
        prepared = [_prepared(one, asker) for one in new.jobs]
        try:
            enqueued = batches.record_prepared(batch_id, described.name, prepared, last)
        except UniqueViolation:
            if key is None:
                raise
            enqueued = enqueue.enqueue_prepared(prepared)
    except ValueError as error:
        raise HTTPException(422, str(error)) from error
    logger().info(
        "enqueued by request",
        extra={"actor": asker.actor, "jobs": len(enqueued), "batch_id": batch_id},
    )
    return AcceptedBatch(batch_id=batch_id, jobs=[_accepted(one) for one in enqueued])


def _refuse_not_at_the_end(last: NewJob) -> None:
    for option in batches.NOT_AT_THE_END:
        if option in last.model_fields_set and getattr(last, option):
            name = f"batch.onEnded.{to_camel(option)}"
            raise misfit("body", name, "is not for this job: it waits for its batch")


def _give_keys(new: NewJob | NewJobs, key: str) -> None:
    """The request's key, for each job that has none of its own: so a request that is sent again
    enqueues nothing twice, whether it is for one or for many."""
    if isinstance(new, NewJob):
        new.idempotency_key = new.idempotency_key or key
        return
    for number, each in enumerate(new.jobs):
        each.idempotency_key = each.idempotency_key or f"{key}:{number}"


def _refuse_forbidden(new: NewJob, asker: access.Decision) -> None:
    job = find(new.type)
    if not asker.may_enqueue(job):
        logger().warning("refused", extra={"actor": asker.actor, "job_type": job.type})
        raise forbidden_to_enqueue(job)
    key = (new.idempotency_key or "").lower()
    if key.startswith(RESERVED_KEYS):
        raise HTTPException(
            422,
            f"idempotency keys that begin with {' or '.join(RESERVED_KEYS)} are the system's own",
        )


def forbidden_to_enqueue(job: job_type.JobType[Any, Any]) -> HTTPException:
    """The error of a token that may not enqueue this type, with the scope that it needs."""
    if job.enqueued_by == "system":
        return HTTPException(403, f"{job.type} is enqueued by the system itself, by no token")
    return HTTPException(
        403,
        f"this token may not enqueue {job.type}: it needs the scope enqueue:{job.type}"
        + (", or enqueue and operate" if job.enqueued_by == "operators" else ", or enqueue"),
    )


def _prepared(
    new: NewJob, asker: access.Decision, *, job_id: str | None = None
) -> executions.NewJob:
    """The row, or the error that says why there can be none; nothing is written yet."""
    options = Options(
        user_id=new.user_id,
        organization_id=new.organization_id,
        delay=new.delay,
        at=new.at,
        idempotency_key=new.idempotency_key,
        retries=new.retries,
        metadata=new.metadata,
        after=new.after,
        when=new.when if new.after else None,
        expires=new.expires,
        unique=new.unique,
        unique_while=new.unique_while,
        replace=new.replace,
        debounce=new.debounce,
        max_wait=new.max_wait,
        batch=new.batch,
    )
    prepared = enqueue.prepare(find(new.type), new.payload, options, job_id=job_id)
    return replace(prepared, enqueued_by=asker.actor)


def _accepted(enqueued: enqueue.Enqueued) -> Accepted:
    return Accepted(job_id=enqueued.job_id, created=enqueued.created, published=enqueued.published)


def _find(job_id: str) -> tuple[JobExecution, list[story.Action], list[story.Step]]:
    with database.borrowed() as own:
        found = search.find(own, job_id)
        if found is None:
            raise HTTPException(404, f"there is no job {job_id}")
        actions = story.read_actions(own, job_id)
        return found, actions, story.read_steps(own, job_id, actions)


def _document(job: JobExecution) -> dict[str, Any]:
    return {field: getattr(job, field) for field in ShownJob.model_fields}


def _listed(job: JobExecution) -> dict[str, Any]:
    """As in a list: without the tracebacks, which the job itself has."""
    document = _document(job)
    if isinstance(document["errors"], list):
        document["errors"] = [
            {name: value for name, value in error.items() if name != "traceback"}
            for error in document["errors"]
        ]
    return document


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
