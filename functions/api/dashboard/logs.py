"""Links to CloudWatch Logs Insights, with the query filled in: a job's lines, or a function's.

The region and the log group are those that Lambda tells this function (AWS docs, "Defined runtime
environment variables"): the template names the group of each function beside the API's. Where they
are not known, as on a developer's machine, there are no links.
"""

from __future__ import annotations

import json
import os
import re
from datetime import UTC, datetime, timedelta

from stashjobs.config import settings

CONSOLES = {
    "cn-": "console.amazonaws.cn",
    "us-gov-": "console.amazonaws-us-gov.com",
}
# Clocks differ, and a line comes a little later than what it tells of.
MARGIN = timedelta(minutes=5)
_PLAIN = re.compile(r"[A-Za-z0-9_.-]")


def of_job(job_id: str, job_type: str, since: datetime, until: datetime | None = None) -> str:
    """The lines of a job in its function's log, from when it was recorded.

    Args:
        job_id: Which.
        job_type: Whose function.
        since: When it was recorded.
        until: When it ended. None: now.

    Returns:
        The address; empty where the region or the log group is not known.
    """
    query = (
        "fields @timestamp, level, message, error\n"
        f"| filter job_id = {json.dumps(job_id, ensure_ascii=False)}\n"
        "| sort @timestamp"
    )
    return _link(job_type, query, since - MARGIN, (until or datetime.now(UTC)) + MARGIN)


def of_function(name: str) -> str:
    """The lines of a function's last hour, the newest first. Empty as in `of_job`."""
    now = datetime.now(UTC)
    query = "fields @timestamp, level, message, error\n| sort @timestamp desc\n| limit 200"
    return _link(name, query, now - timedelta(hours=1), now + MARGIN)


def _link(function: str, query: str, start: datetime, end: datetime) -> str:
    region = os.environ.get("AWS_REGION", "")
    groups = os.environ.get("AWS_LAMBDA_LOG_GROUP_NAME", "").rpartition("/")[0]
    if not region or not groups or settings.stage() == "local":
        return ""
    console = next(
        (host for prefix, host in CONSOLES.items() if region.startswith(prefix)),
        "console.aws.amazon.com",
    )
    detail = (
        f"~(end~{_text(_moment(end))}~start~{_text(_moment(start))}~timeType~{_text('ABSOLUTE')}"
        f"~tz~{_text('UTC')}~editorString~{_text(query)}~source~(~{_text(f'{groups}/{function}')}))"
    )
    return (
        f"https://{region}.{console}/cloudwatch/home?region={region}"
        f"#logsV2:logs-insights$3FqueryDetail$3D{detail}"
    )


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _text(value: str) -> str:
    """A string as the console writes it into its addresses: JSURL."""
    units = value.encode("utf-16-be", "surrogatepass")
    written = (
        int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)
    )  # JavaScript's characters
    return "'" + "".join(map(_character, written))


def _character(unit: int) -> str:
    if unit < 128 and _PLAIN.fullmatch(chr(unit)):
        return chr(unit)
    if unit == ord("$"):
        return "!"
    return f"*{unit:02x}" if unit < 256 else f"**{unit:04x}"
