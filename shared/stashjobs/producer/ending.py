"""Wait for the end of a job: look again and again, with no connection and no transaction held
between two looks."""

from __future__ import annotations

import asyncio
import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from stashjobs import encryption
from stashjobs.config import settings
from stashjobs.encryption import Place
from stashjobs.errors import NoSuchJob
from stashjobs.store import database, executions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stashjobs.store.executions import JobState

FIRST_PAUSE, LONGEST_PAUSE, GROWTH = 0.05, 1.0, 1.5


def wait(job_id: str, seconds: float) -> JobState:
    """How a job stands as soon as it has ended, or after so many seconds.

    Raises:
        ValueError: `seconds` makes no sense.
        NoSuchJob: There is no such job, or its transaction has not been committed by then.
    """
    wait_until_ended(job_id, seconds)
    with database.borrowed() as own:
        return _stands(own, job_id)


def wait_until_ended(job_id: str, seconds: float) -> None:
    """`wait`, which says nothing in the end.

    Raises:
        ValueError: `seconds` makes no sense.
    """
    for pause in _pauses(seconds):
        with database.borrowed() as own:
            if executions.has_ended(own, job_id):
                return
        time.sleep(pause)


async def wait_async(job_id: str, seconds: float) -> JobState:
    """`wait` beside an event loop. Each look is taken in a thread, on the process's pool or on a
    connection of its own."""
    for pause in _pauses(seconds):
        if await asyncio.to_thread(_has_ended_apart, job_id):
            break
        await asyncio.sleep(pause)
    return await asyncio.to_thread(_stands_apart, job_id)


def _pauses(seconds: float) -> Iterator[float]:
    """The pauses between looks, as long as there is time."""
    given: object = seconds
    is_number = isinstance(given, int | float) and not isinstance(given, bool)
    if not (is_number and math.isfinite(seconds) and seconds >= 0):
        raise ValueError(f"seconds is {seconds!r}, it must be 0 or more")
    return _growing(time.monotonic() + seconds)


def _growing(until: float) -> Iterator[float]:
    pause = FIRST_PAUSE
    while (left := until - time.monotonic()) > 0:
        yield min(pause, left)
        pause = min(LONGEST_PAUSE, pause * GROWTH)


def _has_ended_apart(job_id: str) -> bool:
    with _apart() as own:
        return executions.has_ended(own, job_id)


def _stands_apart(job_id: str) -> JobState:
    with _apart() as own:
        return _stands(own, job_id)


@contextmanager
def _apart() -> Iterator[database.Connection]:
    """A connection that does not stay with the thread, which belongs to the event loop."""
    if database.has_pool():
        with database.borrowed() as pooled:
            yield pooled
    else:
        with database.connect(settings.postgres_url()) as own:
            yield own


def _stands(own: database.Connection, job_id: str) -> JobState:
    state = executions.find_state(own, job_id)
    if state is None:
        raise NoSuchJob(f"there is no job {job_id}")
    return state._replace(result=_decrypted(state))


def _decrypted(state: JobState) -> Any:
    if not encryption.is_encrypted(state.result):
        return state.result
    return encryption.decrypt(state.result, Place(state.job_id, state.job_type, "result"))
