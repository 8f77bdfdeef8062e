"""Cron expressions, checked where a schedule is declared and not first by QStash.

QStash's error messages are those of Go's robfig/cron, so its standard parser is what decides:
minute, hour, day of month, month and day of week, or one of its descriptors
(https://pkg.go.dev/github.com/robfig/cron/v3).
"""

from __future__ import annotations

import calendar
import re
from typing import NamedTuple

DESCRIPTORS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_WEEKDAYS = {"sun": 0, "mon": 1, "tue": 2, "wed": 3, "thu": 4, "fri": 5, "sat": 6}
_DAYS_OF_MONTH = (0, 31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_NUMBER = re.compile(r"[0-9]{1,4}")


class _Field(NamedTuple):
    name: str
    lowest: int
    highest: int
    names: dict[str, int]


_FIELDS = (
    _Field("minute", 0, 59, {}),
    _Field("hour", 0, 23, {}),
    _Field("day of month", 1, 31, {}),
    _Field("month", 1, 12, _MONTHS),
    _Field("day of week", 0, 6, _WEEKDAYS),
)


def check(expression: str) -> None:
    """Return if QStash takes the expression and it fires some day.

    Raises:
        ValueError: It does not; the message names the field.
    """
    texts = DESCRIPTORS.get(expression.strip(), expression).split()
    if len(texts) != len(_FIELDS):
        raise ValueError(f"cron {expression!r} must have five fields")
    values = [_values(text, field) for text, field in zip(texts, _FIELDS, strict=True)]
    _, _, days, months, _ = values
    # With a day of week as well, either is enough (robfig/cron, "Day of month").
    any_weekday = texts[4].startswith(("*", "?"))
    if any_weekday and min(days) > max(_DAYS_OF_MONTH[month] for month in months):
        raise ValueError(
            f"cron {expression!r} never fires: "
            f"day of month {texts[2]!r} is in no month {texts[3]!r}"
        )


def _values(text: str, field: _Field) -> set[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, slash, step = part.partition("/")
        every = _number(step, field, {}) if slash else 1
        if every == 0:
            raise _misfit(field, text, "a step of 0")
        first, last = _span(span, field, text, open_ended=bool(slash))
        if first < field.lowest or last > field.highest:
            raise _misfit(field, text, f"it must be from {field.lowest} to {field.highest}")
        if first > last:
            raise _misfit(field, text, f"{first} is after {last}")
        found.update(range(first, last + 1, every))
    return found


def _span(span: str, field: _Field, text: str, *, open_ended: bool) -> tuple[int, int]:
    if span in {"*", "?"}:
        return field.lowest, field.highest
    ends = span.split("-")
    if len(ends) > 2:
        raise _misfit(field, text, "too many hyphens")
    first = _number(ends[0], field, field.names)
    if len(ends) == 2:
        return first, _number(ends[1], field, field.names)
    return first, field.highest if open_ended else first


def _number(word: str, field: _Field, names: dict[str, int]) -> int:
    if word.lower() in names:
        return names[word.lower()]
    if _NUMBER.fullmatch(word) is None:
        raise _misfit(field, word, "it is not a number" + (" or a name" if names else ""))
    return int(word)


def _misfit(field: _Field, text: str, reason: str) -> ValueError:
    return ValueError(f"the cron expression's {field.name} is {text!r}: {reason}")
