"""The Lambda entries of a chaos run.

The product as it is, with shorter waits: what takes minutes in production must happen many times
in one minute here.
"""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from infra.local.chaos.job import chaos
from stashjobs.delivery import handler as worker

if TYPE_CHECKING:
    from collections.abc import Mapping

worker.LEASE_GRACE_SECONDS = 1.0
worker.DATABASE_RETRY_SECONDS = 1
worker.BUSY_RETRY_SECONDS = 1

handler = chaos.handler


def relay_handler(event: Mapping[str, Any], lambda_context: Any) -> dict[str, int]:
    """functions/relay, which declares the job types of production, with this one."""
    from stashjobs.recovery import relay

    seconds = lambda_context.get_remaining_time_in_millis() / 1000 - 10
    return asdict(relay.run(time.time() + seconds, quiet_seconds=event["quiet_seconds"]))
