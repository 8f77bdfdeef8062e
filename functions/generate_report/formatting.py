"""Numbers as a person writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import datetime


def count(value: float) -> str:
    """`12,408`."""
    return f"{value:,.0f}"


def share(part: float, whole: float) -> str:
    """`98.7 %`; never rounded up to a perfect 100, nor down to a harmless 0."""
    if not whole:
        return "–"
    percent = 100 * part / whole
    if part not in {0, whole}:
        percent = min(max(percent, 0.1), 99.9)
    return f"{percent:.1f} %" if percent % 100 else f"{percent:.0f} %"


def duration(seconds: float | None) -> str:
    """`420 ms`, `3.2 s`, `2 min 05 s`, `7 h 12 min`."""
    if seconds is None:
        return "–"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02} s"
    return f"{minutes // 60:,} h {minutes % 60:02} min"


def change(now: float, before: float, days: int) -> str:
    """`+12 % on the 30 days before`."""
    span = "day" if days == 1 else f"{days} days"
    if not before:
        return f"none in the {span} before" if now else ""
    percent = 100 * (now - before) / before
    if abs(percent) < 0.5:
        return f"as in the {span} before"
    sign = "+" if percent > 0 else "−"
    return f"{sign}{abs(percent):,.0f} % on the {span} before"


def moment(value: datetime) -> str:
    """`9 Jun, 14:05`, in the value's own time zone."""
    return f"{value.day} {value:%b, %H:%M}"
