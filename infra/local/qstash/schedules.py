"""Schedules publish their message again and again (docs: "Schedules"; OpenAPI, `/v2/schedules`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import ids, views
from .cron import Cron
from .errors import ApiError, not_found, quota_exceeded
from .model import Headers, Limits, Message, Schedule, from_document, to_document
from .options import Options
from .queues import check_name

if TYPE_CHECKING:
    from .clock import Clock
    from .publish import Publisher
    from .store import Store
    from .timers import Timers

KIND = "schedule"
_NOT_REPEATED = (
    "upstash-cron",
    "upstash-schedule-id",
    "upstash-queue-name",
    "upstash-not-before",  # docs, "Delays in Schedules": "only possible via Upstash-Delay"
)


class Schedules:
    """The schedules of the account by id, each with one timer for its next firing."""

    def __init__(
        self, *, clock: Clock, limits: Limits, store: Store, timers: Timers, publisher: Publisher
    ) -> None:
        self._clock = clock
        self._limits = limits
        self._store = store
        self._timers = timers
        self._publisher = publisher
        loaded = (from_document(Schedule, document) for document in store.load(KIND))
        self._schedules = {schedule.id: schedule for schedule in loaded}
        self._running: dict[str, Schedule] = {}  # message id -> the schedule that published it

    def restore(self) -> None:
        """Set the timers of loaded schedules. Firings missed while stopped are not made up for."""
        for schedule in self._schedules.values():
            self._plan(schedule)

    def create(self, destination: str, headers: Headers, body: bytes, caller_ip: str) -> Schedule:
        """Create, or replace the settings of the schedule that has the given id."""
        options = Options(headers, self._limits)
        cron = options.text("upstash-cron") or ""
        Cron(cron)
        schedule_id = options.text("upstash-schedule-id") or ids.schedule_id()
        check_name("schedule id", schedule_id)
        queue = options.text("upstash-queue-name")
        kept = {name: value for name, value in headers.items() if name not in _NOT_REPEATED}
        # Refuses here what every firing would refuse.
        self._publisher.prepare(destination, kept, body, caller_ip=caller_ip, queue=queue)
        earlier = self._schedules.get(schedule_id)
        if earlier is None and len(self._schedules) >= self._limits.max_schedules:
            raise quota_exceeded("maxSchedules", self._limits.max_schedules, 412)
        schedule = Schedule(
            id=schedule_id,
            cron=cron,
            destination=destination,
            created_at=earlier.created_at if earlier else self._clock.now_ms(),
            options=kept,
            body=body,
            caller_ip=caller_ip,
            queue_name=queue,
            last_time=earlier.last_time if earlier else None,
        )
        self._schedules[schedule_id] = schedule
        self._plan(schedule)
        return schedule

    def get(self, schedule_id: str) -> Schedule:
        schedule = self._schedules.get(schedule_id)
        if schedule is None:
            raise not_found("schedule", schedule_id)
        return schedule

    def all(self) -> list[Schedule]:
        return list(self._schedules.values())

    def remove(self, schedule_id: str) -> None:
        self.get(schedule_id)
        del self._schedules[schedule_id]
        self._store.delete(KIND, schedule_id)

    def set_paused(self, schedule_id: str, *, paused: bool) -> None:
        """While paused, "the cron trigger will simply be ignored"."""
        schedule = self.get(schedule_id)
        schedule.paused = paused
        self._save(schedule)

    def message_ended(self, message: Message, delivered: bool) -> None:
        """Record how a message of the last firing ended."""
        schedule = self._running.pop(message.id, None)
        if schedule is not None and message.id in schedule.last_states:
            schedule.last_states[message.id] = "SUCCESS" if delivered else "FAIL"
            if schedule.id in self._schedules:
                self._save(schedule)

    def view(self, schedule: Schedule) -> dict[str, Any]:
        """OpenAPI, `Schedule`, and the further fields that the SDK reads."""
        delivery = Options(schedule.options, self._limits).delivery(
            schedule.body, schedule.caller_ip, self._clock.now_ms()
        )
        return {
            **views.compact(
                {
                    "scheduleId": schedule.id,
                    "cron": schedule.cron,
                    "destination": schedule.destination,
                    "createdAt": schedule.created_at,
                    **views.delivery_view(delivery),
                    "callerIp": schedule.caller_ip,  # the OpenAPI document's spelling
                    "queueName": schedule.queue_name,
                    "lastScheduleTime": schedule.last_time,
                    "nextScheduleTime": schedule.next_time,
                    "lastScheduleStates": schedule.last_states,
                    "error": schedule.error,
                }
            ),
            "retries": delivery.max_retries,
            **({"delay": delivery.delay} if delivery.delay else {}),
            "isPaused": schedule.paused,
        }

    def _plan(self, schedule: Schedule) -> None:
        schedule.next_time = Cron(schedule.cron).after_ms(self._clock.now_ms())
        self._save(schedule)
        if schedule.next_time is not None:
            self._timers.at(schedule.next_time, lambda: self._fire(schedule))

    def _fire(self, schedule: Schedule) -> None:
        if self._schedules.get(schedule.id) is not schedule:
            return  # deleted or replaced since the timer was set
        if not schedule.paused:
            self._publish(schedule)
        self._plan(schedule)

    def _publish(self, schedule: Schedule) -> None:
        schedule.last_time = self._clock.now_ms()
        schedule.error = None
        schedule.last_states = {}
        try:
            publication = self._publisher.prepare(
                schedule.destination,
                schedule.options,
                schedule.body,
                caller_ip=schedule.caller_ip,
                queue=schedule.queue_name,
                schedule_id=schedule.id,
            )
        except ApiError as error:
            schedule.error = error.message
            return
        for published in self._publisher.accept(publication):
            schedule.last_states[published.message_id] = "IN_PROGRESS"
            if not published.deduplicated:
                self._running[published.message_id] = schedule

    def _save(self, schedule: Schedule) -> None:
        self._store.put(KIND, schedule.id, to_document(schedule))
