"""Proxies and Postgres variables of the shell are not about what runs on this machine."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from stashjobs.tools.servers import surroundings

if TYPE_CHECKING:
    import pytest


def test_this_machine_is_excepted_from_proxies_beside_what_was() -> None:
    found = surroundings.proxy_exceptions({"NO_PROXY": "intranet, .example", "no_proxy": "other"})
    assert set(found) == {"NO_PROXY", "no_proxy"}
    assert found["no_proxy"] == "intranet,.example,other,127.0.0.1,localhost,::1"
    assert surroundings.proxy_exceptions(found) == found


def test_libpq_s_variables_are_kept_away_and_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"PGHOSTADDR": "192.0.2.1", "PGSERVICE": "x", "PGPASSWORD": "p", "PG_OF_ANOTHER": "y"}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with surroundings.kept_away():
        assert "PGHOSTADDR" not in os.environ
        assert "PGSERVICE" not in os.environ
        assert os.environ["PG_OF_ANOTHER"] == "y"
        assert os.environ["PGPASSWORD"] == "p"
        assert "127.0.0.1" in os.environ["NO_PROXY"]
    assert {name: os.environ[name] for name in given} == given
    assert "NO_PROXY" not in os.environ
