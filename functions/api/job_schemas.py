"""The documents of `/api/jobs`: what a request may say, and what an answer has."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Discriminator, Field, StrictBool, Tag

from functions.api.schema import JSON_NUMBER, Given, Moment, Text, Wire, example
from stashjobs.operators import retry_and_cancel
from stashjobs.operators.search import Filter
from stashjobs.store.executions import Status

MAX_JOBS_PER_REQUEST = 1_000
MAX_RETRIES = 100
MAX_PARENTS = 1_000
# Ten years; a larger value is a mistaken unit.
MAX_DELAY_SECONDS = 10 * 366 * 86_400
MAX_FIELDS = 100
Seconds = Annotated[float, Field(ge=0, le=MAX_DELAY_SECONDS, allow_inf_nan=False), JSON_NUMBER]


class NewJob(Wire):
    """A job to be enqueued. `GET /api/types` has the schema of each type's `payload`.

    `delay` is in seconds, `at` a moment: not both. `retries` is in place of the type's own. `after`
    are ids of jobs to wait for; `when` is how they must have ended: `completed`, or `ended` in
    whatever way. No attempt begins after `expires`, in seconds or a moment. `unique` is a key, or
    names of the payload's fields: while a job of the type with the same ones waits (or runs, with
    `uniqueWhile`), it is the answer; with `replace`, or `debounce` in seconds and `maxWait`, it
    gets this payload and time. `batch` is the id of a batch that has not ended.
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
    delay: Seconds | None = None
    at: Moment | None = None
    idempotency_key: Given | None = None
    retries: Annotated[int, Field(ge=0, le=MAX_RETRIES), JSON_NUMBER] | None = None
    metadata: Annotated[dict[str, Any], Field(default_factory=dict)]
    after: Annotated[list[Given], Field(default_factory=list, max_length=MAX_PARENTS)]
    when: Literal["completed", "ended"] = "completed"
    expires: Seconds | Moment | None = None
    unique: Given | Annotated[list[Given], Field(min_length=1, max_length=MAX_FIELDS)] | None = None
    unique_while: Literal["waiting", "running"] | None = None
    replace: StrictBool = False
    debounce: Seconds | None = None
    max_wait: Seconds | None = None
    batch: Given | None = None


NOTIFICATION = {"userId": "u_1", "type": "news", "title": "Hello", "message": "It works."}


class NewBatch(Wire):
    """A batch of the jobs beside it. The job of `onEnded` runs when all have ended, however they
    did, and has the batch's id."""

    name: Annotated[Text, Field(min_length=1, max_length=200)]
    on_ended: NewJob | None = None


class NewJobs(Wire):
    """Jobs to be enqueued, all of them or none; with `batch`, as a batch."""

    model_config = example(
        {
            "jobs": [
                {"type": "create-notification", "payload": NOTIFICATION},
                {"type": "create-notification", "payload": NOTIFICATION, "delay": 3600},
            ]
        }
    )

    jobs: Annotated[list[NewJob], Field(min_length=1, max_length=MAX_JOBS_PER_REQUEST)]
    batch: NewBatch | None = None


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


class AcceptedBatch(AcceptedJobs):
    """What became of a batch."""

    model_config = example(
        {
            "jobs": [{"jobId": "0190f1c2", "created": True, "published": True}],
            "batchId": "0190f1c3",
        }
    )

    batch_id: str


class ShownJob(Wire):
    """A job. `attempt` of `maxAttempts` is the last that began; `errors` has what each attempt that
    failed said; an encrypted result is shown as it is kept, encrypted."""

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
    enqueued_by: str | None
    batch_id: str | None
    created_at: datetime
    available_at: datetime
    expires_at: datetime | None
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
    "enqueuedBy": "my-app",
    "batchId": None,
    "createdAt": "2030-01-31T09:00:00Z",
    "availableAt": "2030-01-31T09:00:00Z",
    "expiresAt": None,
    "publishedAt": "2030-01-31T09:00:00.1Z",
    "startedAt": "2030-01-31T09:00:00.2Z",
    "leaseExpiresAt": None,
    "completedAt": "2030-01-31T09:00:01Z",
    "updatedAt": "2030-01-31T09:00:01Z",
}


class ShownStep(Wire):
    """A step whose result is kept, the attempt that kept it, and how long it took, in seconds."""

    position: int
    name: str
    attempt: int
    started_at: datetime
    ended_at: datetime
    seconds: float


class ShownJobWithStory(ShownJob):
    """A job, what happened to it, in order, and its steps whose results are kept."""

    model_config = example(
        JOB_EXAMPLE
        | {
            "story": [{"at": "2030-01-31T09:00:00Z", "state": "pending", "note": "recorded"}],
            "steps": [
                {
                    "position": 1,
                    "name": "render",
                    "attempt": 1,
                    "startedAt": "2030-01-31T09:00:00.2Z",
                    "endedAt": "2030-01-31T09:00:00.7Z",
                    "seconds": 0.5,
                }
            ],
        }
    )

    story: list[Moments]
    steps: list[ShownStep]


class Page(Wire):
    """A page of jobs, newest first. `next` is the `cursor` of the next page, if there is one.

    A search for an error or metadata looks at 5,000 jobs for each page, so a page may have few or
    none of them and a `next` all the same.
    """

    model_config = example({"jobs": [JOB_EXAMPLE], "next": None})

    jobs: list[ShownJob]
    next: str | None


class Retry(Wire):
    """How to retry one job: with its own payload, unless another is given; from the step of this
    name on, if one is given, with those before it kept."""

    model_config = example({"payload": {"to": "ada@example.com"}})

    payload: Any = None
    from_step: Text | None = None


class Edit(Wire):
    """Another payload for a job that waits."""

    model_config = example({"payload": {"to": "ada@example.com"}})

    payload: Any


class NewTime(Wire):
    """When a job is due: at a moment, or after `delay` seconds. One of the two."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"delay": 60}],
            "oneOf": [
                {"required": ["at"], "properties": {"at": {"type": "string"}}},
                {"required": ["delay"], "properties": {"delay": {"type": "number"}}},
            ],
        }
    )

    at: Moment | None = None
    delay: Seconds | None = None


class Due(Wire):
    """When a job is due now."""

    model_config = example({"jobId": "0190f1c2", "availableAt": "2030-01-31T09:00:00Z"})

    job_id: str
    available_at: datetime


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
    batch_id: Text | None = None
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
            batch_id=self.batch_id,
        )
        retry_and_cancel.refuse_empty(which)
        return which


class Counted(Wire):
    """How many jobs were changed, or would be. `complete` is false where the time for one request,
    20 seconds, was over before all that fit were changed: the same request goes on."""

    model_config = example({"count": 3, "dryRun": False, "complete": True})

    count: int
    dry_run: bool
    complete: bool = True


class JobType(Wire):
    """A job type: what QStash does for it, and the JSON schema of its payload. `rate` is so many
    deliveries in `periodSeconds`; both are null without a limit."""

    model_config = example(
        {
            "type": "send-email",
            "endpoint": "/api/jobs/email",
            "retries": 3,
            "timeout": 30,
            "retryDelay": None,
            "rate": 100,
            "periodSeconds": 60,
            "parallelism": None,
            "encrypted": False,
            "retention": None,
            "enqueuedBy": "apps",
            "onFailed": None,
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
    period_seconds: int | None
    parallelism: int | None
    encrypted: bool
    retention: int | None
    enqueued_by: Literal["apps", "operators", "system"]
    on_failed: str | None
    description: str
    payload_schema: dict[str, Any]
    example: Any
