"""The Lambda entry of `faulty`, in a process that dies where a test tells it to.

A file in the folder CRASHES, by the name of a step, is an order: who takes it away dies there, by
SIGKILL. So each order kills one process, once.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stashjobs.delivery import answers, attempt, claim, receive, record
from stashjobs.delivery import handler as worker
from tests.faults import jobs

if TYPE_CHECKING:
    from collections.abc import Callable

# Leases and pauses of a second, so that what follows a crash can be waited for.
worker.LEASE_GRACE_SECONDS = 0.5
answers.BUSY_RETRY_SECONDS = 1
worker.DATABASE_RETRY_SECONDS = 1


def die_if_ordered(step: str) -> None:
    try:
        (Path(os.environ["CRASHES"]) / step).unlink()
    except FileNotFoundError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


def dying(step: Callable[..., Any], *, before: str = "", after: str = "") -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        if before:
            die_if_ordered(before)
        result = step(*arguments)
        if after:
            die_if_ordered(after)
        return result

    return run


receive.message = dying(receive.message, before="before verify")
claim.take = dying(claim.take, before="before claim", after="before run")
attempt.run = dying(attempt.run, after="before record")
record.write = dying(record.write, after="before answer")
jobs.during_run = dying(jobs.during_run, before="during run")

handler = jobs.faulty.handler
