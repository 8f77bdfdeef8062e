"""The stand-in for QStash, in a thread of its own: the SDK blocks the test's."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from infra.local.qstash import QStashOptions, QStashServer
from tests.loops import running_in_a_thread

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def qstash_running(options: QStashOptions | None = None) -> Iterator[QStashServer]:
    """The stand-in for QStash, on a free port."""
    server = QStashServer(options or QStashOptions(shutdown_grace=0))
    with running_in_a_thread(server):
        yield server
