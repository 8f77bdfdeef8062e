"""Every error that the layer raises deliberately.

`PermanentError`, `RetryLater`, `Snooze` and `Cancelled` are for a job's function to raise: they say
how the attempt ended. Any other exception fails the attempt, which is retried while attempts are
left.
"""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


MAX_SNOOZE_SECONDS = 100 * 366 * 86_400.0


class StashjobsError(Exception):
    """The base of every error below."""


def how_to_install(module: str) -> str:
    """What to do about a module that is not installed, as part of a sentence: the extra of this
    package that brings it, where one does.

    Args:
        module: As `ModuleNotFoundError.name` has it.
    """
    import re
    from importlib import metadata

    package = re.sub(r"[-_.]+", "-", module.partition(".")[0]).lower()
    try:
        wanted = metadata.requires("stashjobs") or []
    except metadata.PackageNotFoundError:  # a Lambda's layer has the code alone
        wanted = []
    extras = {
        found[2]
        for line in wanted
        if (found := re.match(r"([A-Za-z0-9._-]+).*extra == ['\"]([a-z]+)['\"]", line))
        and re.sub(r"[-_.]+", "-", found[1]).lower() == package
    }
    if extras:
        # Those of a developer's machine bring what others bring too.
        extra = min(extras, key=lambda one: (one in {"local", "testing"}, one))
        return f"pip install 'stashjobs[{extra}]'"
    return "install the package that has it, and add it to the extra of that function"


class PermanentError(StashjobsError):
    """The job can never succeed as it is: it becomes `failed` at once and QStash stops."""


class EncryptionError(PermanentError):
    """An encrypted payload or result cannot be decrypted, or a payload that must be encrypted is
    plain. The message says why and never shows the plaintext."""


class RetryLater(StashjobsError):
    """The attempt failed, and the next one is to begin in `seconds`, not after the usual backoff.

    Args:
        seconds: How long to wait, in seconds. QStash honours at most one day (86400) and falls
            back to its own schedule above that (Upstash docs, "Retry", "Retry-After Headers").
        message: Why, for the log and the row.
    """

    def __init__(self, seconds: float, message: str = "the job asked to be retried later") -> None:
        super().__init__(message)
        if not math.isfinite(seconds):
            raise ValueError(f"RetryLater in {seconds} seconds: give a finite number")
        self.seconds = max(0.0, seconds)


class Snooze(StashjobsError):
    """The job puts itself off: it runs again at the given time, without using up an attempt.

    Args:
        message: Why, for the job's story.
        seconds: How long to wait, in seconds. Cannot be combined with `until`.
        until: When to run again (an aware datetime), however far ahead. Cannot be combined with
            `seconds`.

    Raises:
        ValueError: Neither or both are given, or one makes no sense.
    """

    def __init__(
        self,
        message: str = "the job put itself off",
        *,
        seconds: float | None = None,
        until: datetime | None = None,
    ) -> None:
        super().__init__(message)
        if (seconds is None) == (until is None):
            raise ValueError("Snooze: give seconds or until, one of them")
        if seconds is not None:
            if not (math.isfinite(seconds) and 0 <= seconds <= MAX_SNOOZE_SECONDS):
                raise ValueError(f"Snooze: seconds is {seconds}, it must be from 0 to 100 years")
            until = datetime.now(UTC) + timedelta(seconds=seconds)
        elif until is not None:
            if until.tzinfo is None:
                raise ValueError("Snooze: until has no time zone; give an aware datetime")
            if until > datetime.now(UTC) + timedelta(seconds=MAX_SNOOZE_SECONDS):
                raise ValueError(f"Snooze: until is {until}, which is over 100 years ahead")
        self.until: datetime = until  # type: ignore[assignment] # one of them was given


class SnoozedTooOften(StashjobsError):
    """A job was snoozed more often than one run allows, and has failed."""


class Cancelled(StashjobsError):
    """The job is no longer wanted: it becomes `cancelled` and QStash stops."""


class StepRefused(PermanentError):
    """A step cannot run here: the job's code changed between two attempts, say, and another step's
    result is kept in its place. The message names both."""


class DeadlineNear(BaseException):
    """Raised inside a job's function shortly before its time is up, so that the lease is released
    before Lambda kills the process. It derives from BaseException, as KeyboardInterrupt does, so
    that a broad `except` in a library does not swallow it. A job may clean up, and must then
    re-raise it.
    """


class DeliveryRefused(StashjobsError):
    """A direct invocation of a job's Lambda was refused, and nothing was recorded."""


class LeaseLost(StashjobsError):
    """This attempt no longer holds the job: its lease expired and another delivery claimed it."""


class SettingError(StashjobsError):
    """A setting is missing or has the wrong shape. The message names it and where it belongs."""


class UnknownJobType(StashjobsError):
    """No job of that type is declared in this process."""


class InvalidPayload(StashjobsError):
    """A payload does not fit the job's model. `reasons` has one line per misfit, without values."""

    def __init__(self, job_type: str, reasons: Sequence[str]) -> None:
        super().__init__(f"the payload does not fit {job_type}: {'; '.join(reasons)}")
        self.reasons = list(reasons)


class InvalidEnvelope(StashjobsError):
    """A message's body is not a job envelope."""


class PayloadTooLarge(StashjobsError):
    """A payload is larger than MAX_PAYLOAD_BYTES allows."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__(
            f"the payload is {size} bytes, the limit is {limit} bytes. "
            "Store the data elsewhere and enqueue a reference, or raise MAX_PAYLOAD_BYTES."
        )
        self.size = size
        self.limit = limit


class MigrationError(StashjobsError):
    """The migrations on disk and those applied to the database do not agree."""


class SecretUnreadable(StashjobsError):
    """Secrets Manager refused, or cannot be reached. The message says which; it shows no secret."""


class InvalidSignature(StashjobsError):
    """A request that QStash did not sign for this URL, this body and this moment.

    `reason` is stable, one word for the check that failed: missing, malformed, algorithm,
    signature, claims, issuer, subject, audience, expired, not_yet_valid or body. The message is a
    sentence for a log line; it holds no key, no token and no claim whose signature is unproven.
    `seconds_behind` is how far this machine's clock is behind QStash's, where that is the reason.
    """

    def __init__(self, reason: str, message: str, *, seconds_behind: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.seconds_behind = seconds_behind


class NotPossible(StashjobsError):
    """The job's status does not allow this. The message names the status."""


class NoSuchJob(NotPossible):
    """There is no job with this id."""


class NoSuchSchedule(StashjobsError):
    """Neither the code nor QStash has a schedule with this name."""


class NotSynced(StashjobsError):
    """A schedule that the code declares is missing at QStash, or the other way round."""


class QStashFailed(StashjobsError):
    """QStash cannot be reached, or refused the call. The log has its answer."""
