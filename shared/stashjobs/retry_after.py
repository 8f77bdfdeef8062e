"""The header `Retry-After` of a service that a job calls (RFC 9110, section 10.2.3)."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def retry_after(headers: Mapping[str, Any] | None, *, longest: float) -> float | None:
    """The seconds to wait, from 0 to `longest`, whether the header gives a number or a date; None
    where there is no such header, or it cannot be read."""
    given = {name.lower(): value for name, value in (headers or {}).items()}
    value = str(given.get("retry-after", "")).strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            until = parsedate_to_datetime(value)
        except ValueError:
            return None
        seconds = (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), longest) if math.isfinite(seconds) else None
