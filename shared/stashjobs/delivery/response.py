"""The response to QStash: 2xx stops, 489 stops and dead-letters, anything else is tried again
(Upstash docs, "Retry" and "Handling Failures")."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from stashjobs.delivery import request
from stashjobs.observability import redaction
from stashjobs.observability.log import logger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stashjobs.delivery.request import Response

# QStash honours no longer wait than a day (`RetryLater`).
MAX_RETRY_AFTER_SECONDS = 86_400.0
# Without this header QStash would try again after a 489 too.
NON_RETRYABLE = {"Upstash-NonRetryable-Error": "true"}


def answer(
    status: int, document: Mapping[str, Any], *, retry_after: float | None = None
) -> Response:
    """An answer to QStash; with `retry_after` it comes again in so many seconds."""
    headers = dict(NON_RETRYABLE) if status == 489 else {}
    if retry_after is not None:
        headers["Retry-After"] = str(math.ceil(retry_after))
    return request.respond(status, document, headers)


def refuse(status: int, error: BaseException, *, retry_after: float | None = None) -> Response:
    """The answer for a request that got no further than its message."""
    reason = redaction.one_line(error)
    logger().warning("refused", status=status, error=reason)
    return answer(status, {"status": "refused", "error": reason}, retry_after=retry_after)
