"""Lambda entry: `functions.monitor.handler.handler`, invoked by a schedule every minute.

What the alarms and the dashboard of `infra/` look at, as CloudWatch metrics in the embedded metric
format: a line of the log is a metric, so nothing is called and nothing can fail on the way. Names,
units and alarms are in docs/monitoring.md.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from stashjobs.config import settings
from stashjobs.observability import metrics, redaction
from stashjobs.observability.log import logger
from stashjobs.operators import health
from stashjobs.recovery.idle import Idle
from stashjobs.store import database

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stashjobs.observability.metrics import Unit

UNITS: dict[str, Unit] = {"FailureRate": "Percent", "OldestPendingSeconds": "Seconds"}
# A monitor must not be a load: what takes longer than this is left out of this minute.
QUERY_TIMEOUT_SECONDS = 10.0
# All that there is to tell of a stage where nothing is open and nothing has ended within the hour.
OF_AN_IDLE_STAGE = ("StuckJobs", "QueueDepth", "OldestPendingSeconds", "ProcessedLastHour")
MAX_DEAD_LETTERS = 1_000

_idle = Idle()


def handler(_event: Mapping[str, Any], lambda_context: Any) -> dict[str, Any]:
    """Emit the metrics of this minute, each as soon as it is known; what cannot be read is left out
    and logged. Where it is certain that nothing is open they are what they were."""
    logger().append_keys(function_request_id=lambda_context.aws_request_id)
    values: dict[str, float] = {}
    averages: dict[str, float] = {}
    began = time.time()
    if _idle.is_certain():
        values = dict.fromkeys(OF_AN_IDLE_STAGE, 0.0)
    else:
        try:
            values, averages = read()
        except Exception as error:  # noqa: BLE001 - the metrics of QStash are worth having alone
            logger().error("the jobs could not be read", error=redaction.one_line(error))
        _idle.remember(began, empty=values == dict.fromkeys(OF_AN_IDLE_STAGE, 0.0))
    emit(values, averages)
    at_qstash: dict[str, float] = {}
    for name, count in {"DeadLetters": count_dead_letters, "HeldBack": count_held_back}.items():
        try:
            at_qstash[name] = count()
        except Exception as error:  # noqa: BLE001
            logger().error("QStash could not be asked", error=redaction.one_line(error))
            break  # the next question would wait as long for nothing
    emit(at_qstash, {})
    return {**values, **at_qstash, "AverageSeconds": averages}


def read() -> tuple[dict[str, float], dict[str, float]]:
    """The metrics of the jobs, and the average duration by type; from the read replica where
    `POSTGRES_READ_URL` is set.

    Raises:
        SettingError: A setting is missing.
        psycopg.Error: Postgres cannot be reached, or took too long.
    """
    url = settings.optional("POSTGRES_READ_URL") or settings.postgres_url()
    with database.connect(url, statement_timeout_seconds=QUERY_TIMEOUT_SECONDS) as connection:
        everything, *types = health.read(connection)
        queue = health.read_queue(connection)
    values = {
        "StuckJobs": float(everything.stuck),
        "QueueDepth": float(queue.depth),
        "OldestPendingSeconds": queue.oldest_seconds,
        "ProcessedLastHour": float(queue.processed_last_hour),
    }
    if everything.failure_rate is not None:
        values["FailureRate"] = everything.failure_rate * 100
    averages = {
        str(one.job_type): one.average_seconds for one in types if one.average_seconds is not None
    }
    return values, averages


def count_dead_letters() -> int:
    """How many messages of this stage are in QStash's dead-letter queue, among the newest
    `MAX_DEAD_LETTERS` of the account.

    Raises:
        SettingError: `QSTASH_TOKEN` or `BASE_URL` is missing.
        Exception: QStash refused, or cannot be reached.
    """
    from stashjobs.producer import dead_letters

    return sum(1 for _ in dead_letters.of_this_stage(MAX_DEAD_LETTERS))


def count_held_back() -> int:
    """How many messages of this stage wait at QStash, since a type's `rate` or `parallelism` holds
    them back (Upstash docs, "List Flow Control Keys").

    Raises:
        SettingError: `QSTASH_TOKEN` or `BASE_URL` is missing.
        Exception: QStash refused, or cannot be reached.
    """
    from stashjobs.producer import message, qstash_client

    # The SDK can ask for one key alone.
    keys = qstash_client.qstash().http.request(path="/v2/flowControl", method="GET")
    return sum(key["waitListSize"] for key in keys if message.is_own_key(key["flowControlKey"]))


def emit(values: Mapping[str, float], averages: Mapping[str, float]) -> None:
    """Write the metrics to the log, where CloudWatch finds them."""
    metrics.emit({name: (UNITS.get(name, "Count"), value) for name, value in values.items()})
    for job_type, seconds in averages.items():
        metrics.emit({"AverageSeconds": ("Seconds", seconds)}, job_type=job_type)
