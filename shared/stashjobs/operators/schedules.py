"""What an operator sees of schedules and does to them: list, pause, resume, run now."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from stashjobs.config import settings
from stashjobs.errors import NoSuchSchedule, NotSynced, QStashFailed, SettingError
from stashjobs.observability import redaction
from stashjobs.operators import sql
from stashjobs.producer import enqueue, qstash_client, schedules
from stashjobs.store import database

if TYPE_CHECKING:
    from collections.abc import Callable

    from psycopg import Connection
    from qstash.schedule import Schedule as QStashSchedule

    from stashjobs.producer.enqueue import Enqueued
    from stashjobs.producer.schedules import Schedule

log = logging.getLogger("stashjobs")

Answer = TypeVar("Answer")
State = Literal["active", "paused", "not synced", "not declared", "unknown"]


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
    schedule = _declared().get(name)
    if schedule is None:
        if name in _remote_by_name():
            raise NotSynced(f"schedule {name} is not declared here, so it cannot be run")
        raise NoSuchSchedule(f"there is no schedule {name[:100]}")
    # As in any enqueue: a missing setting is found before anything is written.
    settings.base_url()
    qstash_client.qstash()
    with database.borrowed() as own, own.transaction():
        enqueued = enqueue.enqueue(
            schedule.job,
            schedule.payload,
            {"metadata": {"schedule": name}, "expires": schedule.expires},
            own,
        )
        _record(own, actor, "run", name, enqueued.job_id)
    enqueued.publish()
    return enqueued


def _tell_qstash(name: str, action: Literal["pause", "resume"], actor: str) -> None:
    found, own_schedule = _remote_by_name().get(name), _declared().get(name)
    if found is None:
        if own_schedule is not None:
            raise NotSynced(f"QStash does not have schedule {name}; run stashjobs schedules sync")
        raise NoSuchSchedule(f"there is no schedule {name[:100]}")
    # Where QStash refuses, the record is undone.
    with database.borrowed() as own, own.transaction():
        _record(own, actor, action, name, None)
        if action == "pause":
            ask(lambda: schedules.pause(found))
        else:
            ask(lambda: schedules.resume(found, own_schedule))


def _record(own: Connection[Any], actor: str, action: str, name: str, job_id: str | None) -> None:
    own.execute(sql.RECORD_SCHEDULE_ACTION, [actor, action, name, job_id])
    log.info("schedule", extra={"schedule": name, "action": action, "actor": actor})


def _remote_by_name() -> dict[str, QStashSchedule]:
    return {schedules.name_of(found): found for found in ask(schedules.remote)}


def ask(question: Callable[[], Answer]) -> Answer:
    """What QStash answers.

    Raises:
        QStashFailed: It refused, or cannot be reached.
        SettingError: A setting is missing.
    """
    try:
        return question()
    except SettingError:
        raise
    except Exception as error:
        log.warning("QStash could not be asked: %s", redaction.one_line(error))
        raise QStashFailed("QStash did not do it; the log says why. Try again") from error


def _declared() -> dict[str, Schedule]:
    return {schedule.name: schedule for schedule in schedules.declared()}


def _join(there: dict[str, QStashSchedule] | None) -> list[Listed]:
    own = _declared()
    return [
        _listed(name, own.get(name), (there or {}).get(name), is_known=there is not None)
        for name in sorted({*own, *(there or {})})
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
