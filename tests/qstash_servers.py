"""QStash and its destinations, in threads of their own: the SDK blocks the test's."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from infra.local.qstash import QStashOptions, QStashServer

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """A server that remembers what it was asked and answers as it is told.

    `answer` gets the request and returns status and document.
    """

    url: str = ""
    status: int = 200
    hangs: bool = False
    received: list[Received] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)
    stopping: threading.Event = field(default_factory=threading.Event)

    def handle(self, request: Received) -> tuple[int, Any]:
        with self.arrived:
            self.received.append(request)
            self.arrived.notify_all()
        if self.hangs:
            self.stopping.wait()
        if self.status != 200:
            return self.status, {"error": "told to refuse"}
        if request.path == "/v2/batch":
            return 200, [{"messageId": f"msg_{n}"} for n, _ in enumerate(request.document)]
        return 200, {}

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Every message of every batch that was asked for."""
        return [message for batch in self.received for message in batch.document]

    def wait(self, count: int = 1) -> list[Received]:
        """The first requests, once they are here."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.received) >= count, timeout=5)
            return self.received[:count]


@contextmanager
def serving() -> Iterator[Server]:
    """A server on a free port."""
    server = Server()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

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

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_arguments: object) -> None:
            """A client that hung up is no news."""

    with Quiet(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        yield server
        server.stopping.set()
        http.shutdown()
        thread.join()


@contextmanager
def qstash_running(options: QStashOptions | None = None) -> Iterator[QStashServer]:
    """The stand-in for QStash, in a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = QStashServer(options or QStashOptions(shutdown_grace=0))
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result(10)
        yield server
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
