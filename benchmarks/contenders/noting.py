"""The work that every queue does in the stack's benchmark: note when a job was sent and run."""

from __future__ import annotations

import os
import time

FILE = "MEASURED_FILE"


def note(sent: float) -> None:
    """One line, in one write, so that workers at the same time do not mix theirs."""
    with open(os.environ[FILE], "a") as file:  # noqa: PTH123 - a worker appends thousands of times
        file.write(f"{sent} {time.time()}\n")
