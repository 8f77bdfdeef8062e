"""Metrics in CloudWatch's embedded metric format, by Powertools' Metrics: a line of the log is a
metric, so nothing is called and nothing can fail on the way.

The one place that knows namespace and dimensions. Names, units and alarms are in
docs/monitoring.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from stashjobs.config import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aws_lambda_powertools.metrics import EphemeralMetrics

NAMESPACE = "stashjobs"

Unit = Literal["Count", "Percent", "Seconds"]


def new() -> EphemeralMetrics:
    """An empty set of metrics. Imported at first use: a producer need not have Powertools."""
    from aws_lambda_powertools.metrics import EphemeralMetrics

    # Without a service of its own it would take POWERTOOLS_SERVICE_NAME as one more dimension.
    return EphemeralMetrics(namespace=NAMESPACE, service="")


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
    metrics = new()
    metrics.add_dimension("Stage", settings.stage())
    if job_type is not None:
        metrics.add_dimension("Type", job_type)
    for name, (unit, value) in values.items():
        metrics.add_metric(name, unit, value)
    for key, value in (about or {}).items():
        metrics.add_metadata(key, value)
    metrics.flush_metrics()
