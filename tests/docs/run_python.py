"""`python -m tests.docs.run_python`: run the source on standard input, in which `async with` may
stand at the top, as it does in a guide. Every function that it defines has to be called by the end,
but those whose names are the arguments."""

from __future__ import annotations

import ast
import asyncio
import inspect
import sys
from typing import TYPE_CHECKING, Any

from stashjobs import encryption
from stashjobs.encryption import Place
from stashjobs.ids import new_job_id
from stashjobs.job import Job
from stashjobs.operators import search
from stashjobs.producer import qstash_client
from stashjobs.store import database
from stashjobs.testing.deliveries import lambda_context

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from stashjobs.operators.search import JobExecution

GUIDE = "<guide>"


def ran(job: Job[Any, Any], payload: Any) -> JobExecution:
    """The row of a job after its function ran once, as where its Lambda is invoked directly."""
    job_id = new_job_id()
    document = job.dump_payload(payload)
    if job.encrypted:
        document = encryption.encrypt(document, Place(job_id, job.type, "payload"))
    job.handler({"jobId": job_id, "type": job.type, "payload": document}, lambda_context())
    row = search.find(database.connection(), job_id)
    assert row is not None, job_id
    return row


def run(source: str, not_called: set[str]) -> None:
    """Run it.

    Raises:
        AssertionError: A function of it was not called, or one that need not be is not there.
    """
    names: dict[str, Any] = {"__name__": "__main__", "ran": ran}
    code = compile(source, GUIDE, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    called: set[CodeType] = set()

    def note(frame: FrameType, event: str, _argument: object) -> None:
        if event == "call" and frame.f_code.co_filename == GUIDE:
            called.add(frame.f_code)

    sys.setprofile(note)
    try:
        result = eval(code, names)  # noqa: S307 - a guide of this repository
        if inspect.iscoroutine(result):
            asyncio.run(result)
    finally:
        sys.setprofile(None)
        database.close_pool()
        database.close()
        qstash_client.close()
    uncalled = {each.co_name for each in functions_of(names) - called}
    assert uncalled == not_called, f"not called: {uncalled}, and to be: {not_called}"


def functions_of(names: dict[str, Any]) -> set[CodeType]:
    """The code of the functions that the source defines at its top, also of job types."""
    functions = [each.function if isinstance(each, Job) else each for each in names.values()]
    found = {each.__code__ for each in functions if inspect.isfunction(each)}
    return {each for each in found if each.co_filename == GUIDE}


if __name__ == "__main__":
    run(sys.stdin.read(), set(sys.argv[1:]))
