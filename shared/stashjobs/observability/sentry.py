"""Sentry: the errors of jobs, where `SENTRY_DSN` is set and the extra `sentry` is installed.

A client of its own beside whatever the process's code does with Sentry: it watches nothing, so it
has no breadcrumbs, no local variables and no request to send. sentry-sdk is imported at the first
error, never in a cold start.
"""

from __future__ import annotations

import functools
import logging
import os
from typing import TYPE_CHECKING, Any, Literal

from stashjobs.config import settings
from stashjobs.errors import SettingError
from stashjobs.observability import redaction

if TYPE_CHECKING:
    from sentry_sdk import Client
    from sentry_sdk.types import Event

DSN = "SENTRY_DSN"
# The answer to QStash waits for the report.
FLUSH_SECONDS = 2.0

log = logging.getLogger("stashjobs")


def report(
    error: BaseException,
    level: Literal["warning", "error"],
    *,
    job_id: str,
    job_type: str,
    attempt: int,
) -> None:
    """Tell Sentry how an attempt ended; nothing while `SENTRY_DSN` is not set. Never raises.

    Args:
        error: As the row may show it (`redaction.Redacted` where the job is encrypted).
        level: `error` where the job has failed, `warning` where it will be repeated.
        job_id, job_type, attempt: Which attempt it was, as tags; who it is for is not told.
    """
    try:
        dsn = settings.optional(DSN)
        client = None if dsn is None else _client(dsn, settings.stage())
        if client is None:
            return
        event = _event(error, client)
        event["level"] = level
        event["tags"] = {
            "job_id": job_id,
            "job_type": job_type,
            "attempt": str(attempt),
        }
        client.capture_event(event)
        client.flush(timeout=FLUSH_SECONDS)
    except SettingError:
        return  # unknown whether it is set; the code that needs the secret reports it
    except BaseException as failure:  # noqa: BLE001 - a report must not change how the job ended
        log.warning("the error could not be reported to Sentry: %s", redaction.one_line(failure))


def _event(error: BaseException, client: Client) -> Event:
    from sentry_sdk.utils import event_from_exception

    if issubclass(type(error), redaction.Redacted):
        shown = {"type": redaction.type_name(error), "value": str(error)}
        return {"exception": {"values": [shown]}}
    event, _hint = event_from_exception(error, client_options=client.options)
    for each in event["exception"]["values"]:
        each["value"] = redaction.shortened(redaction.redact(str(each["value"])))
    return event


def forget() -> None:
    """Forget where errors go."""
    _client.cache_clear()


@functools.lru_cache(maxsize=1)
def _client(dsn: str, stage: str) -> Client | None:
    try:
        from sentry_sdk import Client
    except ImportError:
        log.warning("%s is set and sentry_sdk is not installed, see docs/monitoring.md", DSN)
        return None
    # What the SDK would collect by itself about persons is off unless one asks for it (Sentry docs,
    # "Data Collected"), and the option that says so is deprecated.
    options: dict[str, Any] = {
        "environment": stage,
        "server_name": os.environ.get("AWS_LAMBDA_FUNCTION_NAME", ""),
        "default_integrations": False,
        "auto_enabling_integrations": False,
        "auto_session_tracking": False,
        "send_client_reports": False,
        "include_local_variables": False,
        "max_breadcrumbs": 0,
        "shutdown_timeout": FLUSH_SECONDS,
    }
    return Client(dsn, **options)
