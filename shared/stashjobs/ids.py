"""Job ids: UUIDv7, so that they sort by the time they were made and keep the index compact."""

from __future__ import annotations

import os
import threading
import time
import uuid

_NAMESPACE = uuid.UUID("6f0a4a1e-8c1d-5a0e-9d59-1b8f3f0a7c55")
_lock = threading.Lock()
_last = 0


def new_job_id() -> str:
    """A new UUIDv7 (RFC 9562, section 5.7), greater than every earlier one of this process.

    The 12 bits of `rand_a` carry the fraction of the millisecond (RFC 9562, section 6.2,
    method 3), so ids made within one millisecond sort too.
    """
    global _last  # noqa: PLW0603 - the one piece of state that makes ids monotonic
    with _lock:
        # Nanoseconds to units of 1/4096 ms, which is what the 48 + 12 bits hold.
        ticks = max(time.time_ns() * 4096 // 1_000_000, _last + 1)
        _last = ticks
    value = (ticks >> 12) << 80 | 0x7 << 76 | (ticks & 0xFFF) << 64
    value |= 0b10 << 62 | int.from_bytes(os.urandom(8), "big") >> 2
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def job_id_from(source: str) -> str:
    """The job id of a message that brings none: the same source always gives the same id, so a
    redelivered message is the same job."""
    return str(uuid.uuid5(_NAMESPACE, source))
