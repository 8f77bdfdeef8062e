"""What an operator does to a job type at run time: pause, resume, limit, lift the limit."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from stashjobs.errors import UnknownJobType
from stashjobs.job_type import close_to, declared
from stashjobs.job_type import period_seconds as job_type_period_seconds
from stashjobs.operators import search
from stashjobs.producer import flow_control
from stashjobs.store import database, job_types

if TYPE_CHECKING:
    from psycopg import Connection

    from stashjobs.store.job_types import Action, TypeState

log = logging.getLogger("stashjobs")


def read(connection: Connection) -> dict[str, TypeState]:
    """Every type that was ever paused or limited, by name."""
    return job_types.read(connection)


def pause(job_type: str, *, actor: str) -> TypeState:
    """Have no new attempt of this type begin until it is resumed. What runs goes on, and nothing
    is lost.

    Raises:
        UnknownJobType: No such type is declared, and no job has it.
    """
    return _change(job_type, "pause", actor)


def resume(job_type: str, *, actor: str) -> TypeState:
    """Have a paused type delivered again. Raises as `pause`."""
    return _change(job_type, "resume", actor)


def limit(
    job_type: str,
    *,
    actor: str,
    rate: int | None = None,
    period: str = "1s",
    parallelism: int | None = None,
) -> TypeState:
    """Limit the deliveries of a type in place of what it declares, over deploys too, until the
    limit is lifted.

    Args:
        job_type: Its name.
        actor: Who asks for it.
        rate: At most so many deliveries in a period.
        period: `10s`, `1m`, `2h`, or up to `7d`.
        parallelism: At most so many at once.

    Raises:
        UnknownJobType: As `pause`.
        ValueError: A number makes no sense. The message names it.
    """
    if rate is None and parallelism is None:
        raise ValueError("limit: give rate or parallelism, or both")
    for name, value in {"rate": rate, "parallelism": parallelism}.items():
        if value is not None and not 1 <= value <= 1_000_000:
            raise ValueError(f"limit: {name} is {value}, it must be from 1 to 1000000")
    seconds = None if rate is None else period_seconds(period)
    return _change(
        job_type, "limit", actor, rate=rate, period_seconds=seconds, parallelism=parallelism
    )


def lift_limit(job_type: str, *, actor: str) -> TypeState:
    """Have what the type declares count again. Raises as `pause`."""
    return _change(job_type, "lift limit", actor)


def period_seconds(period: str) -> int:
    """A period in seconds.

    Raises:
        ValueError: It is none, or is longer than a week.
    """
    try:
        return job_type_period_seconds(period)
    except ValueError as error:
        raise ValueError(f"limit: {error}") from None


def _change(job_type: str, action: Action, actor: str, **limits: int | None) -> TypeState:
    with database.borrowed() as own:
        known = {job.type for job in declared()}
        if job_type not in known and job_type not in (with_jobs := search.read_types(own)):
            near = close_to(job_type, {*known, *with_jobs})
            raise UnknownJobType(f"there is no type {job_type[:100]!r}, and no job of it{near}")
        state = job_types.change(own, job_type, action, actor=actor, **limits)
    log.info("job type changed", extra={"job_type": job_type, "action": action, "actor": actor})
    flow_control.apply(state)
    return state
