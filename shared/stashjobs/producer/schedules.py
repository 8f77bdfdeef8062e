"""Schedules are code: declared beside their job with `Job.schedule`, and created at QStash by
`stashjobs schedules sync`.

QStash keeps a schedule and sends its fixed body each time it fires. The body has no job id, so each
time it is a new job, whose id is derived from the message's own (`delivery.receive`).
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stashjobs import envelope
from stashjobs.config import settings
from stashjobs.errors import (
    InvalidPayload,
)
from stashjobs.job_type import JobType, is_left_out
from stashjobs.observability import redaction
from stashjobs.producer import cron as cron_fields
from stashjobs.producer import message as messages
from stashjobs.producer import qstash_client

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qstash.schedule import Schedule as QStashSchedule


log = logging.getLogger("stashjobs")

# By this QStash's copy tells whether it is still the declared one, whatever else it normalizes.
FINGERPRINT_HEADER = "Stashjobs-Schedule"

_declared: dict[str, Schedule] = {}


@dataclass(frozen=True, slots=True)
class Schedule:
    """A job that is enqueued on a schedule.

    Attributes:
        name: Unique in the project.
        job: The job type.
        cron: Five fields, as QStash takes them (Upstash docs, "Schedules"; `cron.check`).
        timezone: An IANA name.
        payload: Plain JSON, the same for every run.
        expires: No attempt of a run begins later than this many seconds after its first delivery.
    """

    name: str
    job: JobType[Any, Any]
    cron: str
    timezone: str
    payload: Any
    expires: float | None = None

    @property
    def schedule_id(self) -> str:
        """QStash's id: creating it again overwrites it, so it is never there twice. It has the app
        and the stage in it, since others may share the account."""
        return f"{prefix(settings.base_url())}{self.name}"

    def message(self) -> dict[str, Any]:
        """What QStash's API is to be called with."""
        body: dict[str, Any] = {
            "type": self.job.type,
            "payload": self.payload,
            "metadata": {"schedule": self.name},
        }
        if self.expires is not None:
            body["expires"] = self.expires
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
    """What a sync did, or would do: names of schedules. `refused` has QStash's reasons, by name;
    `paused` are those whose declaration has changed and which change when they are resumed."""

    created: list[str]
    changed: list[str]
    deleted: list[str]
    unchanged: list[str]
    refused: dict[str, str] = field(default_factory=dict)
    paused: list[str] = field(default_factory=list)


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
    """Every schedule that this process knows, by name, but those of types that are left out of
    this stage."""
    known = (_declared[name] for name in sorted(_declared))
    return [schedule for schedule in known if not is_left_out(schedule.job.type)]


def sync(
    wanted: Sequence[Schedule], *, dry_run: bool = False, moved_from: str | None = None
) -> Changes:
    """Make QStash's schedules of this app and stage those that are wanted: create, change, delete.
    Schedules of others are never touched. One that QStash refuses is told in the answer and keeps
    none of the others from being synced.

    A paused schedule is left as it is, and changes when it is resumed (`resume`): creating it anew
    would start it, and QStash may fail before it could be paused again.

    Args:
        wanted: Those declared.
        dry_run: Only tell.
        moved_from: The `BASE_URL` that this app had before, whose schedules are its own too.

    Raises:
        SettingError: A setting is missing.
        qstash.errors.QStashError: QStash refused to list its schedules.
        httpx.HTTPError: QStash cannot be reached; what was done before stays.
    """
    from qstash.errors import QStashError

    there = {found.schedule_id: found for found in remote(moved_from)}
    changes = Changes([], [], [], [])
    for schedule in wanted:
        _bring(schedule, there, changes, dry_run=dry_run)
    names = {schedule.name for schedule in wanted}
    for schedule_id, found in there.items():
        name = name_of(found)
        try:
            if not dry_run:
                qstash_client.qstash().schedule.delete(schedule_id)
        except QStashError as error:
            changes.refused[name] = redaction.one_line(error)
            continue
        if name not in names:  # else it has another id now
            changes.deleted.append(name)
    return changes


def _bring(
    schedule: Schedule, there: dict[str, QStashSchedule], changes: Changes, *, dry_run: bool
) -> None:
    """Bring one to QStash. What is left in `there` is to be deleted."""
    from qstash.errors import QStashError

    message = schedule.message()
    found = there.pop(schedule.schedule_id, None)
    if found is not None and _is_same(found, message):
        changes.unchanged.append(schedule.name)
        return
    earlier = [each for each in there.values() if name_of(each) == schedule.name]
    candidates = earlier if found is None else [found, *earlier]
    if paused := [each.schedule_id for each in candidates if each.paused]:
        there.pop(paused[0], None)
        changes.paused.append(schedule.name)
        return
    try:
        if not dry_run:
            qstash_client.qstash().schedule.create_json(**message)
    except QStashError as error:
        changes.refused[schedule.name] = redaction.one_line(error)
        for each in earlier:
            del there[each.schedule_id]
        return
    (changes.changed if candidates else changes.created).append(schedule.name)


def pause(found: QStashSchedule) -> None:
    """Have QStash not fire it until it is resumed.

    Raises:
        qstash.errors.QStashError | httpx.HTTPError: QStash refused, or cannot be reached.
    """
    qstash_client.qstash().schedule.pause(found.schedule_id)


def resume(found: QStashSchedule, own: Schedule | None) -> None:
    """Have it fire again, as it is declared now.

    Args:
        found: What QStash has.
        own: What the code declares; None: nothing.

    Raises:
        qstash.errors.QStashError | httpx.HTTPError: QStash refused, or cannot be reached.
    """
    at_qstash = qstash_client.qstash().schedule
    if own is not None:
        message = own.message()
        if found.schedule_id != own.schedule_id:
            at_qstash.create_json(**message)
            at_qstash.delete(found.schedule_id)
            return
        if not _is_same(found, message):
            at_qstash.create_json(**message)
    at_qstash.resume(found.schedule_id)


def remote(moved_from: str | None = None) -> list[QStashSchedule]:
    """QStash's schedules of this app and stage, those with the ids of earlier versions included.

    Raises:
        SettingError: A setting is missing.
        qstash.errors.QStashError: QStash refused.
    """
    places = [settings.base_url(), *([moved_from.rstrip("/")] if moved_from else [])]
    prefixes = tuple(map(prefix, places))
    addresses = {messages.url_of(schedule.job) for schedule in declared()}

    def is_ours(each: QStashSchedule) -> bool:
        if each.schedule_id.startswith(prefixes):
            return True
        return each.schedule_id.startswith(_earlier_prefix()) and (
            each.destination in addresses
            or each.destination.startswith(tuple(f"{place}/" for place in places))
        )

    return [each for each in qstash_client.qstash().schedule.list() if is_ours(each)]


def name_of(found: QStashSchedule) -> str:
    """The name that a schedule of QStash's was declared with."""
    earlier = _earlier_prefix()
    if found.schedule_id.startswith(earlier):
        return found.schedule_id.removeprefix(earlier)
    return found.schedule_id.removeprefix(f"sj-{settings.stage()}-").partition("-")[2]


def prefix(base_url: str) -> str:
    """What the ids of an app's schedules at QStash begin with: its stage, and a hash of that and
    its address, since apps that share an account may have stages of the same name."""
    stage = settings.stage()
    app = hashlib.sha256(f"{stage} {base_url}".encode()).hexdigest()[:10]
    return f"sj-{stage}-{app}-"


def _earlier_prefix() -> str:
    """That of versions before 1.0, which every app of the stage had: there, the destination tells
    whose it is."""
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
    if schedule.expires is not None and not 0 < schedule.expires <= envelope.MAX_EXPIRES_SECONDS:
        raise ValueError(
            f"{schedule.name}: expires is {schedule.expires}, it must be over 0 and at most "
            f"{envelope.MAX_EXPIRES_SECONDS} seconds"
        )
    if (misfit := envelope.unstorable(schedule.payload)) is not None:
        raise InvalidPayload(schedule.job.type, [f"it contains {misfit}"])
    if schedule.job.encrypted:
        raise ValueError(
            f"{schedule.name}: {schedule.job.type} is encrypted, and a schedule's payload would "
            "pass through QStash in plain words; have the schedule enqueue another type that does"
        )
