"""The log: Powertools JSON lines, one per transition of a job, never a secret in one."""

from __future__ import annotations

import functools
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from stashjobs.config import settings

if TYPE_CHECKING:
    from aws_lambda_powertools import Logger

# Powertools' logger is the standard library's of this name, with a handler that formats.
SERVICE = "stashjobs"
# Powertools' own name for it.
SAMPLE_RATE = "POWERTOOLS_LOGGER_SAMPLE_RATE"
# What the lines of one delivery say of it.
DELIVERY_KEYS = (
    "job_type",
    "function_request_id",
    "job_id",
    "message_id",
    "retried",
    "attempt",
    "user_id",
    "organization_id",
    "trace_id",
)
_NOTHING_KNOWN = dict.fromkeys(DELIVERY_KEYS)


@functools.cache
def logger() -> Logger:
    """The process's logger. Imported at first use: an app that only enqueues need not have it."""
    from aws_lambda_powertools import Logger

    from stashjobs.observability.log_format import Formatter

    # It has to be known before the first line, so it is read from the environment alone.
    given = os.environ.get(SAMPLE_RATE, "").strip()
    rate = _share(given) if given else None
    wrong = bool(given) and rate is None
    level = settings.known("LOG_LEVEL") or "INFO"
    # Without a rate of ours Powertools reads the variable, and raises an error if it is no number.
    made = Logger(
        service=SERVICE,
        level=level,
        sampling_rate=0.0 if wrong else rate,
        logger_formatter=Formatter(),
    )
    if not rate:
        made.remove_keys(["sampling_rate"])  # Powertools would say 0.0 on every line
    if wrong:
        made.warning(f"{SAMPLE_RATE} is not a number from 0 to 1, so no debug lines are sampled")
    return made


def begin_delivery(job_type: str, request_id: str) -> Logger:
    """The logger for the lines of one delivery: without the keys of the one before, and with
    debug lines for a share of all deliveries (`POWERTOOLS_LOGGER_SAMPLE_RATE`)."""
    log = logger()
    # A key that is None is on no line.
    append_keys(**{**_NOTHING_KNOWN, "job_type": job_type, "function_request_id": request_id})
    if log.sampling_rate:
        # Powertools draws once for the life of a process; only its decorator draws again, and
        # that one would log what Lambda hands over (Powertools docs, "Sampling debug logs").
        log.refresh_sample_rate_calculation()
    return log


def info(message: str, **keys: Any) -> None:
    """What `logger().info` does, for the lines that every delivery writes. It takes its caller for
    the place that says it, and so need not look for that place up the stack."""
    log = logging.getLogger(SERVICE)
    if not log.isEnabledFor(logging.INFO):
        return
    caller = sys._getframe(1)
    code = caller.f_code
    record = logging.getLogRecordFactory()(
        SERVICE,
        logging.INFO,
        code.co_filename,
        caller.f_lineno,
        message,
        (),
        None,
        func=code.co_name,
    )
    record.__dict__.update(keys)
    log.handle(record)


def append_keys(**keys: Any) -> None:
    """Have every line from now on say this too."""
    _formatter().append_keys(**keys)


def delivery_keys() -> dict[str, Any]:
    """What is known by now of the delivery that is at work, as its lines say it."""
    keys = _formatter().get_current_keys()
    return {name: keys[name] for name in DELIVERY_KEYS if keys.get(name) is not None}


def _formatter() -> Any:
    """What keeps the keys. The logger's own methods find it by three properties each time."""
    return logger().logger_handler.formatter


def _share(text: str) -> float | None:
    try:
        share = float(text)
    except ValueError:
        return None
    return share if 0 <= share <= 1 else None
