"""Times and texts as people read them, beside `stashjobs.wording`. The templates' filters."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from stashjobs import wording

MINUTE, HOUR, DAY = 60, 3_600, 86_400


def ago(moment: datetime) -> str:
    """`3 min ago`, `in 2 h`, `just now`: one unit, which is enough at a glance."""
    seconds = (datetime.now(UTC) - moment).total_seconds()
    size = abs(seconds)
    if size < 2:
        return "just now"
    for unit, name in ((DAY, "d"), (HOUR, "h"), (MINUTE, "min"), (1, "s")):
        if size >= unit:
            words = f"{int(size // unit)} {name}"
            return f"in {words}" if seconds < 0 else f"{words} ago"
    return "just now"


def utc(moment: datetime) -> str:
    """`2026-11-24 08:42:09 UTC`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(moment: datetime) -> str:
    """`08:42`."""
    return moment.astimezone(UTC).strftime("%H:%M")


def iso(moment: datetime) -> str:
    """For `<time datetime>`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")


def short_id(job_id: str) -> str:
    """The end of an id, which tells UUIDv7s apart; their beginning is the time."""
    return job_id if len(job_id) <= 12 else f"…{job_id[-8:]}"


def pretty(document: Any) -> str:
    """JSON, for people."""
    return json.dumps(document, indent=2, ensure_ascii=False, default=str)


def first_sentence(text: str) -> str:
    """Of a docstring."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.;:]) ", paragraph)[0].rstrip(";:")


def seconds_between(start: datetime, end: datetime) -> float:
    """How long, in seconds; not below 0."""
    return max(0.0, (end - start) / timedelta(seconds=1))


_FUNCTIONS = (
    wording.number, wording.about, wording.rate, wording.percent, wording.duration, wording.plural,
    wording.cron, ago, utc, clock, iso, short_id, pretty, first_sentence,
)  # fmt: skip
FILTERS = {each.__name__: each for each in _FUNCTIONS}
