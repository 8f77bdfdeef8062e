"""How a report words shares, changes and times, beside `stashjobs.wording`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stashjobs import wording

if TYPE_CHECKING:
    from datetime import datetime


def share(part: float, whole: float) -> str:
    """`98.7 %`; `–` of nothing."""
    return wording.percent(part / whole if whole else None)


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
