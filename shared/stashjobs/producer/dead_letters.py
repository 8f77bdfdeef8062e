"""QStash's dead-letter queue: what is in it, whose it is, and taking something out."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from stashjobs import envelope
from stashjobs.errors import InvalidEnvelope
from stashjobs.ids import job_id_from
from stashjobs.observability import redaction
from stashjobs.producer import message as messages
from stashjobs.producer import qstash_client

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from qstash.dlq import DlqMessage

log = logging.getLogger("stashjobs")

PAGE = 100
# Of the account's newest.
MAX_LISTED = 1_000


def of_this_stage(limit: int = MAX_LISTED) -> Iterator[DlqMessage]:
    """The dead letters of this stage among the newest `limit` of the account.

    Raises:
        SettingError: `QSTASH_TOKEN` or `BASE_URL` is missing.
        qstash.errors.QStashError | httpx.HTTPError: QStash refused, or cannot be reached.
    """
    looked_at, cursor = 0, None
    while looked_at < limit:
        page = qstash_client.qstash().dlq.list(cursor=cursor, count=PAGE)
        looked_at += len(page.messages)
        yield from filter(messages.is_of_this_stage, page.messages)
        cursor = page.cursor
        if not cursor:
            break


def job_of(message: DlqMessage) -> tuple[str, str] | None:
    """The id and the type of the job of a dead letter. None where it is no job's: the queue is the
    whole account's."""
    try:
        read = envelope.read((message.body or "").encode())
    except InvalidEnvelope:
        return None
    if read.job_id is None and message.schedule_id is None:
        return None
    # A schedule's message says none, and its own id makes it.
    return read.job_id or job_id_from(message.message_id), read.job_type


def delete(dlq_ids: Sequence[str]) -> None:
    """Delete dead letters.

    Raises:
        SettingError: `QSTASH_TOKEN` is missing.
        qstash.errors.QStashError | httpx.HTTPError: QStash refused, or cannot be reached.
    """
    for start in range(0, len(dlq_ids), PAGE):
        qstash_client.qstash().dlq.delete_many(list(dlq_ids[start : start + PAGE]))


def discard(dlq_ids: Sequence[str]) -> None:
    """Delete the dead letters of jobs that have another message now. Never raises: one that stays
    there changes nothing."""
    if not dlq_ids:
        return
    try:
        delete(dlq_ids)
    except Exception as error:  # noqa: BLE001
        log.info("dead letters could not be deleted: %s", redaction.one_line(error))
