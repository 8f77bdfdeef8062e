"""A server of the local stack that is started at the first connection.

The stack only opens the port; the program that answers there takes a second to import, and many a
run never needs it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
from typing import TYPE_CHECKING

from stashjobs.tools.servers import guard

if TYPE_CHECKING:
    from pathlib import Path


class OnDemand:
    """A Python module that is run, as `python -m MODULE HANDLE ARGUMENTS ...`, to serve on the
    listening socket `HANDLE`.

    Args:
        module: Its name.
        root: The repository.
        port: 0 chooses a free one.
        log_file: Where the program writes what it has to say.
    """

    def __init__(self, module: str, root: Path, port: int, log_file: Path) -> None:
        self._module = module
        self._root = root
        self._log_file = log_file
        self._listening = socket.create_server(("127.0.0.1", port), backlog=128)
        self._server: guard.Guarded | None = None
        self.arguments: list[str] = []
        self.variables: dict[str, str] = {}
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def start(self) -> None:
        """Wait for the first connection, without waiting here."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._listening, self._on_first_connection, loop)

    def serve_now(self) -> None:
        """Start the program; connections made before it is ready wait in the socket's queue."""
        with self._log_file.open("ab") as log:
            handle = self._listening.fileno()
            self._server = guard.start(
                [sys.executable, "-m", self._module, str(handle), *self.arguments],
                directory=self._root,
                environment={**os.environ, **self.variables},
                output=log,
                pass_handles=[handle],
            )
        self._listening.close()  # it is the program's now: if that ends, callers are refused

    def stop(self) -> None:
        """End the program, and what it kept in memory; close the port."""
        with contextlib.suppress(RuntimeError):  # no loop: `start` was not called
            if self._listening.fileno() >= 0:
                asyncio.get_running_loop().remove_reader(self._listening)
        self._listening.close()
        if self._server is not None:
            self._server.kill()
            self._server.process.wait()
            self._server.release()

    def _on_first_connection(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.remove_reader(self._listening)
        self.serve_now()
