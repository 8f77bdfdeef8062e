"""Metrics in CloudWatch's embedded metric format (AWS docs, "Specification: Embedded metric
format"): a line of the log is a metric, so nothing is called and nothing can fail on the way.

The one place that knows namespace and dimensions. Names, units and alarms are in
docs/monitoring.md.
"""

from __future__ import annotations

import functools
import json
import sys
import time
from typing import TYPE_CHECKING, Any, Literal

from stashjobs.config import settings

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMESPACE = "stashjobs"

Unit = Literal["Count", "Percent", "Seconds"]

# Not by Powertools' Metrics, which cost a delivery more than its two lines of log, nor by
# `json.dumps`, which would make an encoder for every line.
_to_json = json.JSONEncoder(separators=(",", ":")).encode


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
    directive = _directive(tuple(dimensions), tuple((name, values[name][0]) for name in values))
    said = {
        **dimensions,
        **(about or {}),
        **{name: [float(value)] for name, (_, value) in values.items()},
    }
    # What Lambda logs is what is written here, in one piece: `print` writes the line's end apart.
    sys.stdout.write(
        f'{{"_aws":{{"Timestamp":{int(time.time() * 1000)},"CloudWatchMetrics":[{directive}]}},'
        f"{_to_json(said)[1:]}\n"
    )


@functools.lru_cache(maxsize=32)  # a job's are two or three, and writing them was a third of it
def _directive(dimensions: tuple[str, ...], metrics: tuple[tuple[str, Unit], ...]) -> str:
    """What CloudWatch is to make of the line, as JSON."""
    return _to_json(
        {
            "Namespace": NAMESPACE,
            "Dimensions": [dimensions],
            "Metrics": [{"Name": name, "Unit": unit} for name, unit in metrics],
        }
    )
