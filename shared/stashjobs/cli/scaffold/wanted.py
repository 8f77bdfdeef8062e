"""The type that is asked for: its names, and what speaks against them."""

from __future__ import annotations

import builtins
import keyword
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stashjobs.worker import GATEWAY_SECONDS, RECORD_SECONDS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

# Lambda's limit for a function's name, less the longest stage (Lambda API, CreateFunction).
MAX_NAME = 64 - len("stashjobs-production-")
# functions/Makefile finds the folder of SendSmsFunction again where a word begins with a letter and
# goes on.
NAME = re.compile(r"[a-z][a-z0-9]+(-[a-z][a-z0-9]+)*")
ENDPOINT = re.compile(r"/api/jobs/[a-z0-9]+(-[a-z0-9]+)*")
# What the new module calls by these names, what the build leaves out, and what pytest would take
# for a test.
IN_USE = {"base_model", "config_dict", "context", "handler", "job", "jobs", "payload", "pytest"}
LEFT_OUT = {"test", "tests"}
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
    """

    type: str
    endpoint: str
    timeout: int
    retries: int
    schedule: str | None = None
    timezone: str = "UTC"
    encrypted: bool = False

    @property
    def folder(self) -> str:
        return self.type.replace("-", "_")

    @property
    def logical(self) -> str:
        """The beginning of its names in the templates: `SendSms`."""
        return "".join(word.capitalize() for word in self.type.split("-"))

    @property
    def setting(self) -> str:
        """The end of `FUNCTION_URL_SEND_SMS`."""
        return self.folder.upper()

    @property
    def has_url(self) -> bool:
        """API Gateway hangs up before a long job is done; that one has a URL of its own."""
        return self.timeout > GATEWAY_SECONDS

    def values(self) -> dict[str, Any]:
        """What the templates may name."""
        return {
            "type": self.type,
            "folder": self.folder,
            "logical": self.logical,
            "endpoint": self.endpoint,
            "retries": self.retries,
            "timeout": self.timeout,
            "schedule": self.schedule,
            "timezone": self.timezone,
            "encrypted": self.encrypted,
            "has_url": self.has_url,
            "attempts": self.retries + 1,
            "function_timeout": self.timeout + SPARE_SECONDS,
            "half_timeout": self.timeout // 2,
            "near_timeout_ms": round(self.timeout * 900),
        }


def objection(wanted: Wanted) -> str | None:
    """Why there can be no such type: its name, or what does not go together. None where it can."""
    if not NAME.fullmatch(wanted.type):
        return (
            f"{wanted.type!r} is no name for a job type: use lower case words joined by hyphens, "
            "each of two characters or more and beginning with a letter (send-sms)"
        )
    if len(wanted.type) > MAX_NAME:
        return f"{wanted.type!r} is longer than {MAX_NAME} characters; Lambda's names end there"
    if wanted.folder in IN_USE | LEFT_OUT or wanted.type.startswith("test-"):
        return f"{wanted.type!r} is a name that Python, pytest or the build needs; take another one"
    taken = {wanted.folder, wanted.logical, f"{wanted.logical}Result"}
    if any(keyword.iskeyword(name) or hasattr(builtins, name) for name in taken):
        return f"{wanted.type!r} is a word of Python's own; take another one"
    if not ENDPOINT.fullmatch(wanted.endpoint):
        return f"--endpoint {wanted.endpoint!r}: a route is /api/jobs/ and words joined by hyphens"
    if wanted.encrypted and wanted.schedule is not None:
        return (
            "--encrypted and --schedule do not go together: a schedule's payload passes through "
            "QStash in plain words; have another type's schedule enqueue this one"
        )
    return _about_the_schedule(wanted)


def _about_the_schedule(wanted: Wanted) -> str | None:
    if wanted.schedule is None:
        return None
    from datetime import UTC, datetime
    from zoneinfo import ZoneInfo

    from cronsim import CronSim, CronSimError

    try:
        CronSim(wanted.schedule, datetime.now(UTC))
    except CronSimError as error:
        return f"--schedule {wanted.schedule!r} is no cron expression: {error}"
    try:
        ZoneInfo(wanted.timezone)
    except (KeyError, ValueError, OSError):
        return f"--timezone {wanted.timezone!r} is not known; write it as Europe/Rome"
    return None


def clash(
    wanted: Wanted, root: Path, *, types: Iterable[str], routes: Iterable[str], names: Iterable[str]
) -> str | None:
    """What of the name is taken already; None where nothing is.

    Args:
        wanted: The new type.
        root: The checkout.
        types: The job types that there are.
        routes: Their paths, and those of all other functions.
        names: The logical ids in the templates.
    """
    if wanted.type in set(types):
        return f"there is a job type {wanted.type} already"
    if wanted.endpoint in set(routes):
        return f"the route {wanted.endpoint} is taken; give another one with --endpoint"
    for path in (
        f"functions/{wanted.folder}",
        f"tests/integration/{wanted.folder}",
        f"docs/{wanted.type}.md",
    ):
        if (root / path).exists():
            return f"{path} is there already; choose another name"
    own = {
        f"{wanted.logical}{end}"
        for end in ("", "Function", "Logs", "FunctionName", "IsSlow", "Errors")
    }
    if found := own & set(names):
        return f"the templates have {min(found)} already; choose another name"
    return None
