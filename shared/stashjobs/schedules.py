"""Schedules are code: declared beside their job with `Job.schedule`, and brought to QStash by
`stashjobs schedules sync`.

QStash keeps a schedule and sends its fixed body at each firing. The body has no job id, so each
firing is a new job, whose id is made from the message's own (`worker`).
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stashjobs import dispatcher, settings
from stashjobs.job import Job

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qstash.schedule import Schedule as QStashSchedule

    from stashjobs.dispatcher import Enqueued


# By this QStash's copy tells whether it is still the declared one, whatever else it normalizes.
FINGERPRINT_HEADER = "Stashjobs-Schedule"

_declared: dict[str, Schedule] = {}


@dataclass(frozen=True, slots=True)
class Schedule:
    """A job to be enqueued again and again.

    Attributes:
        name: Its own, unique in the project.
        job: The job type.
        cron: Five fields, as QStash takes them (Upstash docs, "Schedules").
        timezone: An IANA name.
        payload: Plain JSON, the same at each firing.
    """

    name: str
    job: Job[Any, Any]
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
            "destination": dispatcher.url_of(self.job),
            "cron": f"CRON_TZ={self.timezone} {self.cron}",
            "body": body,
            "retries": dispatcher.retries_at_qstash(self.job.retries),
            "timeout": math.ceil(self.job.timeout) + dispatcher.ANSWER_GRACE_SECONDS,
            "failure_callback": settings.base_url() + dispatcher.DELIVERY_FAILED_ENDPOINT,
            "label": self.job.type,
        }
        if self.job.retry_delay is not None:
            message["retry_delay"] = self.job.retry_delay
        if (flow_control := dispatcher.flow_control_of(self.job)) is not None:
            message["flow_control"] = flow_control
        text = json.dumps(message, sort_keys=True)
        message["headers"] = {FINGERPRINT_HEADER: hashlib.sha256(text.encode()).hexdigest()}
        return message


@dataclass(frozen=True, slots=True)
class Changes:
    """What a sync did, or would do: names of schedules."""

    created: list[str]
    changed: list[str]
    deleted: list[str]
    unchanged: list[str]


def declare(schedule: Schedule) -> Schedule:
    """Register a schedule.

    Raises:
        ValueError: Its cron expression or time zone is not one, its job's payloads are sealed, or
            another schedule has its name.
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


def declared() -> list[Schedule]:
    """Every schedule that this process knows, by name."""
    return [_declared[name] for name in sorted(_declared)]


def sync(wanted: Sequence[Schedule], *, dry_run: bool = False) -> Changes:
    """Make QStash's schedules of this stage those that are wanted: create, change, delete. A paused
    schedule stays paused. Schedules that are not stashjobs' are never touched.

    Raises:
        SettingError: A setting is missing.
        qstash.errors.QStashError: QStash refused; what was done before stays.
    """
    there = {found.schedule_id: found for found in remote()}
    changes = Changes([], [], [], [])
    for schedule in wanted:
        message = schedule.message()
        found = there.pop(schedule.schedule_id, None)
        if found is not None and _is_same(found, message):
            changes.unchanged.append(schedule.name)
            continue
        (changes.created if found is None else changes.changed).append(schedule.name)
        if not dry_run:
            dispatcher.qstash().schedule.create_json(**message)
            if found is not None and found.paused:
                dispatcher.qstash().schedule.pause(schedule.schedule_id)
    for schedule_id in there:
        changes.deleted.append(schedule_id.removeprefix(_prefix()))
        if not dry_run:
            dispatcher.qstash().schedule.delete(schedule_id)
    return changes


def remote() -> list[QStashSchedule]:
    """QStash's schedules of this project and stage.

    Raises:
        SettingError: A setting is missing.
        qstash.errors.QStashError: QStash refused.
    """
    found = dispatcher.qstash().schedule.list()
    return [each for each in found if each.schedule_id.startswith(_prefix())]


def pause(name: str) -> None:
    """Have a schedule not fire until it is resumed.

    Raises:
        SettingError: A setting is missing.
        qstash.errors.QStashError: QStash refused; or it knows no such schedule.
    """
    dispatcher.qstash().schedule.pause(_prefix() + name)


def resume(name: str) -> None:
    """Have a paused schedule fire again. Raises what `pause` raises."""
    dispatcher.qstash().schedule.resume(_prefix() + name)


def run_now(schedule: Schedule) -> Enqueued:
    """Enqueue a schedule's job now, besides its firings, paused or not: a row first, like any other
    job. Raises what `Job.enqueue` raises."""
    return schedule.job.enqueue(schedule.payload, metadata={"schedule": schedule.name})


def name_of(found: QStashSchedule) -> str:
    """The name that a schedule of QStash's was declared with."""
    return found.schedule_id.removeprefix(_prefix())


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
    from zoneinfo import ZoneInfo

    if not schedule.name.replace("-", "").replace("_", "").isalnum():
        raise ValueError(f"schedule name {schedule.name!r}: use letters, digits, - and _")
    if len(schedule.cron.split()) != 5:
        raise ValueError(f"{schedule.name}: cron {schedule.cron!r} must have five fields")
    try:
        ZoneInfo(schedule.timezone)
    except (KeyError, ValueError, OSError) as error:
        raise ValueError(f"{schedule.name}: unknown time zone {schedule.timezone!r}") from error
    if schedule.job.encrypted:
        raise ValueError(
            f"{schedule.name}: {schedule.job.type} is encrypted, and a schedule's payload would "
            "pass through QStash in plain words; have the schedule enqueue another type that does"
        )
