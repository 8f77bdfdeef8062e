"""S3 on one machine: moto's server, started when somebody first connects.

The stack only opens the port; the program that answers there takes a second to import, and many a
run never needs it. What is stored is in that program's memory, and gone when the stack stops.

Run as a program (`python -m infra.local.s3 HANDLE BUCKET`) it serves on the socket that it was
given.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from typing import TYPE_CHECKING, Any

from infra.local import guard

if TYPE_CHECKING:
    from pathlib import Path

ACCOUNT = "123456789012"
BUCKET = "stashjobs-local"


class S3:
    """A bucket behind S3's HTTP API.

    Args:
        root: The repository.
        port: 0 chooses a free one.
        log_file: Where the server writes what it has to say.
    """

    def __init__(self, root: Path, port: int, log_file: Path) -> None:
        self._root = root
        self._log_file = log_file
        self._listening = socket.create_server(("127.0.0.1", port), backlog=128)
        self._server: guard.Guarded | None = None
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    @property
    def environment(self) -> dict[str, str]:
        """The settings that lead boto3 here."""
        return {
            "FILES_BUCKET": BUCKET,
            "AWS_ENDPOINT_URL_S3": self.url,
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
            "AWS_REGION": "us-east-1",
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def start(self) -> None:
        """Wait for the first connection, without waiting here."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._listening, self._on_first_connection, loop)

    def serve_now(self) -> None:
        """Start the program; connections made before it is ready wait in the socket's queue."""
        with self._log_file.open("ab") as log:
            handle = self._listening.fileno()
            self._server = guard.start(
                [sys.executable, "-m", "infra.local.s3", str(handle), BUCKET],
                directory=self._root,
                output=log,
                pass_handles=[handle],
            )
        self._listening.close()  # it is the program's now: if that ends, callers are refused

    def stop(self) -> None:
        """End it, and forget what was stored."""
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


def serve(handle: int, bucket: str) -> None:
    """Answer on the listening socket `handle` until the process is killed."""
    import logging

    from moto.moto_server.werkzeug_app import create_backend_app
    from moto.s3.models import s3_backends
    from werkzeug.serving import make_server

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    backend: Any = s3_backends[ACCOUNT]["aws"]
    backend.create_bucket(bucket, "us-east-1")
    app = create_backend_app("s3")
    make_server("127.0.0.1", 0, app, threaded=True, fd=handle).serve_forever()


if __name__ == "__main__":
    serve(int(sys.argv[1]), sys.argv[2])
