"""The job of the stack's benchmark (stack_template.yaml)."""

from __future__ import annotations

from typing import Any

from benchmarks.contenders.noting import note
from stashjobs import Context, job


@job("noted", endpoint="/api/jobs/noted", timeout=20)
def noted(payload: dict[str, Any], context: Context) -> dict[str, Any]:
    note(payload["sent"])
    return {"attempt": context.attempt}


handler = noted.handler
