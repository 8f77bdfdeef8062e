"""A network between the functions and Postgres that loses answers: Postgres has done what it was
asked, and the connection ends before the word of it arrives."""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

# ReadyForQuery: the server has answered all that it was sent, and committed what it was to commit
# (PostgreSQL docs, "Message Formats"). One byte follows.
READY = b"Z\0\0\0\5"
BYTES_AT_ONCE = 65_536


class LosingAnswers:
    """A proxy in front of Postgres, on a free port of 127.0.0.1.

    Args:
        port: Postgres's port on 127.0.0.1.
        loses: Whether the answer to what a client just sent is lost.

    Attributes:
        port: Its own.
        lost: How many answers were lost.
    """

    def __init__(self, port: int, loses: Callable[[bytes], bool]) -> None:
        proxy = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                proxy._pass_on(self.request)

        self.lost = 0
        self._postgres = ("127.0.0.1", port)
        self._loses = loses
        self._server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port: int = self._server.server_address[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.socket.close()  # `server_close` would wait for the clients to leave

    def _pass_on(self, client: socket.socket) -> None:
        try:
            with socket.create_connection(self._postgres) as server:
                self._pass_between(client, server)
        except OSError:
            return  # one of them is gone, and the other will see it

    def _pass_between(self, client: socket.socket, server: socket.socket) -> None:
        loses, end = False, b""
        while True:
            for side in select.select([client, server], [], [])[0]:
                data = side.recv(BYTES_AT_ONCE)
                if not data:
                    return
                if side is client:
                    loses = loses or self._loses(data)
                    server.sendall(data)
                    continue
                end = (end + data)[-len(READY) - 1 :]
                if not loses:
                    client.sendall(data)
                elif end.startswith(READY):
                    self.lost += 1
                    return
