"""The log: JSON lines by Powertools' Logger, one per transition of a job, never a secret in one."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

from stashjobs.config import settings

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

# Powertools' logger is the standard library's of this name, with a handler that formats.
SERVICE = "stashjobs"
# Powertools' own name for it.
SAMPLE_RATE = "POWERTOOLS_LOGGER_SAMPLE_RATE"

# The layer's own keys of the delivery that is at work. Not read back from the logger, to whose keys
# the job's function may add.
_delivery: dict[str, Any] = {}


@functools.cache
def logger() -> Logger:
    """The process's logger. Imported at first use: an app that only enqueues need not have it."""
    from aws_lambda_powertools import Logger

    # It has to be known before the first line, so it is read from the environment alone.
    given = os.environ.get(SAMPLE_RATE, "").strip() or "0"
    rate = _share(given)
    # Without a rate of ours Powertools reads the variable, and raises an error if it is no number.
    made = Logger(
        service=SERVICE,
        level=settings.known("LOG_LEVEL") or "INFO",
        sampling_rate=rate or 0.0,
        utc=True,
    )
    if rate is None:
        made.warning(f"{SAMPLE_RATE} is not a number from 0 to 1, so no debug lines are sampled")
    return made


def begin_delivery(job_type: str, request_id: str) -> None:
    """Begin the log of one delivery: without any key that the one before was given, and with debug
    lines for a share of all deliveries (`POWERTOOLS_LOGGER_SAMPLE_RATE`)."""
    log = logger()
    # Discards all keys but Powertools' own. Of those, a rate of 0.0 would be on every line.
    log.structure_logs(sampling_rate=log.sampling_rate or None)
    _delivery.clear()
    append_keys(job_type=job_type, function_request_id=request_id)
    if log.sampling_rate:
        # Powertools draws once for the life of a process; only its decorator draws again, and
        # that one would log what Lambda hands over (Powertools docs, "Sampling debug logs").
        log.refresh_sample_rate_calculation()


def append_keys(**keys: Any) -> None:
    """Have every line of this delivery from now on say this too. A key that is None is on none."""
    _delivery.update(keys)
    logger().append_keys(**keys)


def delivery_keys() -> dict[str, Any]:
    """What is known by now of the delivery that is at work, as its lines say it."""
    return {name: value for name, value in _delivery.items() if value is not None}


def _share(text: str) -> float | None:
    try:
        share = float(text)
    except ValueError:
        return None
    return share if 0 <= share <= 1 else None
