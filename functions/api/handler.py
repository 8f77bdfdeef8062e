"""Lambda entry: `functions.api.handler.handler`, the HTTP API for apps and operators."""

from __future__ import annotations

import functools
from typing import Any


def handler(event: Any, lambda_context: Any) -> dict[str, Any]:
    """Answer one request, by FastAPI."""
    answer: dict[str, Any] = _adapter()(event, lambda_context)
    return answer


@functools.cache
def _adapter() -> Any:
    """Made at the first request: the relay and the command line import every handler, to learn of
    the jobs, and need no web framework for it."""
    from mangum import Mangum

    from functions.api.app import app
    from functions.api.base_path import BehindBasePath

    return Mangum(BehindBasePath(app), lifespan="off")
