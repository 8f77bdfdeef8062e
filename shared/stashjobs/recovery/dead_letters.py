"""Dead letters: messages that QStash will not deliver any more, recorded on their jobs' rows."""

from __future__ import annotations

import base64
import json
import logging
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from stashjobs.ids import job_id_from
from stashjobs.observability import redaction
from stashjobs.producer import dead_letters as letters
from stashjobs.producer import message as messages
from stashjobs.producer import qstash_client
from stashjobs.store import database, outbox
from stashjobs.store.outbox import DeadLetter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qstash.dlq import DlqMessage
    from qstash.message import BatchRequest

log = logging.getLogger("stashjobs")

PAGE = 100
# The first look at the dead-letter queue goes back this far, the later ones to a little before the
# last one that succeeded.
FIRST_LOOK_BACK = timedelta(days=3)
LATER_LOOK_BACK = timedelta(minutes=10)
NOT_NOW_PATIENCE_SECONDS = 86_400.0
FAILURE_PATIENCE_SECONDS = 3600.0

# What an operator does about a last answer, before the job is retried.
NEXT_STEPS = {
    401: "the signing keys here are not QStash's; run stashjobs doctor",
    404: "no function has its route; deploy the template that has it (here: restart dev)",
    502: "its function crashed or cannot be imported; see the function's log",
}

_looked_at: datetime | None = None


def reconcile(deadline: float) -> int:
    """End the jobs whose message is in QStash's dead-letter queue: its failure callback says so at
    once, and this makes sure of it when the callback was lost. Returns the number of rows changed.

    Args:
        deadline: No page is asked for after it (Unix seconds); the next look begins anew.

    Raises:
        qstash.errors.QStashError: QStash refused.
        httpx.HTTPError: QStash cannot be reached.
    """
    global _looked_at  # noqa: PLW0603 - a warm process need not read the whole queue again
    now = datetime.now(UTC)
    since = now - FIRST_LOOK_BACK if _looked_at is None else _looked_at - LATER_LOOK_BACK
    cursor: str | None = None
    changed = 0
    while time.time() < deadline:
        page = qstash_client.qstash().dlq.list(
            cursor=cursor,
            count=PAGE,
            filter={"from_time": int(since.timestamp() * 1000)},
        )
        found = [
            (letter, message) for message in page.messages if (letter := _dead_letter_of(message))
        ]
        if found:
            ids = _record([letter for letter, _ in found])
            changed += len(ids)
            by_dlq_id = {message.dlq_id: message for _, message in found}
            tell_callers(ids, lambda dlq_id, seen=by_dlq_id: _callback_of(seen.get(dlq_id)))  # type: ignore[misc]
        cursor = page.cursor
        if not cursor:
            _looked_at = now
            break
    return changed


def record(messages: Sequence[DeadLetter]) -> int:
    """Record these dead letters on their rows. Returns the number of rows changed."""
    return len(_record(messages))


def _record(messages: Sequence[DeadLetter]) -> list[str]:
    changed = outbox.record_dead_letters(database.connection(), messages)
    for job_id, status in changed:
        log.error("dead-lettered by QStash", extra={"job_id": job_id, "row_status": status})
    return [job_id for job_id, _ in changed]


def tell_callers(job_ids: Sequence[str], callback_of: Callable[[str | None], bytes | None]) -> bool:
    """Have QStash call the `failure_callback=` of those of these jobs that were enqueued with one.
    QStash takes one such URL for a message, and that is our own. Never raises.

    Args:
        job_ids: Which.
        callback_of: What QStash's failure callback says (Upstash docs, "Callbacks") of the dead
            letter that a row has; None: nothing is to be said.

    Returns:
        False where QStash or Postgres could not be reached, so that it is worth trying again.
    """
    if not job_ids:
        return True
    try:
        asked = outbox.read_failure_callbacks(database.connection(), job_ids)
    except Exception as error:  # noqa: BLE001 - the row is what counts
        log.error("callers could not be told of dead letters: %s", redaction.one_line(error))
        return False
    done = True
    for job_id, url, dlq_id in asked:
        body = callback_of(dlq_id)
        if body is None:
            continue
        try:
            told: BatchRequest = {
                "url": url,
                "body": body.decode(errors="replace"),
                "content_type": "application/json",
                # The callback and the relay may both see it.
                "deduplication_id": f"failed-{messages.id_at_qstash(dlq_id or job_id)}",
            }
            qstash_client.qstash().message.batch([told])
        except Exception as error:  # noqa: BLE001
            why = redaction.one_line(error)
            log.error("the caller could not be told: %s", why, extra={"job_id": job_id})
            done = done and "status: 4" in why
    return done


def _callback_of(message: DlqMessage | None) -> bytes | None:
    """What QStash's failure callback says of a dead letter."""
    if message is None:
        return None
    source = {"body": message.body, "response": message.response_body}
    encoded = {
        name: base64.b64encode((text or "").encode()).decode() for name, text in source.items()
    }
    callback = {
        "status": message.response_status,
        "header": message.response_headers or {},
        "body": message.response_body_base64 or encoded["response"],
        "retried": message.max_retries,
        "maxRetries": message.max_retries,
        "dlqId": message.dlq_id,
        "sourceMessageId": message.message_id,
        "url": message.url,
        "method": message.method,
        "sourceHeader": message.headers or {},
        "sourceBody": message.body_base64 or encoded["body"],
        "notBefore": message.not_before,
        "createdAt": message.created_at,
    }
    return json.dumps(callback).encode()


def _dead_letter_of(message: DlqMessage) -> DeadLetter | None:
    """The job of a dead letter. None where it is no job's: the queue is the whole account's."""
    job = letters.job_of(message)
    if job is None:
        return None
    return letter(
        job[0],
        message.message_id,
        message.dlq_id,
        status=message.response_status,
        retries=message.max_retries,
    )


def letter(
    job_id: str | None,
    message_id: str,
    dlq_id: str | None,
    *,
    status: int | None,
    retries: int | None,
) -> DeadLetter:
    """What a dead letter or a failure callback says, in the words that the row keeps.

    Args:
        job_id: As the message says; a schedule's message says none, and its own id makes it.
        message_id: QStash's.
        dlq_id: Where it is in the dead-letter queue.
        status: Of the last answer. None or 0: there was none.
        retries: How often QStash tried again at most.
    """
    answer = f"its last answer was {status}" if status else "it got no answer"
    if then := NEXT_STEPS.get(status or 0):
        answer += f": {then}"
    deliveries = (retries or 0) + 1
    return DeadLetter(
        job_id=job_id or job_id_from(message_id),
        message_id=message_id,
        dlq_id=dlq_id,
        reason=f"DeliveryFailed: dead-lettered by QStash after {deliveries} deliveries; {answer}",
        patience=_patience(status),
    )


def _patience(status: int | None) -> float:
    """For how long a job is given new messages whose last answer was this one. "Not now" passes: a
    worker's own (409: busy; 503: Postgres is away, and with it the relay), and that of AWS while
    every process is busy (500 from API Gateway, where Lambda rejected the invocation, AWS docs,
    "Handling Lambda errors with an API Gateway API"; 429 from a Function URL, or over the API's own
    rate). A function that crashes (502), or says nothing, may be a broken deploy; what was refused
    will be refused again."""
    if status in {409, 429, 500, 503}:
        return NOT_NOW_PATIENCE_SECONDS
    if not status or status >= 500 or status == 408:
        return FAILURE_PATIENCE_SECONDS
    return 0.0
