"""Schedules are code: declared beside their job with `Job.schedule`, and brought to QStash by
`stashjobs schedules sync`.

QStash keeps a schedule and sends its fixed body at each firing. The body has no job id, so each
firing is a new job, whose id is made from the message's own (`worker`).
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
from stashjobs.job_type import JobType
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
        return f"{prefix()}{self.name}"

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
        name = schedule_id.removeprefix(prefix())
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
    return [each for each in found if each.schedule_id.startswith(prefix())]


def name_of(found: QStashSchedule) -> str:
    """The name that a schedule of QStash's was declared with."""
    return found.schedule_id.removeprefix(prefix())


def prefix() -> str:
    """What the ids of this stage's schedules at QStash begin with."""
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
