"""`@job` and `Job`: how a job type is declared, enqueued, scheduled and given to Lambda.

The methods import what they use when they are called: a Lambda that only delivers never loads the
producer, and an app that only enqueues never loads the delivery.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Literal

from stashjobs.config import settings
from stashjobs.job_type import ENQUEUED_BY, TYPE_NAME, JobType, Payload, Result, innermost, register

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Unpack

    from stashjobs.delivery.context import Context
    from stashjobs.producer.enqueue import Enqueued
    from stashjobs.producer.options import EnqueueOptions
    from stashjobs.producer.schedules import Schedule
    from stashjobs.store.app_connection import AppConnection, AsyncAppConnection


class Job(JobType[Payload, Result]):
    """A job type: its function, and how QStash is to deliver it. Made by `@job`.

    Call it to run the function directly (in a test, say); `enqueue` it to run it in the
    background; give its `handler` to Lambda.
    """

    def __call__(self, payload: Payload, context: Context) -> Result:
        return self.function(payload, context)

    @property
    def handler(self) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
        """The Lambda handler: one delivery of this job type (`stashjobs.delivery.handler`). In the
        type's own Lambda, everything that a delivery needs is imported while the function is
        initialised; anywhere else, with the first delivery."""
        if settings.is_lambda_of(innermost(self.function).__module__):
            from stashjobs.delivery import handler as worker

            worker.prepare()
        return self._deliver

    def _deliver(self, event: Mapping[str, Any], lambda_context: Any) -> dict[str, Any]:
        from stashjobs.delivery import handler as worker

        return worker.deliver(self, event, lambda_context)

    def enqueue(
        self,
        payload: Payload | Mapping[str, Any],
        *,
        connection: AppConnection | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> Enqueued:
        """Record a job and have QStash deliver it.

        The row is written first: once this returns, the job is run to an end or is visible as
        `failed`. If QStash cannot be reached, the job is recorded all the same and the relay
        publishes it.

        Args:
            payload: The job's payload, as its model or as the JSON object the model reads.
            user_id: The user the job is for; jobs can be searched by it. An `int` or a `UUID` is
                stored as text, as in `organization_id` and `idempotency_key`.
            organization_id: The organization the job is for.
            delay: Deliver after this many seconds. Cannot be combined with `at`.
            at: Deliver at this time (an aware datetime). Cannot be combined with `delay`.
            idempotency_key: If a job of this type already has this key, nothing is enqueued and
                the answer is that job's id.
            retries: How often to retry after a failed attempt, instead of the type's own number.
            headers: Forwarded with the delivery.
            callback: A URL that QStash calls with the answer of every attempt.
            failure_callback: A URL that QStash calls for a dead letter, after it is recorded here.
            metadata: Stored on the row beside the payload; never interpreted, never encrypted.
            encrypted: Encrypt the payload and the result, even if the type is not encrypted.
            after: Jobs to wait for: ids, or what `enqueue` returned. This one is `waiting`, and
                not due, until all of them have ended (docs/composition.md).
            when: `completed`, the default: a job in `after` that fails or is cancelled cancels
                this one too. `ended`: it runs however they ended.
            unique: A key, or the names of payload fields: while a job of this type with the same
                key is waiting, nothing is enqueued and the answer is that job's id.
            unique_while: `waiting`, the default, or `running` to count a job that is running too.
            replace: The waiting job takes this payload, metadata and time.
            debounce: Like `replace`, due this many seconds from now: a burst of enqueues runs one
                job, this long after the last of them. Cannot be combined with `delay` or `at`.
            max_wait: The debounced job is due at most this many seconds after it was first
                enqueued.
            batch: A batch that has not ended, or its id: the job joins it (docs/composition.md).
            expires: No attempt begins later than this: a number of seconds or a `timedelta` from
                now, or an aware datetime. A job that is still waiting then is cancelled, with the
                error "Expired".
            connection: The row joins this connection's transaction: if that is rolled back, there
                is no job. psycopg's, SQLAlchemy's `Connection` or `Session`, or Django's, over
                psycopg 3. After the commit call `publish()` on the answer, or leave it to the
                relay.

        Raises:
            InvalidPayload: Before anything is written.
            PayloadTooLarge: Before anything is written.
            TypeError | ValueError: An option has the wrong type or makes no sense; before anything
                is written. The message names the option.
            SettingError: A setting is missing; before anything is written.
            UnknownJobType: This stage is deployed without the type (`BundledJobs`).
            psycopg.Error: The row could not be written, so there is no job. The exception is a
                connection that breaks during the commit: then there may be one, and an
                `idempotency_key` makes it safe to enqueue again.
        """
        from stashjobs.producer import enqueue

        return enqueue.enqueue(self, payload, options, connection)

    async def enqueue_async(
        self,
        payload: Payload | Mapping[str, Any],
        *,
        connection: AsyncAppConnection,
        **options: Unpack[EnqueueOptions],
    ) -> Enqueued:
        """`enqueue` on the caller's async connection (psycopg's, or SQLAlchemy's `AsyncConnection`
        or `AsyncSession`), within its transaction, with the same options."""
        from stashjobs.producer import enqueue

        return await enqueue.enqueue_async(self, payload, options, connection)

    def enqueue_many(
        self,
        payloads: Iterable[Payload | Mapping[str, Any]],
        *,
        each: Iterable[EnqueueOptions] | None = None,
        connection: AppConnection | None = None,
        **options: Unpack[EnqueueOptions],
    ) -> list[Enqueued]:
        """Record many jobs and have QStash deliver them, in as few statements and calls as
        possible. If one payload or option is invalid, nothing is enqueued.

        Args:
            payloads: One per job; a generator will do. They are read, validated and recorded in
                portions, in one transaction, so that few of a million payloads are in memory at a
                time. With `unique`, an idempotency key, `each`, a hook `@around("enqueue")` or
                tracing, all are read first.
            each: Options for single jobs, one entry per payload; they override the options given
                for all.
            connection: As in `enqueue`. The other options of `enqueue` apply too.

        Raises:
            TypeError | ValueError: As in `enqueue`; or `each` does not have one entry per payload,
                or two of the jobs have the same idempotency key.
        """
        from stashjobs.producer import enqueue

        return enqueue.enqueue_many(self, payloads, options, each, connection)

    def schedule(
        self,
        cron: str,
        payload: Payload | Mapping[str, Any],
        *,
        name: str,
        timezone: str = "UTC",
        expires: float | None = None,
    ) -> Schedule:
        """Declare a schedule on which this job is enqueued; `stashjobs schedules sync` creates it
        at QStash.

        Args:
            cron: Five fields: `"0 3 * * *"` is every day at three.
            payload: The same for every run. It passes through QStash.
            name: The schedule's name, unique in the project.
            timezone: The time zone of the cron expression, as an IANA name.
            expires: No attempt of a run begins later than this many seconds after its first
                delivery.

        Raises:
            InvalidPayload: The payload does not fit the job's model.
            ValueError: Another argument makes no sense.
        """
        from stashjobs.producer import schedules

        document = self.dump_payload(payload)
        return schedules.declare(schedules.Schedule(name, self, cron, timezone, document, expires))


def job(
    type: str,  # noqa: A002
    *,
    endpoint: str,
    retries: int = 3,
    timeout: float = 30,
    retry_delay: str | None = None,
    rate: int | tuple[int, str] | None = None,
    parallelism: int | None = None,
    encrypted: bool = False,
    retention: int | None = None,
    enqueued_by: Literal["apps", "operators", "system"] = "apps",
    on_failed: JobType[Any, Any] | None = None,
) -> Callable[[Callable[[Payload, Context], Result]], Job[Payload, Result]]:
    """Declare a job type.

    Args:
        type: Its name on the wire, in rows and in logs: lower case, with hyphens.
        endpoint: Its route, as in template.yaml: `/api/jobs/email`.
        retries: How often to retry after a failed attempt.
        timeout: How long one attempt may take, in seconds.
        retry_delay: A QStash expression for the wait between attempts, in milliseconds
            (`"pow(2, retried) * 1000"`); None for QStash's own backoff.
        rate: The most deliveries a second, or in a period: `(100, "1m")`, with `s`, `m`, `h` or
            `d`, up to a week. If `parallelism` is given too, both hold.
        parallelism: The most deliveries at once; no more than the concurrency of its function, or
            Lambda throttles the rest (docs/connections.md).
        encrypted: Always encrypt its payloads and results (docs/encrypted-payloads.md).
        retention: How many days its ended jobs are kept before the clean-up archives them; None
            for the clean-up's default (docs/cleanup.md).
        enqueued_by: Who may enqueue it over HTTP. `apps`: any token with the scope `enqueue`.
            `operators`: a token whose scope names the type (`enqueue:export-data`), or that also
            has `operate`; for types that delete, or read other people's data. `system`: no token;
            for types that stand for a verified source. Code with access to the database is not
            restricted.
        on_failed: A job type to enqueue when a job of this type fails for good, however it ends,
            in the same statement. Its payload is `{"jobId": "…"}`, the failed job's id, and
            `context.parents()` has that job (docs/composition.md).

    Raises:
        ValueError: An argument makes no sense, or another function already has this type.
        TypeError: `on_failed` is not a job type.
    """
    if not TYPE_NAME.fullmatch(type):
        raise ValueError(f"job type {type!r}: use lower case words joined by hyphens (send-email)")
    if not endpoint.startswith("/"):
        raise ValueError(f"{type}: endpoint {endpoint!r} must start with a slash")
    if retries < 0:
        raise ValueError(f"{type}: retries is {retries}, it must be 0 or more")
    if not 0 < timeout <= 890:
        # Lambda's own limit is 900 seconds; the attempt's end must still be recorded.
        raise ValueError(f"{type}: timeout is {timeout} s, it must be over 0 and at most 890")

    if retention is not None and retention < 1:
        raise ValueError(f"{type}: retention is {retention} days, it must be 1 or more")
    if enqueued_by not in ENQUEUED_BY:
        raise ValueError(
            f"{type}: enqueued_by is {enqueued_by!r}, it must be one of {', '.join(ENQUEUED_BY)}"
        )

    _refuse_no_follower(type, on_failed)
    number = rate[0] if isinstance(rate, tuple) and rate else rate
    _refuse_less_than_one(type, parallelism=parallelism, rate=number)
    if retry_delay is not None:
        _refuse_no_delay(type, retry_delay, retries)

    def declare(function: Callable[[Payload, Context], Result]) -> Job[Payload, Result]:
        _refuse_what_cannot_run(type, function)
        declared = Job(
            function,
            type=type,
            endpoint=endpoint,
            retries=retries,
            timeout=timeout,
            retry_delay=retry_delay,
            rate=rate,
            parallelism=parallelism,
            encrypted=encrypted,
            retention=retention,
            enqueued_by=enqueued_by,
            on_failed=on_failed,
        )
        register(declared)
        return declared

    return declare


def _refuse_no_follower(type: str, on_failed: object) -> None:  # noqa: A002
    if on_failed is None:
        return
    if not isinstance(on_failed, JobType):
        raise TypeError(f"{type}: on_failed is {on_failed!r}; give a job type, as @job makes it")
    if on_failed.type == type:
        raise ValueError(f"{type}: on_failed is the type itself, which would follow without end")
    if on_failed.encrypted:
        raise ValueError(
            f"{type}: on_failed is {on_failed.type}, which is declared encrypted; Postgres "
            "enqueues it, and cannot encrypt"
        )


def _refuse_less_than_one(type: str, **options: Any) -> None:  # noqa: A002
    for name, value in options.items():
        if isinstance(value, int) and value < 1:
            raise ValueError(f"{type}: {name} is {value}, it must be 1 or more")


def _refuse_no_delay(type: str, retry_delay: str, retries: int) -> None:  # noqa: A002
    from stashjobs.producer import retry_delay as expressions

    try:
        expressions.check(retry_delay, retries)
    except ValueError as error:
        raise ValueError(f"{type}: retry_delay is {retry_delay!r}: {error}") from error


def _refuse_what_cannot_run(type: str, function: Callable[..., Any]) -> None:  # noqa: A002
    inner = innermost(function)
    if inspect.isgeneratorfunction(inner) or inspect.isasyncgenfunction(inner):
        raise ValueError(f"{type}: its function is a generator, of which nothing would be run")
    try:
        inspect.signature(function).bind("payload", "context")
    except TypeError:
        raise ValueError(
            f"{type}: its function must take two arguments, a payload and a context"
        ) from None
