"""The audit: operators' actions, and the access log. Read by its own keys, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from functions.api.dashboard import sql

if TYPE_CHECKING:
    from stashjobs.store.database import Connection

PAGE = 50


@dataclass(frozen=True, slots=True)
class Action:
    """Something that an operator did to a job, a schedule or a token.

    Attributes:
        subject: The job's type, the schedule's name, or the token's with its scopes.
        before: The job's status then.
    """

    at: datetime
    kind: int
    action_id: int
    actor: str
    action: str
    subject: str
    job_id: str | None
    before: str | None

    @property
    def place(self) -> str:
        """Where it is among all actions: what the next page begins behind."""
        return f"{self.at.isoformat()}_{self.kind}_{self.action_id}"


@dataclass(frozen=True, slots=True)
class Access:
    """A request that a token was asked for."""

    access_id: int
    at: datetime
    actor: str | None
    method: str
    path: str
    outcome: str
    source_ip: str | None


def read_actions(connection: Connection, before: str | None = None) -> list[Action]:
    """A page of actions, and one more where there is another page.

    Args:
        connection: In any mode.
        before: The `place` of the last action of the page before.

    Raises:
        ValueError: It is none.
    """
    at, kind, action_id = (before or "infinity_4_0").split("_")
    parameters = {
        "at": at if before is None else datetime.fromisoformat(at),
        "kind": int(kind),
        "action_id": int(action_id),
        "limit": PAGE + 1,
    }
    return [Action(*row) for row in connection.execute(sql.READ_ACTIONS, parameters)]


def read_accesses(connection: Connection, before: int | None = None) -> list[Access]:
    """A page of accesses, without those by which an open page keeps itself up to date."""
    parameters = {"before": before or 2**63 - 1, "limit": PAGE + 1}
    return [Access(*row) for row in connection.execute(sql.READ_ACCESSES, parameters)]
