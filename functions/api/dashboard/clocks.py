"""What EventBridge Scheduler calls by itself: the schedules that are in template.yaml.

They are part of the deployment, so they are changed there and nowhere else; a test holds this list
against the template.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from cronsim import CronSim

from stashjobs.job_type import is_left_out

EVERY_MINUTE = "* * * * *"


@dataclass(frozen=True, slots=True)
class Clock:
    """A schedule of the template.

    Attributes:
        function: Its logical id there.
        cron: When, in UTC.
        job_type: Of the job that each call is. None: a call leaves no row.
    """

    name: str
    function: str
    about: str
    cron: str = EVERY_MINUTE
    job_type: str | None = None

    @property
    def expression(self) -> str:
        """As EventBridge takes it, whose crons end with a year."""
        if self.cron == EVERY_MINUTE:
            return "rate(1 minute)"
        minute, hour, day, month, _ = self.cron.split()
        return f"cron({minute} {hour} {day} {month} ? *)"

    def next_run(self, now: datetime) -> datetime:
        """When it is called next."""
        return next(CronSim(self.cron, now.astimezone(UTC)))


_CLOCKS = (
    Clock(
        "nightly-cleanup",
        "CleanupOldDataFunction",
        "Moves what is past its retention to the archive.",
        cron="0 3 * * *",
        job_type="cleanup-old-data",
    ),
    Clock(
        "relay",
        "RelayFunction",
        "Publishes jobs that are not published yet, and frees expired leases.",
    ),
    Clock("monitor", "MonitorFunction", "Measures what the alarms watch."),
)


def of_stage() -> list[Clock]:
    """What EventBridge calls in this stage."""
    return [clock for clock in _CLOCKS if clock.job_type is None or not is_left_out(clock.job_type)]
