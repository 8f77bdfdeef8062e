"""Numbers, durations and cron expressions in words, the same in the dashboard, on the command line,
in reports and in notifications."""

from __future__ import annotations

from datetime import UTC, datetime

NONE = "–"
_MINUTE, _HOUR, _DAY = 60, 3_600, 86_400


def number(value: float) -> str:
    """`12,345`."""
    return f"{value:,.0f}"


def plural(count: int, one: str, many: str | None = None) -> str:
    """`1 job`, `12 jobs`."""
    return f"{number(count)} {one if count == 1 else many or one + 's'}"


def about(value: float) -> str:
    """A rough number in a few characters: `1.2 M`, `48 k`, `950`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size * 0.9995:  # what would be rounded to a thousand of the smaller unit
            scaled = value / size
            return f"{scaled:.1f} {unit}" if scaled < 9.95 else f"{scaled:.0f} {unit}"
    return number(value)


def rate(per_minute: float) -> str:
    """How often in a minute: `0.4`, `7.2`, `48`; never 0 where it is not quite that."""
    if 0 < per_minute < 0.05:
        return "< 0.1"
    return f"{per_minute:.1f}" if 0 < per_minute < 9.95 else number(per_minute)


def percent(share: float | None) -> str:
    """A share of 1 as `4.2 %`; never 0 or 100 where it is not quite that."""
    if share is None:
        return NONE
    value = share * 100
    if 0 < value < 0.1:
        return "< 0.1 %"
    if 99.9 < value < 100:
        return "> 99.9 %"
    return f"{value:.0f} %" if value in {0, 100} else f"{value:.1f} %"


def duration(seconds: float | None) -> str:
    """`340 ms`, `4.2 s`, `3 min 20 s`, `5 h 10 min`, `2 d 4 h`."""
    if seconds is None:
        return NONE
    if seconds < 0.9995:
        return f"{max(0.0, seconds) * 1000:.0f} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for size, unit, part, part_unit in (
        (_DAY, "d", _HOUR, "h"),
        (_HOUR, "h", _MINUTE, "min"),
        (_MINUTE, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // part
            words = f"{whole // size:,} {unit}"
            return f"{words} {rest} {part_unit}" if rest else words
    return f"{whole} s"


def cron(expression: str) -> str:
    """`at 03:00 every day`, as CronSim explains it; empty for what is no cron expression."""
    from cronsim import CronSim, CronSimError

    from stashjobs.producer.cron import DESCRIPTORS

    fields = DESCRIPTORS.get(expression.strip(), expression).replace("?", "*")
    try:
        words = CronSim(fields, datetime.now(UTC)).explain()
    except CronSimError:
        return ""
    return words[:1].lower() + words[1:]
