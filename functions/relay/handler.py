"""Lambda entry: `functions.relay.handler.handler`, invoked by a schedule every minute."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from stashjobs.job_type import load
from stashjobs.observability.log import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

# The last batch may still have to be confirmed when the time for new ones is up.
RESERVE_SECONDS = 10.0


def handler(_event: Mapping[str, Any], lambda_context: Any) -> dict[str, int]:
    """Publish unpublished jobs, free expired leases and record dead letters."""
    from stashjobs.recovery import relay

    load()
    seconds = lambda_context.get_remaining_time_in_millis() / 1000 - RESERVE_SECONDS
    report = asdict(relay.run(time.time() + seconds))
    if any(report.values()):
        logger().info("relayed", extra=report)
    return report
