"""Schedules are code: declared beside their job with `Job.schedule`, and brought to QStash by
`stashjobs schedules sync`; and what an operator can see of them and do to them.

QStash keeps a schedule and sends its fixed body at each firing. The body has no job id, so each
firing is a new job, whose id is made from the message's own (`worker`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from stashjobs import envelope
from stashjobs.config import settings
from stashjobs.errors import (
    InvalidPayload,
    NoSuchSchedule,
    NotSynced,
    QStashFailed,
    SettingError,
)
from stashjobs.job_type import JobType
from stashjobs.observability import redaction
from stashjobs.producer import cron as cron_fields
from stashjobs.producer import enqueue, qstash_client
from stashjobs.producer import message as messages
from stashjobs.store import database

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from psycopg import Connection
    from qstash.schedule import Schedule as QStashSchedule

    from stashjobs.producer.enqueue import Enqueued

log = logging.getLogger("stashjobs")

Answer = TypeVar("Answer")
State = Literal["active", "paused", "not synced", "not declared", "unknown"]

# By this QStash's copy tells whether it is still the declared one, whatever else it normalizes.
FINGERPRINT_HEADER = "Stashjobs-Schedule"

_declared: dict[str, Schedule] = {}


@dataclass(frozen=True, slots=True)
class Schedule:
    """A job to be enqueued again and again.

    Attributes:
        name: Its own, unique in the project.
        job: The job type.
        cron: Five fields, as QStash takes them (Upstash docs, "Schedules"; `cron.check`).
        timezone: An IANA name.
        payload: Plain JSON, the same at each firing.
    """

    name: str
    job: JobType[Any, Any]
    cron: str
    timezone: str
    payload: Any

    @property
    def schedule_id(self) -> str:
        """QStash's id: creating it again overwrites it, so it is never there twice."""
        return f"{_prefix()}{self.name}"

    def message(self) -> dict[str, Any]:
        """What QStash's API is to be called with."""
        body = {
            "type": self.job.type,
            "payload": self.payload,
            "metadata": {"schedule": self.name},
        }
        message: dict[str, Any] = {
            "schedule_id": self.schedule_id,
            "destination": messages.url_of(self.job),
            "cron": f"CRON_TZ={self.timezone} {self.cron}",
            "body": body,
            **messages.asked_of(self.job, retries=self.job.retries),
        }
        text = json.dumps(message, sort_keys=True)
        message["headers"] = {FINGERPRINT_HEADER: hashlib.sha256(text.encode()).hexdigest()}
        return message


@dataclass(frozen=True, slots=True)
class Changes:
    """What a sync did, or would do: names of schedules. `refused` has QStash's reasons, by name."""

    created: list[str]
    changed: list[str]
    deleted: list[str]
    unchanged: list[str]
    refused: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Listed:
    """A schedule, by what the code says and by what QStash says.

    Attributes:
        state: `active`, `paused`, `not synced` (missing at QStash), `not declared` (in code) or
            `unknown` (QStash could not be asked).
        next_run: None: it is paused, or QStash does not say.
        last_run: None: it has not fired yet, or QStash does not say.
        is_declared: Whether this process's code declares it.
        is_remote: Whether QStash has it.
    """

    name: str
    cron: str
    timezone: str
    job_type: str
    state: State
    paused: bool
    next_run: datetime | None
    last_run: datetime | None
    is_declared: bool
    is_remote: bool


# What was done, and who did it, is in one transaction with what it writes.
RECORD_ACTION = """
INSERT INTO schedule_actions (actor, action, schedule, job_id) VALUES (%s, %s, %s, %s)
"""


def declare(schedule: Schedule) -> Schedule:
    """Register a schedule.

    Raises:
        InvalidPayload: No row could hold its payload.
        ValueError: Its cron expression or time zone is invalid, its job's payloads are encrypted,
            or another schedule has its name.
    """
    _check(schedule)
    other = _declared.get(schedule.name)
    if other is not None and other.job.type != schedule.job.type:
        raise ValueError(
            f"schedule {schedule.name!r} is declared twice: "
            f"for {other.job.type} and for {schedule.job.type}"
        )
    _declared[schedule.name] = schedule
    return schedule


def check_clock(cron: str, timezone: str) -> None:
    """What a schedule's expression and its time zone must be.

    Raises:
        ValueError: QStash would refuse the expression or it never fires, and the message names the
            field; or the time zone is not known.
    """
    from zoneinfo import ZoneInfo

    cron_fields.check(cron)
    try:
        ZoneInfo(timezone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"unknown time zone {timezone!r}") from error


def declared() -> list[Schedule]:
    """Every schedule that this process knows, by name."""
    return [_declared[name] for name in sorted(_declared)]


def sync(wanted: Sequence[Schedule], *, dry_run: bool = False) -> Changes:
    """Make QStash's schedules of this stage those that are wanted: create, change, delete. A paused
    schedule stays paused. Schedules that are not stashjobs' are never touched. One that QStash
    refuses is told in the answer and keeps none of the others from being synced.

    Raises:
        SettingError: A setting is missing.
        qstash.errors.QStashError: QStash refused to list its schedules.
        httpx.HTTPError: QStash cannot be reached; what was done before stays.
    """
    from qstash.errors import QStashError

    there = {found.schedule_id: found for found in remote()}
    changes = Changes([], [], [], [])
    for schedule in wanted:
        message = schedule.message()
        found = there.pop(schedule.schedule_id, None)
        if found is not None and _is_same(found, message):
            changes.unchanged.append(schedule.name)
            continue
        try:
            if not dry_run:
                qstash_client.qstash().schedule.create_json(**message)
                if found is not None and found.paused:
                    qstash_client.qstash().schedule.pause(schedule.schedule_id)
        except QStashError as error:
            changes.refused[schedule.name] = redaction.one_line(error)
            continue
        (changes.created if found is None else changes.changed).append(schedule.name)
    for schedule_id in there:
        name = schedule_id.removeprefix(_prefix())
        try:
            if not dry_run:
                qstash_client.qstash().schedule.delete(schedule_id)
        except QStashError as error:
            changes.refused[name] = redaction.one_line(error)
            continue
        changes.deleted.append(name)
    return changes


def remote() -> list[QStashSchedule]:
    """QStash's schedules of this project and stage.

    Raises:
        SettingError: A setting is missing.
        qstash.errors.QStashError: QStash refused.
    """
    found = qstash_client.qstash().schedule.list()
    return [each for each in found if each.schedule_id.startswith(_prefix())]


def list_all() -> list[Listed]:
    """Every schedule that the code declares or QStash has, by name.

    Raises:
        SettingError: A setting is missing.
        QStashFailed: QStash did not answer; `list_declared` needs no answer.
    """
    return _join(_remote_by_name())


def list_declared() -> list[Listed]:
    """Those that the code declares, where QStash cannot be asked: each is `unknown`."""
    return _join(None)


def pause(name: str, *, actor: str) -> None:
    """Have a schedule not fire until it is resumed, and write down who wanted it so.

    Raises:
        NoSuchSchedule: No schedule has that name.
        NotSynced: QStash does not have it.
        QStashFailed: QStash cannot be reached, or refused. Then nothing is written down.
        SettingError: A setting is missing.
    """
    _tell_qstash(name, "pause", actor)


def resume(name: str, *, actor: str) -> None:
    """Have a paused schedule fire again. Writes down and raises what `pause` does."""
    _tell_qstash(name, "resume", actor)


def run_now(name: str, *, actor: str) -> Enqueued:
    """Enqueue a schedule's job now, besides its firings, paused or not, and write down who wanted
    it so: the row of the job and the record are one transaction.

    Raises:
        NoSuchSchedule: No schedule has that name.
        NotSynced: Only QStash knows it, so there is no job to enqueue.
        Exception: What `Job.enqueue` raises.
    """
    schedule = _declared.get(name)
    if schedule is None:
        if name in _remote_by_name():
            raise NotSynced(f"schedule {name} is not declared here, so it cannot be run")
        raise NoSuchSchedule(f"there is no schedule {name[:100]}")
    # As in any enqueue: a missing setting is found before anything is written.
    settings.base_url()
    qstash_client.qstash()
    with database.borrowed() as own, own.transaction():
        enqueued = enqueue.enqueue(
            schedule.job, schedule.payload, {"metadata": {"schedule": name}}, own
        )
        _record(own, actor, "run", name, enqueued.job_id)
    enqueued.publish()
    return enqueued


def name_of(found: QStashSchedule) -> str:
    """The name that a schedule of QStash's was declared with."""
    return found.schedule_id.removeprefix(_prefix())


def _tell_qstash(name: str, action: Literal["pause", "resume"], actor: str) -> None:
    if name not in _remote_by_name():
        if name in _declared:
            raise NotSynced(f"QStash does not have schedule {name}; run stashjobs schedules sync")
        raise NoSuchSchedule(f"there is no schedule {name[:100]}")
    tell = getattr(qstash_client.qstash().schedule, action)
    # Where QStash refuses, the record is undone.
    with database.borrowed() as own, own.transaction():
        _record(own, actor, action, name, None)
        _ask(lambda: tell(_prefix() + name))


def _record(own: Connection[Any], actor: str, action: str, name: str, job_id: str | None) -> None:
    own.execute(RECORD_ACTION, [actor, action, name, job_id])
    log.info("schedule", extra={"schedule": name, "action": action, "actor": actor})


def _remote_by_name() -> dict[str, QStashSchedule]:
    return {name_of(found): found for found in _ask(remote)}


def _ask(question: Callable[[], Answer]) -> Answer:
    try:
        return question()
    except SettingError:
        raise
    except Exception as error:
        log.warning("QStash could not be asked: %s", redaction.one_line(error))
        raise QStashFailed("QStash did not do it; the log says why. Try again") from error


def _join(there: dict[str, QStashSchedule] | None) -> list[Listed]:
    return [
        _listed(name, _declared.get(name), (there or {}).get(name), is_known=there is not None)
        for name in sorted({*_declared, *(there or {})})
    ]


def _listed(
    name: str, own: Schedule | None, found: QStashSchedule | None, *, is_known: bool
) -> Listed:
    paused = found is not None and found.paused
    timezone, cron = _timezone_and_fields(found.cron) if found else ("UTC", "")
    return Listed(
        name=name,
        cron=own.cron if own else cron,
        timezone=own.timezone if own else timezone,
        job_type=own.job.type if own else (found and found.label) or "",
        state=_state(own, found) if is_known else "unknown",
        paused=paused,
        next_run=None if paused or found is None else _moment(found.next_schedule_time),
        last_run=None if found is None else _moment(found.last_schedule_time),
        is_declared=own is not None,
        is_remote=found is not None,
    )


def _state(own: Schedule | None, found: QStashSchedule | None) -> State:
    if found is None:
        return "not synced"
    if found.paused:
        return "paused"
    return "not declared" if own is None else "active"


def _timezone_and_fields(cron: str) -> tuple[str, str]:
    """Both parts of a cron expression of QStash's (Upstash docs, "Schedules", "Timezones")."""
    first, _, rest = cron.partition(" ")
    return (first.removeprefix("CRON_TZ="), rest) if first.startswith("CRON_TZ=") else ("UTC", cron)


def _moment(milliseconds: int | None) -> datetime | None:
    return datetime.fromtimestamp(milliseconds / 1000, UTC) if milliseconds else None


def _prefix() -> str:
    return f"stashjobs-{settings.stage()}-"


def _is_same(found: QStashSchedule, message: dict[str, Any]) -> bool:
    headers = {name.lower(): values for name, values in (found.headers or {}).items()}
    return (
        headers.get(FINGERPRINT_HEADER.lower()) == [message["headers"][FINGERPRINT_HEADER]]
        and found.cron == message["cron"]
        and found.destination == message["destination"]
    )


def _check(schedule: Schedule) -> None:
    if not schedule.name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"schedule name {schedule.name!r}: use letters, digits, - and _")
    try:
        check_clock(schedule.cron, schedule.timezone)
    except ValueError as error:
        raise ValueError(f"{schedule.name}: {error}") from error
    if (misfit := envelope.unstorable(schedule.payload)) is not None:
        raise InvalidPayload(schedule.job.type, [f"it contains {misfit}"])
    if schedule.job.encrypted:
        raise ValueError(
            f"{schedule.name}: {schedule.job.type} is encrypted, and a schedule's payload would "
            "pass through QStash in plain words; have the schedule enqueue another type that does"
        )
