"""The real PgBouncer, in front of the tests' Postgres."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from infra.local import pgbouncer
from infra.local.pgbouncer import PgBouncer
from tests.programs import PGBOUNCER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["PgBouncer", "running"]


@contextmanager
def running(
    directory: Path,
    *urls: str,
    pool_size: int = 1,
    ignore_startup_parameters: str = "",
    port: int = 0,
) -> Iterator[PgBouncer]:
    """As `infra.local.pgbouncer.running`. Where there is none the test is skipped."""
    with pgbouncer.running(
        PGBOUNCER.path(),
        directory,
        *urls,
        pool_size=pool_size,
        ignore_startup_parameters=ignore_startup_parameters,
        port=port,
    ) as found:
        yield found
