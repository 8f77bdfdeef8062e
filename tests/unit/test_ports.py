"""Free ports: one that was given is nobody else's until its server binds it."""

from __future__ import annotations

import itertools
import socket
from pathlib import Path

import pytest

from stashjobs.tools.servers import ports


def test_no_port_is_given_twice() -> None:
    given = [ports.free_port() for _ in range(200)]
    assert len(set(given)) == len(given)


def test_a_port_in_use_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ports.free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", first))
        monkeypatch.setattr(ports, "_next", itertools.count(ports.CHOICE.index(first)))
        assert ports.free_port() > first


def test_it_is_none_that_an_outgoing_connection_is_given() -> None:
    range_of_linux = Path("/proc/sys/net/ipv4/ip_local_port_range")
    if not range_of_linux.exists():
        pytest.skip("only Linux says which these are")
    assert ports.free_port() < int(range_of_linux.read_text().split()[0])
