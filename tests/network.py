"""A network between programs and a server on this machine: it takes its time, and counts."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

CHUNK_BYTES = 65_536


class Network:
    """Leads connections to a server, and every byte there and back half a round trip later.

    Args:
        host: The server's.
        port: The server's.
        round_trip_seconds: What the network adds to a question and its answer.

    `questions` counts how often a client spoke first, or after the server had: the round trips.
    """

    def __init__(self, host: str, port: int, *, round_trip_seconds: float = 0.0) -> None:
        self.questions = 0
        self._server = (host, port)
        self._one_way = round_trip_seconds / 2
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._sockets: list[socket.socket] = [self._listener]

    @classmethod
    def before(cls, url: str, *, round_trip_seconds: float = 0.0) -> Self:
        """The network in front of the server of this URL."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        return cls(parts.hostname, parts.port, round_trip_seconds=round_trip_seconds)

    def url_of(self, url: str) -> str:
        """The same URL through this network."""
        parts = urlsplit(url)
        port = self._listener.getsockname()[1]
        credentials = parts.netloc.rpartition("@")[0]
        return urlunsplit(parts._replace(netloc=f"{credentials}@127.0.0.1:{port}"))

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._server)
                line = _Line(self, client, server, self._one_way)
                for each in (client, server):
                    each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    self._sockets.append(each)
                for way in (line.to_server, line.to_client):
                    threading.Thread(target=way, daemon=True).start()


class _Line:
    """One connection."""

    def __init__(
        self, network: Network, client: socket.socket, server: socket.socket, one_way: float
    ) -> None:
        self._network, self._client, self._server = network, client, server
        self._one_way = one_way
        self._server_spoke = True

    def to_server(self) -> None:
        def asks() -> None:
            if self._server_spoke:
                self._network.questions += 1
            self._server_spoke = False

        self._carry(self._client, self._server, asks)

    def to_client(self) -> None:
        def answers() -> None:
            self._server_spoke = True

        self._carry(self._server, self._client, answers)

    def _carry(self, here: socket.socket, there: socket.socket, noted: Callable[[], None]) -> None:
        with contextlib.suppress(OSError):
            while data := here.recv(CHUNK_BYTES):
                noted()
                if self._one_way:
                    time.sleep(self._one_way)
                there.sendall(data)
            there.shutdown(socket.SHUT_WR)
