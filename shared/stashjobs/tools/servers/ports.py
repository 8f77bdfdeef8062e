"""TCP ports of 127.0.0.1."""

from __future__ import annotations

import contextlib
import itertools
import random
import socket

# Below those that a system gives to outgoing connections (Linux: from 32768 on): anybody's next
# connection may take one of these before a server has bound it.
CHOICE = range(10_000, 32_000)
# Each process goes on from a place of its own: what it was given it may bind later, and is given
# once. SystemRandom, since a test seeds the other one alike in processes side by side.
_next = itertools.count(random.SystemRandom().randrange(len(CHOICE)))


class PortTakenError(RuntimeError):
    """Another program listens on the port."""

    def __init__(self, port: int) -> None:
        super().__init__(f"port {port} is taken by another program")
        self.port = port


def free_port() -> int:
    """A port that is free at this moment, and that this process was not given before.

    Raises:
        PortTakenError: All are taken.
    """
    for number in itertools.islice(_next, len(CHOICE)):
        port = CHOICE[number % len(CHOICE)]
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise PortTakenError(CHOICE[0])


def ensure_port_is_free(port: int) -> None:
    """Raise PortTakenError when something listens on the port."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise PortTakenError(port) from error
