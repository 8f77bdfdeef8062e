"""`@around`: an app's functions around every attempt and every enqueue."""

from __future__ import annotations

import contextvars
import sys
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from stashjobs import Cancelled, Context, NewJob, PermanentError, Snooze, around, hooks
from stashjobs.producer import enqueue
from tests.deliveries import deliver, probe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.deliveries import Table

tenant: contextvars.ContextVar[str] = contextvars.ContextVar("tenant", default="none")


@pytest.fixture(autouse=True)
def _no_other_hooks(monkeypatch: pytest.MonkeyPatch, settings: pytest.MonkeyPatch) -> None:
    del settings
    monkeypatch.setattr(hooks, "_hooks", {"attempt": {}, "enqueue": {}})


def test_hooks_are_around_each_attempt_the_first_one_outermost(table: Table) -> None:
    told: list[str] = []

    @around("attempt")
    def first(payload: dict[str, Any], context: Context) -> Iterator[None]:
        told.append(f"first {payload['n']} {context.attempt}")
        tenant.set("t_1")
        yield
        told.append("first ends")

    @around("attempt")
    def second(_payload: Any, _context: Context) -> Iterator[None]:
        told.append(f"second {tenant.get()}")
        yield
        told.append("second ends")

    job = probe(lambda _payload, _context: told.append(f"job {tenant.get()}"))
    assert deliver(job, table.add(job, {"n": 1})).document["status"] == "completed"
    assert told == ["first 1 1", "second t_1", "job t_1", "second ends", "first ends"]
    assert tenant.get() == "none"


def test_an_async_job_runs_within_them(table: Table) -> None:
    told: list[str] = []

    @around("attempt")
    def hook(_payload: Any, _context: Context) -> Iterator[None]:
        tenant.set("t_2")
        yield
        told.append("after")

    async def function(_payload: Any, _context: Context) -> str:
        told.append("job")
        return tenant.get()

    job = probe(function)
    job_id = table.add(job)
    deliver(job, job_id)
    assert (table.row(job_id)["result"], told) == ("t_2", ["job", "after"])


def test_an_error_of_the_attempt_is_seen_and_goes_on(table: Table) -> None:
    seen: list[str] = []

    @around("attempt")
    def swallows(_payload: Any, _context: Context) -> Iterator[None]:
        try:
            yield
        except ValueError as error:
            seen.append(str(error))

    @around("attempt")
    def sees(_payload: Any, _context: Context) -> Iterator[None]:
        try:
            yield
        finally:
            seen.append("ended")

    def fail(_payload: Any, _context: Context) -> None:
        raise ValueError("no")

    job = probe(fail)
    job_id = table.add(job)
    assert deliver(job, job_id).status == 500
    assert (table.row(job_id)["error"], seen) == ("ValueError: no", ["ended", "no"])


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (PermanentError("not here"), "failed"),
        (Cancelled("not wanted"), "cancelled"),
        (Snooze("later", seconds=60), "retrying"),
        (OSError("no"), "retrying"),
    ],
)
@pytest.mark.parametrize("before", [True, False])
def test_what_a_hook_raises_is_as_if_the_job_had_raised_it(
    table: Table, error: Exception, status: str, *, before: bool
) -> None:
    ran: list[int] = []

    @around("attempt")
    def hook(_payload: Any, _context: Context) -> Iterator[None]:
        if before:
            raise error
        yield
        raise error

    job = probe(lambda _payload, _context: ran.append(1))
    job_id = table.add(job)
    deliver(job, job_id)
    assert (table.status(job_id), len(ran)) == (status, 0 if before else 1)


def test_a_hook_without_its_one_yield_fails_the_attempt(table: Table) -> None:
    @around("attempt")
    def hook(_payload: Any, _context: Context) -> Iterator[None]:
        yield
        yield

    job = probe()
    job_id = table.add(job)
    deliver(job, job_id)
    assert "generator didn't stop" in table.row(job_id)["error"]


def test_hooks_are_around_each_enqueue_and_may_add_metadata(table: Table) -> None:
    seen: list[list[str]] = []

    @around("enqueue")
    def hook(jobs: list[NewJob]) -> Iterator[None]:
        for new in jobs:
            new.metadata["tenant"] = "t_1"
        yield
        seen.append([new.job_type for new in jobs])

    made = enqueue.enqueue_many(probe(), [{}, {}], {"metadata": {"a": 1}}, None, table.other)
    assert [table.row(each.job_id)["metadata"] for each in made] == [{"a": 1, "tenant": "t_1"}] * 2
    assert seen == [["probe", "probe"]]


async def test_enqueue_async_has_them_too(table: Table, database_url: str) -> None:
    @around("enqueue")
    def hook(jobs: list[NewJob]) -> Iterator[None]:
        jobs[0].metadata["by"] = "hook"
        yield

    async with await psycopg.AsyncConnection.connect(database_url) as connection:
        made = await enqueue.enqueue_async(probe(), {}, {}, connection)
    assert table.row(made.job_id)["metadata"] == {"by": "hook"}


def test_an_enqueue_hook_that_raises_before_its_yield_refuses_the_enqueue(table: Table) -> None:
    @around("enqueue")
    def hook(jobs: list[NewJob]) -> Iterator[None]:
        if "tenant" not in jobs[0].metadata:
            raise ValueError("no tenant")
        jobs[0].metadata["long"] = "x" * 64_001
        yield

    for options, why in (({}, "no tenant"), ({"metadata": {"tenant": "t"}}, "metadata has 640")):
        with pytest.raises(ValueError, match=why):
            enqueue.enqueue(probe(), {}, options, table.other)  # type: ignore[arg-type]
    assert table.rows() == []


def test_what_is_no_hook_is_refused_where_it_is_declared() -> None:
    with pytest.raises(ValueError, match="a hook is a generator function"):
        around("attempt")(lambda _payload, _context: iter([None]))
    with pytest.raises(ValueError, match="the kind is 'job', it must be attempt or enqueue"):
        around("job")  # type: ignore[arg-type]


def test_the_hooks_of_a_checkout_are_found_by_every_function(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "functions_of_a_test"
    (folder / "hooks").mkdir(parents=True)
    (folder / "hooks" / "__init__.py").write_text(
        "from stashjobs import around\n\n"
        "@around('attempt')\ndef hook(payload, context):\n    yield\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(hooks, "MODULE", "functions_of_a_test.hooks")
    monkeypatch.setattr(hooks, "_is_loaded", False)
    assert [hook.__name__ for hook in hooks.declared("attempt")] == ["hook"]
    assert hooks.declared("enqueue") == ()
    del sys.modules["functions_of_a_test.hooks"]
    # And where there are none, nothing is imported.
    monkeypatch.setattr(hooks, "_is_loaded", False)
    monkeypatch.setattr(hooks, "MODULE", "no_such_package.hooks")
    assert len(hooks.declared("attempt")) == 1
