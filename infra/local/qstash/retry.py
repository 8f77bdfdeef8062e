"""When a failed delivery is tried again (docs: "Retry")."""

from __future__ import annotations

import math
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from stashjobs.producer.retry_delay import ExpressionError, evaluate

from .duration import parse_go_seconds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_DELAY_SECONDS = 86400
_HEADERS = (
    "retry-after",
    "x-ratelimit-reset",
    "x-ratelimit-reset-requests",
    "x-ratelimit-reset-tokens",
)


def default_backoff(retried: int) -> float:
    """Seconds before retry number `retried + 1`: `min(86400, e ** (2.5 * n))`."""
    exponent = 2.5 * (retried + 1)
    return float(MAX_DELAY_SECONDS) if exponent > 12 else min(MAX_DELAY_SECONDS, math.exp(exponent))


def delay_seconds(
    retried: int, expression: str | None, headers: Mapping[str, Sequence[str]], now: float
) -> float:
    """Seconds until the next attempt: the response's header, else the expression, else backoff."""
    asked = _asked_by_response(headers, now)
    if asked is not None:
        # "If you specify a value beyond this limit, the backoff algorithm will be applied."
        return asked if asked <= MAX_DELAY_SECONDS else default_backoff(retried)
    if expression is None:
        return default_backoff(retried)
    try:
        milliseconds = evaluate(expression, retried)
    except ExpressionError:
        return default_backoff(retried)  # undocumented: e.g. a division by zero at this `retried`
    return min(MAX_DELAY_SECONDS, max(0.0, milliseconds / 1000))


def _asked_by_response(headers: Mapping[str, Sequence[str]], now: float) -> float | None:
    lower = {name.lower(): values for name, values in headers.items()}
    for name in _HEADERS:
        for value in lower.get(name, ()):
            seconds = _seconds(value.strip(), now)
            if seconds is not None:
                return seconds
    return None


def _seconds(value: str, now: float) -> float | None:
    if re.fullmatch(r"\d+(?:\.\d+)?", value):
        return float(value)
    duration = parse_go_seconds(value)
    if duration is not None:
        return duration
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError):
        return None
