"""The type that is asked for, and its names."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from stashjobs.delivery.handler import RECORD_SECONDS
from stashjobs.delivery.receive import GATEWAY_SECONDS

# The end of an attempt is recorded after the job's own time; a little more does no harm.
SPARE_SECONDS = int(RECORD_SECONDS) + 3


@dataclass(frozen=True)
class Wanted:
    """A new job type.

    Attributes:
        type: As on the wire: `send-sms`.
        endpoint: Its route.
        timeout: Of one attempt, in whole seconds.
        schedule: A cron expression; None where nothing enqueues it by the clock.
        timezone: The schedule's.
        parallelism: How many of it may run at once.
    """

    type: str
    endpoint: str
    timeout: int
    retries: int
    schedule: str | None = None
    timezone: str = "UTC"
    encrypted: bool = False
    parallelism: int = 1

    @property
    def folder(self) -> str:
        return self.type.replace("-", "_")

    @property
    def logical(self) -> str:
        """The beginning of its names in the templates: `SendSms`."""
        return "".join(word.capitalize() for word in self.type.split("-"))

    @property
    def python_names(self) -> tuple[str, ...]:
        """Its function, its payload's model and its result's."""
        return self.folder, self.logical, f"{self.logical}Result"

    @property
    def has_url(self) -> bool:
        """API Gateway hangs up before a long job is done; that one has a URL of its own."""
        return self.timeout > GATEWAY_SECONDS

    def values(self) -> dict[str, Any]:
        """What the templates may name."""
        return {
            **asdict(self),
            "folder": self.folder,
            "logical": self.logical,
            "has_url": self.has_url,
            "spare": SPARE_SECONDS,
        }
