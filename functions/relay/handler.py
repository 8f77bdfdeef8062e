"""Lambda entry: `functions.relay.handler.handler`, invoked by a schedule every minute."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stashjobs.job_type import load
from stashjobs.observability.log import logger
from stashjobs.recovery.idle import Idle

if TYPE_CHECKING:
    from collections.abc import Mapping

# The last batch may still have to be confirmed when the time for new ones is up.
RESERVE_SECONDS = 10.0


_idle = Idle()


def handler(_event: Mapping[str, Any], lambda_context: Any) -> dict[str, int]:
    """Publish unpublished jobs, free expired leases and record dead letters; nothing where it is
    certain that nothing is open."""
    if _idle.is_certain():
        return {}
    from stashjobs.producer import message
    from stashjobs.recovery import relay
    from stashjobs.store import database, outbox

    began = time.time()
    load(skip_broken=True)
    seconds = lambda_context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    report = asdict(relay.run(time.time() + seconds))
    if any(report.values()):
        logger().info("relayed", extra=report)
    if _idle.is_wanted():
        horizon = message.horizon_seconds()
        empty = not outbox.is_anything_open(database.connection(), horizon_seconds=horizon)
        _idle.remember(began, empty=empty)
        if empty:
            database.close()  # an open connection keeps some databases awake
    return report
