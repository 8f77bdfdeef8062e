"""The stage's settings in Secrets Manager: read once, kept for a while, kept longer in need.

`SETTINGS_SECRET` names the secret, by ARN or by name; or several, with commas between them, of
which the first that has a setting wins. Each is a JSON object of settings. Without
`SETTINGS_SECRET` there is none, and nothing here is done.
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from typing import NamedTuple

from stashjobs.config import secrets_manager
from stashjobs.errors import SecretUnreadable, SettingError

SETTING = "SETTINGS_SECRET"
TTL_SETTING = "SETTINGS_TTL_SECONDS"
DEFAULT_TTL_SECONDS = 300.0
# How long after a failure before Secrets Manager is asked again.
PAUSE_SECONDS = 10.0
PLACEHOLDER = "REPLACE_ME"

log = logging.getLogger("stashjobs")


class _Known(NamedTuple):
    """What was read of `source`, and when the next reading is due (both by the `clock`)."""

    source: str
    values: dict[str, str]
    read_at: float
    due_at: float
    failure: str | None = None


_known: _Known | None = None
_lock = threading.Lock()


def clock() -> float:
    """Seconds. The time of day, since a Lambda may be frozen for hours between two deliveries, and
    a monotonic clock need not count those."""
    return time.time()


def value(name: str) -> str | None:
    """A setting of the secret; None where there is no secret, or it has no such setting.

    Raises:
        SettingError: The secret was never read, and cannot be read now or within this pause.
    """
    source = name_of_secret()
    if source is None:
        return None
    known = _known
    if known is None or known.source != source:
        with _lock:
            known = _current(source) or _read(source, None)
    elif clock() >= known.due_at and _lock.acquire(blocking=False):
        # One thread asks; the others go on with what is known.
        try:
            known = _current(source) or _read(source, known)
        finally:
            _lock.release()
    if known.failure is not None:
        raise SettingError(f"{name} is not in the environment, and {known.failure}")
    return known.values.get(name)


def known_value(name: str) -> str | None:
    """The last value read of a setting. Makes no call and never raises."""
    return None if _known is None else _known.values.get(name)


def refresh(*, older_than: float) -> bool:
    """Read the secret again where what is known is older than so many seconds. True: something in
    it has changed.

    For when a setting does not work: it may have been rotated a moment ago. The age
    is what keeps strangers with bad signatures from having Secrets Manager called by each of them.
    """
    source = name_of_secret()
    if source is None:
        return False
    with _lock:
        known = _known
        if known is None or known.source != source or known.failure is not None:
            return False  # the next use of a setting reads it anyway
        if clock() - known.read_at < older_than:
            return False
        return _read(source, known).values != known.values


def forget() -> None:
    """Forget everything, as in a new process."""
    global _known  # noqa: PLW0603 - this module is its one owner
    _known = None


def name_of_secret() -> str | None:
    """`SETTINGS_SECRET`, for the words of an error; None where there is none."""
    return os.environ.get(SETTING, "").strip() or None


def _current(source: str) -> _Known | None:
    """What another thread has read while this one waited for the lock."""
    known = _known
    if known is None or known.source != source or clock() >= known.due_at:
        return None
    return known


def _read(source: str, before: _Known | None) -> _Known:
    """Read the secret and keep it; where it cannot be read, what was known `before` is kept. Called
    with the lock held."""
    global _known  # noqa: PLW0603
    now = clock()
    try:
        values, ttl = _values(source), _ttl()
    except SettingError as error:
        if before is None or before.failure is not None:
            log.error("the settings cannot be read: %s", error)
            _known = _Known(source, {}, now, now + PAUSE_SECONDS, str(error))
        else:
            log.warning(
                "the settings cannot be read again, those of %.0f s ago are used: %s",
                now - before.read_at,
                error,
            )
            # `read_at` moves too, so that `refresh` waits its turn after a failure as well.
            _known = _Known(source, before.values, now, now + PAUSE_SECONDS)
        return _known
    _known = _Known(source, values, now, now + ttl)
    return _known


def _values(source: str) -> dict[str, str]:
    merged: dict[str, str] = {}
    first, *others = [part.strip() for part in source.split(",") if part.strip()]
    for secret_id in (first, *others):
        try:
            text = secrets_manager.read(secret_id)
        except SecretUnreadable as error:
            if secret_id != first and secrets_manager.NOT_FOUND in str(error):
                # The stack's own, before the first deploy that makes it.
                log.warning("the secret %s is not there yet: %s", secret_id, error)
                continue
            raise SettingError(
                f"the secret {secret_id} ({SETTING}) cannot be read: {error}. See docs/settings.md."
            ) from None
        for name, setting in _parse(secret_id, text).items():
            if not _is_given(merged.get(name)):
                merged[name] = setting
    return merged


def _is_given(setting: str | None) -> bool:
    return bool(setting and setting.strip()) and not str(setting).startswith(PLACEHOLDER)


def _parse(secret_id: str, text: str) -> dict[str, str]:
    """The settings in a secret's text. No error shows any of it."""
    try:
        document = json.loads(text)
    except ValueError as error:
        where = f" (line {error.lineno})" if isinstance(error, json.JSONDecodeError) else ""
        raise SettingError(
            f"the secret {secret_id} ({SETTING}) is not JSON{where}. It must be one object of "
            "settings and their values; see docs/settings.md."
        ) from None
    if not isinstance(document, dict):
        raise SettingError(
            f"the secret {secret_id} ({SETTING}) is JSON but not an object. It must be one object "
            "of settings and their values; see docs/settings.md."
        )
    return {
        # A setting that is itself JSON, such as WEBHOOK_SOURCES, may be written as it is.
        name: setting if isinstance(setting, str) else json.dumps(setting)
        for name, setting in document.items()
        if setting is not None
    }


def _ttl() -> float:
    given = os.environ.get(TTL_SETTING, "").strip()
    if given and not (given.isascii() and given.isdigit()):
        raise SettingError(f"{TTL_SETTING} must be a whole number of seconds")
    return float(given) if given else DEFAULT_TTL_SECONDS
