"""What EventBridge Scheduler calls by itself: the schedules that are in template.yaml.

They are part of the deployment, so they are changed there and nowhere else; a test holds this list
against the template.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta


@dataclass(frozen=True, slots=True)
class Clock:
    """A schedule of the template.

    Attributes:
        function: Its logical id there.
        hour: Of every day, in UTC. None: it is called every minute.
        job_type: Of the job that each call is. None: a call leaves no row.
    """

    name: str
    function: str
    about: str
    hour: int | None = None
    job_type: str | None = None

    @property
    def expression(self) -> str:
        """As EventBridge takes it."""
        return "rate(1 minute)" if self.hour is None else f"cron(0 {self.hour} * * ? *)"

    def next_run(self, now: datetime) -> datetime | None:
        """When it is called next. None: within a minute."""
        if self.hour is None:
            return None
        today = now.astimezone(UTC).replace(hour=self.hour, minute=0, second=0, microsecond=0)
        return today if today > now else today + timedelta(days=1)


CLOCKS = (
    Clock(
        "nightly-cleanup",
        "CleanupOldDataFunction",
        "Moves what is past its retention to the archive.",
        hour=3,
        job_type="cleanup-old-data",
    ),
    Clock(
        "relay",
        "RelayFunction",
        "Publishes jobs that are not published yet, and frees expired leases.",
    ),
    Clock("monitor", "MonitorFunction", "Measures what the alarms watch."),
)
