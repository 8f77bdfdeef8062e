"""Whatever a job's function raises or returns ends in a recorded attempt and an answer."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stashjobs import Cancelled, PermanentError, RetryLater
from stashjobs.errors import DeadlineNear, InvalidPayload
from tests.deliveries import Table, deliver, probe
from tests.examples import examples

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deliveries import Answer


class OwnError(BaseException):
    """No Exception."""


MISFIT = InvalidPayload("x", ["b"])


def run(table: Table, error: BaseException, **options: Any) -> tuple[Answer, dict[str, Any]]:
    def function(_payload: Any, _context: Any) -> None:
        raise error

    job = probe(function, **options)
    job_id = table.add(job)
    return deliver(job, job_id), table.row(job_id)


# --- errors


@pytest.mark.parametrize(
    "error",
    [
        asyncio.CancelledError(),
        GeneratorExit(),
        SystemExit(3),
        StopIteration(1),
        OwnError("own"),
        BaseExceptionGroup("many", [OwnError(), ValueError()]),
        BaseExceptionGroup("deep", [BaseExceptionGroup("er", [asyncio.CancelledError()])]),
        ExceptionGroup("some", [PermanentError("no"), ValueError()]),
        ExceptionGroup("mixed", [RetryLater(5), ValueError()]),
    ],
    ids=repr,
)
def test_any_error_is_recorded_and_answered_500(table: Table, error: BaseException) -> None:
    answer, row = run(table, error)
    assert (answer.status, row["status"]) == (500, "retrying")
    assert row["errors"][0]["type"] == type(error).__name__


@pytest.mark.parametrize(
    ("error", "status", "row_status", "retry_after"),
    [
        (
            ExceptionGroup("g", [PermanentError("a"), InvalidPayload("x", ["b"])]),
            489,
            "failed",
            None,
        ),
        (ExceptionGroup("g", [ExceptionGroup("g", [Cancelled("c")])]), 200, "cancelled", None),
        (ExceptionGroup("g", [RetryLater(5), RetryLater(600)]), 503, "retrying", "600"),
        (BaseExceptionGroup("g", [DeadlineNear("d")]), 503, "retrying", "5"),
        (BaseExceptionGroup("g", [DeadlineNear("d"), ValueError()]), 503, "retrying", "5"),
    ],
)
def test_a_group_means_what_all_of_its_errors_mean(
    table: Table, error: BaseException, status: int, row_status: str, retry_after: str | None
) -> None:
    answer, row = run(table, error)
    assert (answer.status, row["status"]) == (status, row_status)
    assert answer.headers.get("Retry-After") == retry_after


def _raise(error: BaseException) -> Callable[..., Any]:
    def method(*_arguments: Any) -> Any:
        raise error

    return method


METHODS = ("__getattr__", "__getattribute__", "__str__", "__repr__")
PROPERTIES = (
    "__notes__",
    "__class__",
    "__traceback__",
    "__cause__",
    "__context__",
    "__suppress_context__",
)


@pytest.mark.parametrize("raised", [RuntimeError("hostile"), OwnError("hostile")], ids=repr)
@pytest.mark.parametrize("base", [Exception, BaseException, RetryLater, PermanentError])
def test_an_error_whose_own_methods_raise_is_recorded_with_its_type(
    table: Table, raised: BaseException, base: type[BaseException]
) -> None:
    method = _raise(raised)
    for name in (*METHODS, *PROPERTIES):
        hostile = type("Hostile", (base,), {name: method if name in METHODS else property(method)})
        error = hostile(7) if base is RetryLater else hostile("words")
        answer, row = run(table, error)
        assert answer.status in {489, 500, 503}, name
        assert row["status"] == ("failed" if base is PermanentError else "retrying"), name
        assert row["errors"][0]["type"] == "Hostile", name


errors = st.recursive(
    st.sampled_from(
        [
            ValueError("v"),
            OwnError("o"),
            RetryLater(3),
            PermanentError("p"),
            Cancelled("c"),
            DeadlineNear("d"),
            asyncio.CancelledError(),
            SystemExit(1),
            KeyError("a\0b"),
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
            ValueError("\ud800" * 3_000),
        ]
    ),
    lambda inner: st.lists(inner, min_size=1, max_size=3).map(
        lambda several: BaseExceptionGroup("group", several)
    ),
    max_leaves=6,
)


@given(errors)
@settings(
    max_examples=examples(15),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_whatever_is_raised_the_row_and_the_answer_agree(
    table: Table, error: BaseException
) -> None:
    answer, row = run(table, error)
    statuses = {"retrying": {500, 503}, "failed": {489}, "cancelled": {200}}
    assert answer.status in statuses[row["status"]]
    assert answer.document["status"] == row["status"]
    assert row["errors"][0]["type"] == type(error).__name__
    assert row["lease_expires_at"] is None


# --- async jobs


async def _double(payload: Any, _context: Any) -> Any:
    await asyncio.sleep(0)
    return payload * 2


def _decorated(function: Callable[..., Any]) -> Callable[..., Any]:
    def inner(*arguments: Any) -> Any:
        return function(*arguments)

    return inner


class _Callable:
    async def __call__(self, payload: Any, _context: Any) -> Any:
        return await _double(payload, _context)


@pytest.mark.parametrize(
    "function",
    [_double, functools.partial(_double), _Callable(), _decorated(_double)],
    ids=["function", "partial", "callable", "wrapped"],
)
def test_an_async_job_runs_in_an_event_loop_of_its_own(
    table: Table, function: Callable[..., Any]
) -> None:
    job = probe(function)
    job_id = table.add(job, 21)
    assert deliver(job, job_id).status == 200
    assert table.row(job_id)["result"] == 42
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_an_async_job_s_errors_are_those_of_any_job(table: Table) -> None:
    async def function(_payload: Any, _context: Any) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_raising(RetryLater(600)))

    job = probe(function)
    answer = deliver(job, table.add(job))
    assert (answer.status, answer.headers["Retry-After"]) == (503, "600")


async def _raising(error: BaseException) -> None:
    raise error


async def _sleeping() -> None:
    await asyncio.sleep(60)


async def _ignoring_cancellation() -> None:
    for _ in range(2):
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)


async def _busy_task_group() -> None:
    async with asyncio.TaskGroup() as tasks:
        for _ in range(3):
            tasks.create_task(_turning())


async def _turning() -> None:
    while True:  # noqa: ASYNC110 - busy on purpose
        await asyncio.sleep(0)


async def _blocking() -> None:
    time.sleep(60)  # noqa: ASYNC251 - what a job should not do, and does


async def _leaving_a_task() -> None:
    asyncio.get_running_loop()._left = asyncio.create_task(_ignoring_cancellation())  # type: ignore[attr-defined]
    await asyncio.sleep(60)


@pytest.mark.parametrize(
    "wait", [_sleeping, _ignoring_cancellation, _busy_task_group, _blocking, _leaving_a_task]
)
def test_an_async_job_is_stopped_at_its_deadline(table: Table, wait: Callable[[], Any]) -> None:
    job = probe(lambda _payload, _context: wait(), timeout=0.3)
    job_id = table.add(job)
    began = time.time()
    answer = deliver(job, job_id)
    assert time.time() - began < 30
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    row = table.row(job_id)
    assert (row["status"], row["errors"][0]["type"]) == ("retrying", "DeadlineNear") or (
        row["errors"][0]["type"] == "BaseExceptionGroup"
    )


def test_a_timeout_of_the_job_s_own_is_no_deadline(table: Table) -> None:
    async def function(_payload: Any, _context: Any) -> None:
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)

    job = probe(function)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 500
    assert table.row(job_id)["errors"][0]["type"] == "TimeoutError"
