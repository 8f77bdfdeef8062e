"""Where a test's messages go: a server on 127.0.0.1 in QStash's place, for the official SDK.

It takes every message and delivers none. What a test delivers comes from the rows (`Jobs.drain`).
"""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 5
BATCH = "/v2/batch"  # Upstash docs, "Batch"; `publish` uses no other way


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.body)


@dataclass
class Server:
    """A server that remembers what it was asked and answers as it is told.

    Attributes:
        url: Where it listens.
        status: Of every answer; another one than 200 refuses.
        hangs: Whether it leaves every request without an answer.
        received: Every request, in order.
    """

    url: str = ""
    status: int = 200
    hangs: bool = False
    received: list[Received] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)
    _resumed: threading.Event = field(default_factory=threading.Event)

    def reset(self) -> None:
        """Take every message again and forget those that came; what hangs goes on."""
        with self.arrived:
            self.status, self.hangs = 200, False
            self.received.clear()
        self.resume()

    def resume(self) -> None:
        """Answer the requests that hang."""
        with self.arrived:
            self._resumed.set()
            self._resumed = threading.Event()

    def handle(self, request: Received) -> tuple[int, Any]:
        """The status and the document of the answer."""
        with self.arrived:
            first = sum(len(each.document) for each in self.received if each.path == BATCH)
            self.received.append(request)
            self.arrived.notify_all()
            hangs, resumed = self.hangs, self._resumed
        if hangs:
            resumed.wait()
        if self.status != 200:
            return self.status, {"error": "told to refuse"}
        if request.path == BATCH:
            numbers = range(first, first + len(request.document))
            return 200, [{"messageId": f"msg_{number}"} for number in numbers]
        return 200, {}

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Every message of every batch that was asked for."""
        return [message for batch in self.received for message in batch.document]

    def wait(self, count: int = 1) -> list[Received]:
        """The first requests, once they are here.

        Raises:
            AssertionError: They did not come.
        """
        with self.arrived:
            if not self.arrived.wait_for(lambda: len(self.received) >= count, PATIENCE_SECONDS):
                raise AssertionError(
                    f"{len(self.received)} requests came in {PATIENCE_SECONDS} s, not {count}"
                )
            return self.received[:count]


class _QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_arguments: object) -> None:
        """A client that hung up is no news."""


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body are two writes; the second would wait for the client's acknowledgement.
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, document = server.handle(Received(self.path, headers, body))
            answer = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.send_header("connection", "close")
            self.end_headers()
            try:
                self.wfile.write(answer)
            except OSError:
                self.close_connection = True

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with _QuietServer(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        try:
            yield server
        finally:
            server.resume()
            http.shutdown()
            thread.join()
