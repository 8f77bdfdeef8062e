"""Metrics in CloudWatch's embedded metric format (AWS docs, "Specification: Embedded metric
format"): a line of the log is a metric, so nothing is called and nothing can fail on the way.

The one place that knows namespace and dimensions. Names, units and alarms are in
docs/monitoring.md.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, Literal

from stashjobs import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMESPACE = "stashjobs"

Unit = Literal["Count", "Percent", "Seconds"]


def emit(
    values: Mapping[str, tuple[Unit, float]],
    *,
    job_type: str | None = None,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write one line with these metrics; without metrics, none.

    Args:
        values: Unit and value by the metric's name.
        job_type: The dimension `Type`, beside `Stage`; a function's own, never a message's word,
            since each new value makes a metric that costs money.
        about: What else the line says, to be found by in the log. No dimension.
    """
    if not values:
        return
    dimensions = {"Stage": settings.stage()} | ({} if job_type is None else {"Type": job_type})
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": name, "Unit": unit} for name, (unit, _) in values.items()],
    }
    # Not by Powertools' Metrics: it costs a delivery more than its two lines of log.
    line = {
        "_aws": {"Timestamp": int(time.time() * 1000), "CloudWatchMetrics": [directive]},
        **dimensions,
        **(about or {}),
        **{name: [float(value)] for name, (_, value) in values.items()},
    }
    print(json.dumps(line, separators=(",", ":")))  # noqa: T201 - what Lambda logs is what it prints
