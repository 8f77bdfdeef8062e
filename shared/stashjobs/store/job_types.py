"""What operators asked of job types at run time. The connection is the caller's."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

from stashjobs.store.executions import call

if TYPE_CHECKING:
    from collections.abc import Mapping

    from psycopg import Connection

Action = Literal["pause", "resume", "limit", "lift limit"]


@dataclass(frozen=True, slots=True)
class TypeState:
    """One job type.

    Attributes:
        paused: No new attempt begins.
        rate: At most so many deliveries in `period_seconds`, in place of what the type declares.
        parallelism: At most so many at once, likewise.
        applied_at: When QStash took it over. None: it has not yet; the relay tells it.
    """

    job_type: str
    paused: bool
    rate: int | None
    period_seconds: int | None
    parallelism: int | None
    changed_by: str
    changed_at: datetime
    applied_at: datetime | None

    @property
    def is_limited(self) -> bool:
        return self.rate is not None or self.parallelism is not None


READ_TYPE_STATES = """
-- read_type_states
SELECT job_type, paused, rate, period_seconds, parallelism, changed_by, changed_at, applied_at
  FROM job_type_states ORDER BY job_type
"""
CHANGE_TYPE = """
-- change_type
SELECT job_type, paused, rate, period_seconds, parallelism, changed_by, changed_at, applied_at
  FROM stashjobs.change_type(
           job_type => %(job_type)s, actor => %(actor)s, action => %(action)s, rate => %(rate)s,
           period_seconds => %(period_seconds)s, parallelism => %(parallelism)s)
"""
CONFIRM_TYPE_APPLIED = """
-- confirm_type_applied
SELECT stashjobs.confirm_type_applied(job_type => %(job_type)s, changed_at => %(changed_at)s)
"""
DECLARE_FOLLOWERS = """
-- declare_followers
SELECT stashjobs.declare_followers(
           job_types => %(job_types)s::text[], on_failed => %(on_failed)s::text[],
           max_attempts => %(max_attempts)s::int[])
"""


def declare_followers(
    connection: Connection[Any], followers: Mapping[str, tuple[str, int] | None]
) -> None:
    """Write down what follows the failure of a job: for each type the type of that job and its
    attempts, or None."""
    parameters = {
        "job_types": list(followers),
        "on_failed": [follower and follower[0] for follower in followers.values()],
        "max_attempts": [follower and follower[1] for follower in followers.values()],
    }
    call(connection, DECLARE_FOLLOWERS, parameters)


def read(connection: Connection[Any]) -> dict[str, TypeState]:
    """Every type that was ever paused or limited, by name."""
    rows = [TypeState(*row) for row in call(connection, READ_TYPE_STATES, {})]
    return {state.job_type: state for state in rows}


def change(
    connection: Connection[Any],
    job_type: str,
    action: Action,
    *,
    actor: str,
    rate: int | None = None,
    period_seconds: int | None = None,
    parallelism: int | None = None,
) -> TypeState:
    """Write down what is asked, with what it was before. Returns what it is now."""
    parameters = {
        "job_type": job_type,
        "actor": actor,
        "action": action,
        "rate": rate,
        "period_seconds": period_seconds,
        "parallelism": parallelism,
    }
    [row] = call(connection, CHANGE_TYPE, parameters)
    return TypeState(*row)


def confirm_applied(connection: Connection[Any], state: TypeState) -> None:
    """Note that QStash does what this says."""
    parameters = {"job_type": state.job_type, "changed_at": state.changed_at}
    call(connection, CONFIRM_TYPE_APPLIED, parameters)
