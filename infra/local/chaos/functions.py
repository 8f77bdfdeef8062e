"""The Lambda entries of a chaos run.

The product as it is, with shorter waits: what takes minutes in production must happen many times
in one minute here.
"""

from __future__ import annotations

import os
import random
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from functions.cleanup_old_data import cleaner
from infra.local.chaos.job import chaos, chaos_failed, clean_up
from stashjobs import files
from stashjobs.delivery import answers
from stashjobs.delivery import handler as worker
from stashjobs.store import executions

if TYPE_CHECKING:
    from collections.abc import Mapping

worker.LEASE_GRACE_SECONDS = 1.0
worker.DATABASE_RETRY_SECONDS = 1
answers.BUSY_RETRY_SECONDS = 1
cleaner.RESERVE_SECONDS = 1.0
cleaner.IDLE_SECONDS = 1.0

# Each process is a machine and a version of its own.
_dice = random.Random(os.getpid())
# Behind QStash's clock a worker refuses what it is sent: few do, or every job would be refused.
CLOCK_SECONDS = _dice.choices([0, 120, -120], [12, 7, 1])[0]
if _dice.random() < 0.5:
    # The calls of the version before, which knows no nonce.
    for name in ("CLAIM", "CLAIM_OR_RECORD"):
        call = getattr(executions, name)
        setattr(executions, name, call.replace(", nonce => %(nonce)s", ""))

_real_time = time.time
time.time = lambda: _real_time() + CLOCK_SECONDS


_real_put = files.put


def _put_slowly(key: str, content: bytes, content_type: str) -> None:
    """S3 at the other end of a slow line, so that a cleaner is often stopped before or after."""
    time.sleep(_dice.uniform(0, 0.05))
    _real_put(key, content, content_type)
    time.sleep(_dice.uniform(0, 0.05))


files.put = _put_slowly


class Machine:
    """Lambda's context on a machine whose clock is off: Lambda counts by the same clock."""

    def __init__(self, lambda_context: Any) -> None:
        self._lambda_context = lambda_context

    def get_remaining_time_in_millis(self) -> int:
        left: int = self._lambda_context.get_remaining_time_in_millis()
        return left + CLOCK_SECONDS * 1000

    def __getattr__(self, name: str) -> Any:
        return getattr(self._lambda_context, name)


def handler(event: Any, lambda_context: Any) -> Any:
    """The worker."""
    return chaos.handler(event, Machine(lambda_context))


def failed_handler(event: Any, lambda_context: Any) -> Any:
    """The worker of what follows a failure."""
    return chaos_failed.handler(event, Machine(lambda_context))


def clean_up_handler(event: Any, lambda_context: Any) -> Any:
    """The clean-up, which is a job like others."""
    return clean_up.handler(event, Machine(lambda_context))


def relay_handler(event: Mapping[str, Any], lambda_context: Any) -> dict[str, int]:
    """functions/relay, which declares the job types of production, with this one."""
    from stashjobs.recovery import relay

    seconds = Machine(lambda_context).get_remaining_time_in_millis() / 1000 - 10
    return asdict(relay.run(time.time() + seconds, quiet_seconds=event["quiet_seconds"]))
