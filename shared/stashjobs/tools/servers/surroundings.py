"""What the shell says about proxies and Postgres, kept away from what runs on this machine.

A local server on 127.0.0.1 is reached directly, and its URL is all that counts: neither
`HTTP_PROXY` nor libpq's variables (`PGSSLMODE`, `PGHOSTADDR`, `PGSERVICE`, ...) are about it.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LOOPBACK = ("127.0.0.1", "localhost", "::1")
# Python's libraries read both, and some only one of them.
EXCEPTIONS = ("NO_PROXY", "no_proxy")
# Postgres docs, "Environment Variables" of libpq: none has an underscore.
_OF_LIBPQ = re.compile(r"PG[A-Z0-9]+")
# Our URLs have these, and what a URL says goes before them. Another database may need them.
_OVERRIDDEN = {"PGHOST", "PGPORT", "PGDATABASE", "PGUSER", "PGPASSWORD", "PGPASSFILE", "PGSSLMODE"}


def proxy_exceptions(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables that have this machine reached directly, beside what is excepted already."""
    excepted = ",".join(environment.get(name, "") for name in EXCEPTIONS)
    names = dict.fromkeys([each.strip() for each in excepted.split(",") if each.strip()])
    return dict.fromkeys(EXCEPTIONS, ",".join(names | dict.fromkeys(LOOPBACK)))


def libpq_variables(environment: Mapping[str, str]) -> list[str]:
    """The names of the variables that would change a connection that our URL describes."""
    return [name for name in environment if _OF_LIBPQ.fullmatch(name) and name not in _OVERRIDDEN]


def keep_away() -> None:
    """In this process, for as long as it lives."""
    for name in libpq_variables(os.environ):
        del os.environ[name]
    os.environ.update(proxy_exceptions(os.environ))


@contextlib.contextmanager
def kept_away() -> Iterator[None]:
    """In this process, until the block is left."""
    changed = [*EXCEPTIONS, *libpq_variables(os.environ)]
    before = {name: os.environ.get(name) for name in changed}
    keep_away()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
