"""What the fixture `jobs` offers: look at what was enqueued, deliver it, break it."""

from __future__ import annotations

import functools
import inspect
import json
import traceback
import uuid
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from psycopg.rows import dict_row

from stashjobs import envelope
from stashjobs.config import settings
from stashjobs.delivery import attempt, handler
from stashjobs.delivery.context import Context
from stashjobs.delivery.steps import Steps
from stashjobs.job_type import JobType, declared, find
from stashjobs.operators import search
from stashjobs.producer import enqueue
from stashjobs.producer import message as messages
from stashjobs.producer.options import Options
from stashjobs.store import database, executions, job_types
from stashjobs.testing import sql
from stashjobs.testing.deliveries import (
    DIED,
    Answer,
    http_event,
    lambda_context,
    read_answer,
    sign,
)
from stashjobs.testing.expectation import Expectation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from stashjobs.producer.enqueue import Enqueued
    from stashjobs.testing.qstash import Server

# Lambda's own time limit is the job's and a little more, to record how the attempt ended.
AFTER_THE_JOB_SECONDS = 5.0
FREE_AT_ONCE = 100


class Crash(KeyboardInterrupt):
    """Raised in a job's function, or in what that calls, it is as if the process was killed there:
    nothing is recorded, what was written in the job's transaction is undone, and the lease stays
    until it runs out. A `finally` that is passed on the way does run; SIGKILL would skip it."""


attempt.LET_OUT = (Crash,)


@dataclass(frozen=True)
class Delivered:
    """One delivery: what QStash was answered, and the job's row after it."""

    answer: Answer
    job: search.JobExecution


class Jobs:
    """The jobs of one test: `job_executions`, seen by the test, and QStash's part, played by it.

    Attributes:
        database_url: Of the test's own database, to which `POSTGRES_URL` leads.
        qstash: Where the messages went: `qstash.messages`.
    """

    def __init__(self, database_url: str, qstash: Server) -> None:
        self.database_url = database_url
        self.qstash = qstash
        self._own = database.connect(database_url)
        self._recorded_here: set[str] = set()
        self._deliveries: Counter[str] = Counter()
        self._delivering = False

    def close(self) -> None:
        """Close the connection by which all this is seen."""
        self._own.close()

    # --- what was enqueued

    def rows(self) -> list[dict[str, Any]]:
        """Every row of `job_executions`, in the order in which they were recorded."""
        return self._own.cursor(row_factory=dict_row).execute(sql.FIND_ROWS).fetchall()

    def assert_enqueued(
        self,
        job: JobType[Any, Any],
        payload: Any = None,
        *,
        at: datetime | None = None,
        delay: float | None = None,
        idempotency_key: str | None = None,
        user_id: str | None = None,
        organization_id: str | None = None,
        times: int = 1,
    ) -> list[dict[str, Any]]:
        """Fail unless just so many jobs of this type were enqueued that fit all that is given. It
        is no matter what became of them since. Those of `run_job` do not count.

        Args:
            job: The job type.
            payload: Every member that is given here must be in the payload, with this value; a
                model gives all of its members. What is no JSON object must be equal.
            at: Due at this time (an aware datetime), to the second.
            delay: Due so many seconds after it was enqueued, or up to ten seconds less.
            idempotency_key: Of the job.
            user_id: Of the job.
            organization_id: Of the job.
            times: How many there must be.

        Returns:
            Their rows.

        Raises:
            AssertionError: It shows what was enqueued, and in what it differs.
        """
        expected = Expectation(job, payload, at, delay, idempotency_key, user_id, organization_id)
        enqueued = [row for row in self.rows() if row["job_id"] not in self._recorded_here]
        fitting = [row for row in enqueued if expected.fits(row)]
        if len(fitting) != times:
            raise AssertionError(expected.explain(enqueued, fitting, times))
        return fitting

    def assert_not_enqueued(
        self, job: JobType[Any, Any], payload: Any = None, **where: Any
    ) -> None:
        """Fail if a job of this type was enqueued that fits; see `assert_enqueued`."""
        self.assert_enqueued(job, payload, **where, times=0)

    def steps(self, enqueued: str | Enqueued) -> list[str]:
        """The names of the steps whose results a job has kept, in order."""
        return [name for (name,) in self._own.execute(sql.FIND_STEPS, [_id_of(enqueued)])]

    # --- deliveries

    def run_job(
        self,
        job: JobType[Any, Any],
        payload: Any,
        *,
        user_id: str | None = None,
        organization_id: str | None = None,
        idempotency_key: str | None = None,
        retries: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        encrypted: bool | None = None,
    ) -> Delivered:
        """Record a job and deliver it once, as QStash and Lambda do: a signed message, the job's
        handler, the row. The options are those of `Job.enqueue`.

        Raises:
            InvalidPayload | PayloadTooLarge | ValueError: See `Job.enqueue`.
        """
        options = Options(
            user_id=user_id,
            organization_id=organization_id,
            idempotency_key=idempotency_key,
            retries=retries,
            metadata=metadata or {},
            encrypted=encrypted,
        )
        new = enqueue.prepare(job, payload, options)
        [(job_id, _)] = executions.record_new_jobs(self._own, [new])
        self._recorded_here.add(new.job_id)
        return self.deliver(job_id, job=job)

    def deliver(
        self,
        enqueued: str | Enqueued,
        *,
        job: JobType[Any, Any] | None = None,
        seconds: float | None = None,
    ) -> Delivered:
        """Deliver the message of a recorded job. Again and again, if so wished: QStash delivers at
        least once. From within a job's function it is another Lambda that gets it, at the same
        time.

        Args:
            enqueued: The job's id, or what `enqueue` returned.
            job: Its type, where that is not declared by `@job`.
            seconds: After how many Lambda kills the process; a little more than the job's own
                timeout where it is left out.

        Raises:
            LookupError: There is no such job.
            UnknownJobType: Its type is not declared in this process.
        """
        before = self._find(enqueued)
        job = job or find(before.job_type)
        event = self._event(job, before)
        lambda_seconds = job.timeout + AFTER_THE_JOB_SECONDS if seconds is None else seconds
        if self._delivering:
            with ThreadPoolExecutor(1) as another:
                answer = another.submit(_in_a_thread, job, event, lambda_seconds).result()
        else:
            self._delivering = True
            try:
                answer = _hand_over(job, event, lambda_seconds)
            finally:
                self._delivering = False
        return Delivered(answer, self._find(enqueued))

    def deliver_twice(
        self, enqueued: str | Enqueued, *, job: JobType[Any, Any] | None = None
    ) -> tuple[Delivered, Delivered]:
        """Deliver the same message to two Lambdas: to the second while the first one is about to
        run the job's function. Where the first does not come so far, the second is after it.

        Returns:
            What came of the first, and of the second.
        """
        seconds: list[Delivered] = []

        def meanwhile() -> None:
            if not seconds:
                seconds.append(self.deliver(enqueued, job=job))

        with _with_function(job or find(self._find(enqueued).job_type), before=meanwhile):
            first = self.deliver(enqueued, job=job)
        if not seconds:
            seconds.append(self.deliver(enqueued, job=job))
        return first, seconds[0]

    def crash(
        self,
        enqueued: str | Enqueued,
        *,
        when: Literal["before", "after"] = "after",
        step: str | None = None,
        job: JobType[Any, Any] | None = None,
    ) -> Delivered:
        """Deliver to a Lambda that dies: `before` the job's function, or `after` it has done all
        of its work and nothing of that is recorded; with `step`, before or after the function of
        the first step of this name. Raise `Crash` in the job to die elsewhere.

        The job's lease stays, as with a real crash: it is run again by what is delivered once the
        lease has run out (`let_time_pass`).
        """

        def die() -> None:
            raise Crash

        if step is not None:
            with _with_step(step, **{when: die}):
                return self.deliver(enqueued, job=job)
        with _with_function(job or find(self._find(enqueued).job_type), **{when: die}):
            return self.deliver(enqueued, job=job)

    def drain(self, *, limit: int = 100) -> list[Delivered]:
        """Deliver all that is due, and what that enqueues, until nothing is due any more. Failed
        attempts are repeated while attempts are left, without QStash's wait in between; what is
        due later waits for `let_time_pass`. Leases that ran out are freed, as by the relay.

        Args:
            limit: At most so many deliveries.

        Returns:
            All deliveries, in order.

        Raises:
            AssertionError: The limit is reached and jobs are still due; it names them.
            UnknownJobType: A job's type is not declared in this process; import its handler.
        """
        done: list[Delivered] = []
        followers = {job.type: job.follower for job in declared()}
        job_types.declare_followers(self._own, followers)
        while due := self._due():
            if len(done) >= limit:
                named = "; ".join(f"{job_id} ({error or 'no error'})" for job_id, error in due)
                raise AssertionError(
                    f"drain has made {limit} deliveries and {len(due)} jobs are still due: {named}."
                    " Does a job enqueue itself? Otherwise give drain a higher limit"
                )
            done += [self.deliver(job_id) for job_id, _ in due[: limit - len(done)]]
        return done

    # --- time

    def let_time_pass(self, **time: float) -> None:
        """Move every moment that `job_executions` knows into the past: then a delayed job is due, a
        lease has run out, an old job is old. No clock is changed (docs/testing.md, "Time").

        Args:
            time: As for `datetime.timedelta`: `hours=2`, `seconds=90`.
        """
        for statement in (sql.MOVE_INTO_THE_PAST, sql.MOVE_STEPS_INTO_THE_PAST):
            self._own.execute(statement, {"time": timedelta(**time)})

    # --- the steps

    def _due(self) -> list[tuple[str, str | None]]:
        while executions.free_expired_leases(self._own, FREE_AT_ONCE):
            pass
        self._own.execute(sql.END_BACKOFF)
        return self._own.execute(sql.FIND_DUE).fetchall()

    def _find(self, enqueued: str | Enqueued) -> search.JobExecution:
        job_id = _id_of(enqueued)
        found = search.find(self._own, job_id)
        if found is None:
            raise LookupError(f"there is no job {job_id!r} in job_executions")
        return found

    def _event(self, job: JobType[Any, Any], recorded: search.JobExecution) -> dict[str, Any]:
        url = messages.url_of(job)
        body = json.dumps(envelope.thin(recorded.job_id, job.type)).encode()
        headers = {
            "upstash-signature": sign(body, url),
            "upstash-message-id": recorded.message_id or f"msg_{uuid.uuid4().hex}",
            "upstash-retried": str(self._deliveries[recorded.job_id]),
        }
        self._deliveries[recorded.job_id] += 1
        by_function_url = not url.startswith(settings.base_url())
        return http_event(url, body, headers, by_function_url=by_function_url)


def _id_of(enqueued: str | Enqueued) -> str:
    return enqueued if isinstance(enqueued, str) else enqueued.job_id


def _hand_over(job: JobType[Any, Any], event: dict[str, Any], seconds: float) -> Answer:
    try:
        return read_answer(handler.deliver(job, event, lambda_context(seconds)))
    except Crash as crash:
        _close_what_it_held(crash)
        return DIED


def _in_a_thread(job: JobType[Any, Any], event: dict[str, Any], seconds: float) -> Answer:
    try:
        return _hand_over(job, event, seconds)
    finally:
        database.close()


def _close_what_it_held(crash: Crash) -> None:
    """A dead process's connections end with it, and with them its transaction."""
    for frame, _ in traceback.walk_tb(crash.__traceback__):
        held = frame.f_locals.get("context")
        if isinstance(held, Context):
            held.rollback()
    database.close()


@contextmanager
def _with_function(
    job: JobType[Any, Any],
    before: Callable[[], None] = lambda: None,
    after: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """While the block lasts, something else happens too when the job's function is run."""
    original = job.function
    _ = job.payload_type  # which is read off the function, and kept

    @functools.wraps(original)
    def function(payload: Any, context: Context) -> Any:
        before()
        result = original(payload, context)
        after()
        return result

    job.function = function
    try:
        yield
    finally:
        job.function = original


@contextmanager
def _with_step(
    name: str, before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None
) -> Iterator[None]:
    """While the block lasts, something else happens too when the function of such a step is run."""
    original = Steps.call

    def call(
        self: Steps, called: str, function: Callable[..., Any], /, *args: Any, **options: Any
    ) -> Any:
        if called == name:
            function = _around(function, before, after)
        return original(self, called, function, *args, **options)

    Steps.call = call  # type: ignore[method-assign]
    try:
        yield
    finally:
        Steps.call = original  # type: ignore[method-assign]


def _around(
    function: Callable[..., Any], before: Callable[[], None], after: Callable[[], None]
) -> Callable[..., Any]:
    async def run_async(*args: Any, **options: Any) -> Any:
        before()
        result = await function(*args, **options)
        after()
        return result

    def run(*args: Any, **options: Any) -> Any:
        before()
        result = function(*args, **options)
        after()
        return result

    return run_async if inspect.iscoroutinefunction(function) else run
