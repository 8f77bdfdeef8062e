"""A job that does nothing."""

from typing import Any

from stashjobs import Context, job


@job("measured", endpoint="/api/jobs/measured")
def measured(payload: dict[str, Any], context: Context) -> None: ...


handler = measured.handler
