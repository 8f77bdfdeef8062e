"""Enqueue: the row first, then QStash.

A job exists as soon as its row is committed. Publishing it only notifies QStash; if that fails,
`published_at` stays NULL and the relay publishes it later. The message's deduplication id is the
job id, so publishing twice is harmless.
"""

from __future__ import annotations

import copy
import logging
import math
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg

from stashjobs import encryption, envelope, hooks
from stashjobs.config import settings
from stashjobs.encryption import Place
from stashjobs.errors import InvalidPayload, PayloadTooLarge
from stashjobs.ids import new_job_id
from stashjobs.job_type import refuse_left_out
from stashjobs.observability import tracing
from stashjobs.producer import publish, qstash_client, uniqueness
from stashjobs.producer.options import EnqueueOptions, Options
from stashjobs.store import database, executions, jsonb
from stashjobs.store.app_connection import psycopg_of, psycopg_of_async
from stashjobs.store.executions import New, NewJob
from stashjobs.store.jsonb import to_json
from stashjobs.store.outbox import Unpublished

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from psycopg import AsyncConnection, Connection

    from stashjobs.job_type import JobType
    from stashjobs.store.app_connection import AppConnection, AsyncAppConnection
    from stashjobs.store.executions import JobState

DEFAULT_MAX_PAYLOAD_BYTES = 1_000_000
# So many payloads are read and validated together, and so many rows, or so many bytes of payloads,
# are one INSERT: round trips are few, and memory is little.
CHUNK = 100
PORTION, PORTION_BYTES = 2_000, 8_000_000
# A btree entry is at most 2,704 bytes, and an idempotency key shares its own with the type's name.
MAX_INDEXED_BYTES = 1_000
MAX_RETRIES = 1_000_000
# The relay reads those of a hundred jobs at a time.
MAX_DELIVERY_BYTES = 64_000
# Python's years end at 1 and 9999, and a row is read back in whatever time zone a session has.
EARLIEST, LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)
# Powertools' logger of the same name, where there is one, formats these lines.
log = logging.getLogger("stashjobs")


@dataclass(slots=True)
class Enqueued:
    """The result of an enqueue.

    Attributes:
        job_id: The job's id, or that of the job that already has the idempotency key or, with
            `unique`, is waiting.
        created: False if there was such a job, and nothing was enqueued.
        due: Whether it may run now, or at its time. False if it waits for other jobs (`after=`).
        published: Whether QStash has confirmed the message. False is not an error: the relay
            publishes it.
    """

    job_id: str
    created: bool
    published: bool
    due: bool = field(repr=False)
    _unpublished: Unpublished = field(repr=False)

    def publish(self) -> bool:
        """Publish now: for after the commit of the transaction that `connection=` joined. Without
        it, the relay publishes within a minute. Returns `published`."""
        if self.due and not self.published:
            publish_enqueued([self])
        return self.published

    def wait(self, seconds: float) -> JobState:
        """Wait at most this many seconds for the job to end, and return its state: its `status`,
        `result` (decrypted) and `error`, and whether it has `ended`. The database is polled, at
        intervals of up to a second; no connection is held in between. A job enqueued in a
        transaction that is still open is not seen.

        Raises:
            ValueError: `seconds` is not a number of 0 or more.
            NoSuchJob: The job's transaction was not committed in that time.
            psycopg.Error: The database cannot be reached.
        """
        from stashjobs.producer import ending

        return ending.wait(self.job_id, seconds)

    async def wait_async(self, seconds: float) -> JobState:
        """`wait`, without blocking the event loop."""
        from stashjobs.producer import ending

        return await ending.wait_async(self.job_id, seconds)


def enqueue(
    job: JobType[Any, Any],
    payload: Any,
    options: EnqueueOptions,
    connection: AppConnection | None,
) -> Enqueued:
    """Record one job; publish it unless its transaction is the caller's."""
    return enqueue_many(job, [payload], options, None, connection)[0]


def enqueue_many(
    job: JobType[Any, Any],
    payloads: Iterable[Any],
    options: EnqueueOptions,
    each: Iterable[EnqueueOptions] | None,
    connection: AppConnection | None,
) -> list[Enqueued]:
    """Record jobs of one type; publish them unless their transaction is the caller's.

    Raises:
        ValueError: `each` has not one entry per payload.
    """
    if each is None:
        shared = Options.of(options)
        checked = check(job, shared)
        if _may_be_in_portions(shared):
            portions = _portions(job, payloads, shared, checked)
            return _enqueue_portions(portions, connection)
        jobs = [prepare(job, payload, shared, checked=checked) for payload in payloads]
        return enqueue_prepared(jobs, connection)
    payloads, each = list(payloads), list(each)
    if len(each) != len(payloads):
        raise ValueError(f"each has {len(each)} options for {len(payloads)} payloads")
    jobs = [
        prepare(job, payload, Options.of({**options, **own}))
        for payload, own in zip(payloads, each, strict=True)
    ]
    return enqueue_prepared(jobs, connection)


class _Portion(NamedTuple):
    """Jobs that differ in their ids and payloads alone, and one that has the rest."""

    like: NewJob
    payloads: dict[str, str]


def _may_be_in_portions(shared: Options) -> bool:
    """Whether jobs of these options can be recorded a portion at a time. Rows with keys cannot: two
    programs that record the same keys would wait for each other, unless each goes through all of
    its keys in their order. And a hook and a span are around all jobs of an enqueue."""
    has_keys = shared.idempotency_key is not None or shared.unique is not None
    return not has_keys and not hooks.declared("enqueue") and not tracing.is_on()


def _portions(
    job: JobType[Any, Any], payloads: Iterable[Any], shared: Options, checked: Checked
) -> Iterator[_Portion]:
    rest = iter(payloads)
    texts: dict[str, str] = {}
    size = 0
    while chunk := list(islice(rest, CHUNK)):
        for document in job.dump_payloads(chunk):
            job_id = new_job_id()
            text = _payload_text(job, document, checked, job_id)
            texts[job_id] = text
            size += len(text)
        if len(texts) >= PORTION or size >= PORTION_BYTES:
            yield _Portion(_new_job(job, "", None, shared, checked), texts)
            texts, size = {}, 0
            checked = check(job, shared)  # `delay` is from the moment in which a job is recorded
    if texts:
        yield _Portion(_new_job(job, "", None, shared, checked), texts)


def _enqueue_portions(
    portions: Iterator[_Portion], connection: AppConnection | None
) -> list[Enqueued]:
    first, second = next(portions, None), next(portions, None)
    if first is None:
        return []
    if connection is None:
        _refuse_missing_settings()
    else:
        connection = psycopg_of(connection)
    enqueued: list[Enqueued] = []
    with (
        database.borrowed() if connection is None else nullcontext(connection) as own,
        # A single statement is all or none without it.
        nullcontext() if second is None else database.all_or_none(own),
    ):
        enqueued += _recorded(first, own)
        if second is not None:
            enqueued += _recorded(second, own)
        for portion in portions:
            enqueued += _recorded(portion, own)
    if connection is None:
        publish_enqueued(enqueued)
    return enqueued


def _recorded(portion: _Portion, connection: Connection[Any]) -> list[Enqueued]:
    like = portion.like
    with _refusals():
        found = executions.record_alike(connection, like, portion.payloads)
    return [
        Enqueued(
            job_id,
            created=True,
            published=False,
            due=found[job_id].due,
            _unpublished=Unpublished(
                job_id, like.job_type, 1, 0, like.max_attempts, like.available_at, like.delivery
            ),
        )
        for job_id in portion.payloads
    ]


def enqueue_prepared(
    jobs: Sequence[NewJob], connection: AppConnection | None = None
) -> list[Enqueued]:
    """Record prepared jobs, of whatever types, in one INSERT; publish them unless their
    transaction is the caller's.

    Raises:
        TypeError: The connection is of no kind that is known.
        ValueError: Two of them have the same type and idempotency key.
    """
    if not jobs:
        return []
    _refuse_same_keys(jobs)
    if connection is None:
        _refuse_missing_settings()
    else:
        connection = psycopg_of(connection)
    if around := hooks.declared("enqueue"):
        jobs = list(jobs)
        with hooks.entered(around, jobs):
            _refuse_unfit_metadata(jobs)
            return _record_and_publish(jobs, connection)
    return _record_and_publish(jobs, connection)


def _refuse_missing_settings() -> None:
    """Before anything is written."""
    settings.base_url()
    qstash_client.qstash()


def _refuse_same_keys(jobs: Sequence[NewJob]) -> None:
    keys = [(new.job_type, new.idempotency_key) for new in jobs if new.idempotency_key is not None]
    if len(set(keys)) < len(keys):
        raise ValueError("two of the jobs have the same type and idempotency key")


def _record_and_publish(
    jobs: Sequence[NewJob], connection: Connection[Any] | None
) -> list[Enqueued]:
    with tracing.sending([new.job_type for new in jobs]) as headers:
        jobs = [_forwarding(headers, new) for new in jobs]
        if connection is not None:
            return _enqueued(jobs, _record(connection, jobs))
        with database.borrowed() as own:
            enqueued = _enqueued(jobs, _record(own, jobs))
        publish_enqueued(enqueued)
        return enqueued


async def enqueue_async(
    job: JobType[Any, Any],
    payload: Any,
    options: EnqueueOptions,
    connection: AsyncAppConnection,
) -> Enqueued:
    """Record one job within the transaction of an async connection."""
    new = prepare(job, payload, Options.of(options))
    own = await psycopg_of_async(connection)
    return (await enqueue_prepared_async([new], own))[0]


async def enqueue_prepared_async(
    jobs: Sequence[NewJob], connection: AsyncConnection[Any]
) -> list[Enqueued]:
    """Record prepared jobs, of whatever types, within the transaction of an async connection.

    Raises:
        ValueError: Two of them have the same type and idempotency key.
    """
    _refuse_same_keys(jobs)
    jobs = list(jobs)
    if around := hooks.declared("enqueue"):
        with hooks.entered(around, jobs):
            _refuse_unfit_metadata(jobs)
            return await _record_async(jobs, connection)
    return await _record_async(jobs, connection)


async def _record_async(jobs: Sequence[NewJob], connection: AsyncConnection[Any]) -> list[Enqueued]:
    with tracing.sending([new.job_type for new in jobs]) as headers:
        jobs = [_forwarding(headers, new) for new in jobs]
        with _refusals():
            return _enqueued(jobs, await executions.record_new_jobs_async(connection, jobs))


def _record(connection: Connection[Any], jobs: Sequence[NewJob]) -> list[New]:
    with _refusals():
        return executions.record_new_jobs(connection, jobs)


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except psycopg.errors.InvalidParameterValue as error:  # `after` names a job that is not there
        raise ValueError(error.diag.message_primary) from None


class Checked(NamedTuple):
    """What is the same for every job of these options: its metadata and delivery as plain JSON,
    whether its payload is encrypted and how large it may be, when it is due and expires, and what
    it waits for."""

    metadata: dict[str, Any]
    delivery: dict[str, Any]
    encrypted: bool
    due: datetime | None
    expires_at: datetime | None
    after: dict[str, Any] | None
    max_bytes: int


def check(job: JobType[Any, Any], options: Options) -> Checked:
    """Find what is wrong with options alone.

    Raises:
        UnknownJobType: The type is left out of this stage.
        ValueError: See `Job.enqueue`.
    """
    refuse_left_out(job.type)
    retries = job.retries if options.retries is None else options.retries
    if not 0 <= retries <= MAX_RETRIES:
        raise ValueError(f"retries is {retries}, it must be from 0 to {MAX_RETRIES}")
    if options.idempotency_key == "":
        raise ValueError("idempotency_key is empty; leave it out or give it a value")
    if options.batch == "":
        raise ValueError("batch is empty; leave it out or give a batch")
    uniqueness.check(options)
    indexed = {
        "user_id": options.user_id,
        "organization_id": options.organization_id,
        "idempotency_key": options.idempotency_key,
    }
    metadata, delivery = to_json(dict(options.metadata or {})), _delivery(options)
    _refuse_unfit(metadata)
    if (misfit := envelope.unstorable([*indexed.values(), delivery])) is not None:
        raise ValueError(f"an option contains {misfit}")
    for name, text in indexed.items():
        _refuse_too_long(name, text)
    if (size := envelope.size_of(delivery)) > MAX_DELIVERY_BYTES:
        limit = MAX_DELIVERY_BYTES
        raise ValueError(f"headers and callbacks have {size} bytes, the limit is {limit}")
    encrypted, due = _is_encrypted(job, options), _available_at(options)
    return Checked(
        metadata,
        delivery,
        encrypted,
        due,
        _expires_at(options, due),
        _after(options),
        max_payload_bytes(),
    )


def prepare(
    job: JobType[Any, Any],
    payload: Any,
    options: Options,
    *,
    job_id: str | None = None,
    checked: Checked | None = None,
) -> NewJob:
    """The row of a new job. Everything that can be wrong with an enqueue is found here.

    Args:
        checked: What `check` said of these options, where many jobs have them.

    Raises:
        InvalidPayload | PayloadTooLarge | ValueError | SettingError: See `Job.enqueue`.
    """
    document = job.dump_payload(payload)
    checked = checked or check(job, options)
    _refuse_unfit_payload(job, document, checked)
    job_id = job_id or new_job_id()
    unique = uniqueness.of(options, document, encrypted=checked.encrypted)
    _refuse_too_long("unique", unique["key"] if unique else None)
    if checked.encrypted:
        document = encryption.encrypt(document, Place(job_id, job.type, "payload"))
    return _new_job(job, job_id, document, options, checked, unique)


def _new_job(
    job: JobType[Any, Any],
    job_id: str,
    document: Any,
    options: Options,
    checked: Checked,
    unique: dict[str, Any] | None = None,
) -> NewJob:
    return NewJob(
        job_id=job_id,
        job_type=job.type,
        payload=document,
        max_attempts=(job.retries if options.retries is None else options.retries) + 1,
        available_at=checked.due,
        user_id=options.user_id,
        organization_id=options.organization_id,
        idempotency_key=options.idempotency_key,
        # A hook may write to it.
        metadata=copy.deepcopy(checked.metadata) if checked.metadata else {},
        delivery=checked.delivery,
        after=checked.after,
        uniqueness=unique,
        expires_at=checked.expires_at,
        batch_id=options.batch,
    )


def _payload_text(job: JobType[Any, Any], document: Any, checked: Checked, job_id: str) -> str:
    """The payload as the row keeps it."""
    _refuse_unfit_payload(job, document, checked)
    if checked.encrypted:
        document = encryption.encrypt(document, Place(job_id, job.type, "payload"))
    return jsonb.text_of(document)


def _refuse_unfit_payload(job: JobType[Any, Any], document: Any, checked: Checked) -> None:
    encryption.refuse_mark(job.type, document)
    if (misfit := envelope.unstorable(document)) is not None:
        raise InvalidPayload(job.type, [f"it contains {misfit}"])
    refuse_too_large(document, checked.max_bytes)


def _refuse_unfit(metadata: dict[str, Any]) -> None:
    if (misfit := envelope.unstorable(metadata)) is not None:
        raise ValueError(f"metadata contains {misfit}")
    if (size := envelope.size_of(metadata)) > envelope.MAX_METADATA_BYTES:
        limit = envelope.MAX_METADATA_BYTES
        raise ValueError(f"metadata has {size} bytes, the limit is {limit}")


def _refuse_unfit_metadata(jobs: list[NewJob]) -> None:
    """What hooks made of it."""
    for number, new in enumerate(jobs):
        jobs[number] = replace(new, metadata=to_json(new.metadata))
        _refuse_unfit(jobs[number].metadata)


def _refuse_too_long(name: str, text: str | None) -> None:
    if text is not None and len(text.encode()) > MAX_INDEXED_BYTES:
        raise ValueError(f"{name} is longer than {MAX_INDEXED_BYTES} bytes")


def max_payload_bytes() -> int:
    """The setting `MAX_PAYLOAD_BYTES`.

    Raises:
        SettingError: It is no number.
    """
    return settings.whole_number("MAX_PAYLOAD_BYTES", DEFAULT_MAX_PAYLOAD_BYTES)


def refuse_too_large(document: Any, limit: int) -> None:
    """Refuse a payload of more than so many bytes.

    Raises:
        PayloadTooLarge: It has more. Both sizes are named.
    """
    size = envelope.size_of(document)
    if size > limit:
        raise PayloadTooLarge(size, limit)


def _is_encrypted(job: JobType[Any, Any], options: Options) -> bool:
    if job.encrypted and options.encrypted is False:
        # Its worker refuses plain payloads: docs/encrypted-payloads.md says why.
        raise ValueError(f"{job.type} is declared encrypted; encrypted=False cannot undo that")
    return job.encrypted or bool(options.encrypted)


def publish_enqueued(enqueued: Sequence[Enqueued]) -> None:
    """Publish those that are new and note that on their rows. Never raises: the
    rows are committed, so whatever goes wrong here is for the relay to mend."""
    created = [one for one in enqueued if one.due]
    told = publish.publish([one._unpublished for one in created])
    for one in created:
        one.published = one.job_id in told


def _enqueued(jobs: Sequence[NewJob], recorded: Sequence[New]) -> list[Enqueued]:
    return [
        Enqueued(
            found.job_id,
            created=found.job_id == new.job_id,
            published=False,
            due=found.due,
            _unpublished=Unpublished(
                new.job_id, new.job_type, 1, 0, new.max_attempts, new.available_at, new.delivery
            ),
        )
        for new, found in zip(jobs, recorded, strict=True)
    ]


def _forwarding(context: Mapping[str, str], new: NewJob) -> NewJob:
    """The job with the context of a trace among the headers that QStash forwards, unless the caller
    gave one. On the row, since the relay or an operator may publish it again."""
    given = new.delivery.get("headers", {})
    if not context or any(name.lower() in tracing.CONTEXT_HEADERS for name in given):
        return new
    return replace(new, delivery={**new.delivery, "headers": {**given, **context}})


def _available_at(options: Options) -> datetime | None:
    if options.debounce is not None:
        return available_at(delay=options.debounce)
    return available_at(at=options.at, delay=options.delay)


def available_at(*, at: datetime | None = None, delay: float | None = None) -> datetime | None:
    """When a job is due that is given a time or a delay in seconds. None: it is given neither.

    Raises:
        ValueError: It makes no sense. The message names the option.
    """
    if at is not None and delay is not None:
        raise ValueError("give delay or at, not both")
    if at is not None:
        if at.tzinfo is None:
            raise ValueError("at has no time zone; give an aware datetime")
    elif delay is not None:
        if not (math.isfinite(delay) and delay >= 0):
            raise ValueError(f"delay is {delay}, it must be 0 or more seconds")
        at = _in("delay", delay)
    else:
        return None
    if not EARLIEST <= at <= LATEST:
        raise ValueError(f"at is {at.isoformat()}, it must be from {EARLIEST:%Y} to {LATEST:%Y}")
    return at


def _expires_at(options: Options, due: datetime | None) -> datetime | None:
    expires = options.expires
    if expires is None:
        return None
    if isinstance(expires, datetime):
        if expires.tzinfo is None:
            raise ValueError("expires has no time zone; give an aware datetime")
        at = expires
    else:
        seconds = expires.total_seconds() if isinstance(expires, timedelta) else expires
        if not (math.isfinite(seconds) and seconds > 0):
            raise ValueError(f"expires is {seconds}, it must be over 0 seconds")
        at = _in("expires", seconds)
    if at > LATEST:
        raise ValueError(f"expires is {at.isoformat()}, it must be before {LATEST:%Y}")
    if at <= (due or datetime.now(UTC)):
        raise ValueError(f"expires is {at.isoformat()}, which is before the job is due")
    return at


def _in(name: str, seconds: float) -> datetime:
    try:
        return datetime.now(UTC) + timedelta(seconds=seconds)
    except OverflowError:
        raise ValueError(f"{name} is {seconds} seconds: no calendar goes so far") from None


def _after(options: Options) -> dict[str, Any] | None:
    when = options.when or "completed"
    if when not in {"completed", "ended"}:
        raise ValueError(f"when is {when!r}, it must be completed or ended")
    if options.when and options.after is None:
        raise ValueError("when says how the jobs in after must have ended; give after too")
    if not options.after:
        return None
    return {"ids": list(dict.fromkeys(options.after)), "when": when}


def _delivery(options: Options) -> dict[str, Any]:
    asked = {
        "headers": dict(options.headers or {}),
        "callback": options.callback,
        "failureCallback": options.failure_callback,
    }
    return {name: value for name, value in asked.items() if value}
