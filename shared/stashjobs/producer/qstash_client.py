"""The official QStash client of this process."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

from stashjobs.config import qstash_region
from stashjobs.observability import redaction

if TYPE_CHECKING:
    from stashjobs.producer.qstash_http import TimedQStash

# Enqueue waits for QStash no longer than this, over all tries and the pauses after them; the row
# is safe, and is published later.
QSTASH_TIMEOUT_SECONDS = 5.0

_client_lock = threading.RLock()
# What it was made for, and it.
_client: tuple[tuple[qstash_region.Account, int], TimedQStash] | None = None


def qstash() -> TimedQStash:
    """The official client, made at its first use, and anew when the token is rotated or the process
    is a fork: sockets are not to be shared.

    Raises:
        SettingError: `QSTASH_TOKEN` is missing, or `QSTASH_REGION` names no region.
    """
    global _client  # noqa: PLW0603 - this module is the client's one owner
    wanted = qstash_region.account(), os.getpid()
    with _client_lock:
        if _client is not None and _client[0] == wanted:
            return _client[1]
        close()
        from stashjobs.producer.qstash_http import TimedQStash

        account, _ = wanted
        made = TimedQStash(account.token, account.url, timeout_seconds=QSTASH_TIMEOUT_SECONDS)
        _client = (wanted, made)
        return made


def why(error: Exception) -> str:
    """`error` in one line; with the next step, where QStash does not know the token."""
    line = redaction.one_line(error)
    if "status: 401" not in line:
        return line
    return (
        f"{line}. QStash at {qstash_region.account().url} does not know this token: each region "
        "has tokens of its own, so take that region's, or name another in QSTASH_REGION "
        "(stashjobs doctor says which region knows it)"
    )


def close() -> None:
    """Close the client's connections. The next use makes a new one."""
    global _client  # noqa: PLW0603
    with _client_lock:
        if _client is not None:
            _client[1].close()
            _client = None
