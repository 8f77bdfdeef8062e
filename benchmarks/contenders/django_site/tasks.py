"""Found by django-qstash because of its name."""

from __future__ import annotations

from typing import Any

from django_qstash import stashed_task


@stashed_task
def measured(to: str, count: int, tags: list[str]) -> dict[str, Any]:
    return {"count": count, "attempt": 1}
