"""Numbers and times as people read them. Every function here is a filter of the templates."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

DASH = "–"
MINUTE, HOUR, DAY = 60, 3_600, 86_400


def number(value: float) -> str:
    """`12,345`."""
    return f"{value:,.0f}"


def about(value: float) -> str:
    """A rough number in a few characters: `1.2 M`, `48 k`, `950`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            scaled = value / size
            return f"{scaled:.1f} {unit}" if scaled < 10 else f"{scaled:.0f} {unit}"
    return number(value)


def rate(per_minute: float) -> str:
    """How often in a minute: `0.4`, `7.2`, `48`; never 0 where it is not quite that."""
    if 0 < per_minute < 0.05:
        return "< 0.1"
    return f"{per_minute:.1f}" if 0 < per_minute < 10 else number(per_minute)


def percent(rate: float | None) -> str:
    """A share of 1 as `4.2 %`; never 0 or 100 where it is not quite that."""
    if rate is None:
        return DASH
    value = rate * 100
    if 0 < value < 0.1:
        return "< 0.1 %"
    if 99.9 < value < 100:
        return "> 99.9 %"
    return f"{value:.0f} %" if value in {0, 100} else f"{value:.1f} %"


def duration(seconds: float | None) -> str:
    """`340 ms`, `4.2 s`, `3 min 20 s`, `5 h 10 min`, `2 d 4 h`."""
    if seconds is None:
        return DASH
    if seconds < 0.9995:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    for size, unit, part, part_unit in (
        (DAY, "d", HOUR, "h"),
        (HOUR, "h", MINUTE, "min"),
        (MINUTE, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // part
            return (
                f"{whole // size} {unit} {rest} {part_unit}" if rest else f"{whole // size} {unit}"
            )
    return f"{whole} s"


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


_WEEKDAYS = ("Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
# What most schedules are, from the finest to the coarsest.
_CRONS = tuple(
    (re.compile(pattern), text)
    for pattern, text in (
        (r"\* \* \* \* \*", "every minute"),
        (r"\*/1 \* \* \* \*", "every minute"),
        (r"\*/(?P<n>\d+) \* \* \* \*", "every {n} minutes"),
        (r"(?P<minute>\d+) \* \* \* \*", "every hour at :{minute}"),
        (r"(?P<minute>\d+) \*/1 \* \* \*", "every hour at :{minute}"),
        (r"(?P<minute>\d+) \*/(?P<n>\d+) \* \* \*", "every {n} hours at :{minute}"),
        (r"(?P<minute>\d+) (?P<hour>\d+) \* \* \*", "every day at {hour}:{minute}"),
        (r"(?P<minute>\d+) (?P<hour>\d+) \* \* 1-5", "Monday to Friday at {hour}:{minute}"),
        (r"(?P<minute>\d+) (?P<hour>\d+) \* \* (?P<day>[0-7])", "every {day} at {hour}:{minute}"),
        (r"(?P<minute>\d+) (?P<hour>\d+) 1 \* \*", "the first of a month at {hour}:{minute}"),
    )
)


def cron(expression: str) -> str:
    """The usual cron expressions in words: `every day at 03:00`; empty for any other."""
    for pattern, text in _CRONS:
        if found := pattern.fullmatch(" ".join(expression.split())):
            parts = found.groupdict()
            for name in {"minute", "hour"} & parts.keys():
                parts[name] = parts[name].zfill(2)
            if "day" in parts:
                parts["day"] = _WEEKDAYS[int(parts["day"])]
            return text.format(**parts)
    return ""


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 job`, `12 jobs`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def first_sentence(text: str) -> str:
    """Of a docstring."""
    paragraph = " ".join(text.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.;:]) ", paragraph)[0].rstrip(";:")


def seconds_between(start: datetime, end: datetime) -> float:
    """How long, in seconds; not below 0."""
    return max(0.0, (end - start) / timedelta(seconds=1))


_FUNCTIONS = (
    number, about, rate, percent, duration, ago, utc, clock, iso, short_id, pretty, plural, cron,
    first_sentence,
)  # fmt: skip
FILTERS = {each.__name__: each for each in _FUNCTIONS}
