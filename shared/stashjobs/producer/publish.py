"""Publish recorded jobs: their messages go to QStash, and their rows say that it has them."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from stashjobs.job_type import find
from stashjobs.observability import redaction
from stashjobs.producer import message, qstash_client
from stashjobs.store import database, outbox

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stashjobs.store.outbox import Unpublished

# QStash bounds a batch call by its size only (100 MB); this keeps one call to a second or so.
BATCH_MESSAGES = 1_000
# Powertools' logger of the same name, where there is one, formats these lines.
log = logging.getLogger("stashjobs")


def publish(jobs: Sequence[Unpublished]) -> dict[str, str | None]:
    """Publish recorded jobs and confirm it on their rows. Those that are due too late for QStash to
    hold them are left to the relay.

    Returns:
        QStash's message id by job id, for those that QStash has taken.
    """
    told: dict[str, str | None] = {}
    try:
        last = datetime.now(UTC) + timedelta(seconds=message.horizon_seconds())
        jobs = [job for job in jobs if job.available_at is None or job.available_at <= last]
        for start in range(0, len(jobs), BATCH_MESSAGES):
            told |= send(jobs[start : start + BATCH_MESSAGES])
    except Exception as error:  # noqa: BLE001 - see publish_enqueued
        log.warning(
            "%d jobs could not be published; they are recorded, and the relay will publish them: "
            "%s",
            len(jobs) - len(told),
            qstash_client.why(error),
        )
    if told:
        try:
            with database.borrowed() as own:
                outbox.confirm_published(own, told)
        except Exception as error:  # noqa: BLE001
            log.warning(
                "%d published jobs could not be confirmed: %s", len(told), redaction.one_line(error)
            )
    return told


def publish_released(job_ids: Sequence[str]) -> None:
    """Publish jobs that the end of another has released. Never raises: the relay publishes what is
    not published here."""
    try:
        with database.borrowed() as own:
            released = outbox.read_released(own, job_ids)
    except Exception as error:  # noqa: BLE001
        log.warning(
            "%d released jobs are left to the relay: %s", len(job_ids), redaction.one_line(error)
        )
    else:
        publish(released)


def cancel_messages(message_ids: Sequence[str]) -> None:
    """Take messages back from QStash. Where that fails, or one is under way, nothing is lost: its
    delivery finds how its job stands. Never raises."""
    if not message_ids:  # an empty list may be taken for no condition, and so for all there are
        return
    try:
        qstash_client.qstash().message.cancel_many(list(message_ids))
    except Exception as error:  # noqa: BLE001
        log.info("QStash's messages could not be cancelled: %s", redaction.one_line(error))


def send(batch: Sequence[Unpublished]) -> dict[str, str | None]:
    """Hand messages to QStash in one call: it takes all of them, or none.

    Returns:
        QStash's message id by job id.

    Raises:
        qstash.errors.QStashError | httpx.HTTPError: QStash refused, or cannot be reached.
        UnknownJobType: A job's type is not declared in this process.
    """
    told = [message.message_for(find(each.job_type), each) for each in batch]
    # Not `batch_json`: it loses `retry_delay` on the way (qstash 3.4.0).
    answers = qstash_client.qstash().message.batch(told)
    return {
        each.job_id: None if isinstance(answer, list) else answer.message_id
        for each, answer in zip(batch, answers, strict=True)
    }
