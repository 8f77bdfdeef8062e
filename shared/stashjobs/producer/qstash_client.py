"""The official QStash client of this process."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from stashjobs.config import settings

if TYPE_CHECKING:
    from stashjobs.producer.qstash_http import TimedQStash

# Enqueue waits for QStash no longer than this, over all tries and the pauses after them; the row
# is safe, and is published later.
QSTASH_TIMEOUT_SECONDS = 5.0

_client_lock = threading.RLock()
_client: tuple[tuple[str, str | None, int], TimedQStash] | None = (
    None  # what it was made for, and it
)


def qstash() -> TimedQStash:
    """The official client, made at its first use, and anew when the token is rotated or the process
    is a fork: sockets are not to be shared.

    Raises:
        SettingError: `QSTASH_TOKEN` is missing.
    """
    global _client  # noqa: PLW0603 - this module is the client's one owner
    wanted = settings.require("QSTASH_TOKEN"), settings.optional("QSTASH_URL"), os.getpid()
    with _client_lock:
        if _client is not None and _client[0] == wanted:
            return _client[1]
        close()
        from stashjobs.producer.qstash_http import TimedQStash

        token, url, _ = wanted
        made = TimedQStash(token, url, timeout_seconds=QSTASH_TIMEOUT_SECONDS)
        _client = (wanted, made)
        return made


def close() -> None:
    """Close the client's connections. The next use makes a new one."""
    global _client  # noqa: PLW0603
    with _client_lock:
        if _client is not None:
            _client[1].close()
            _client = None
