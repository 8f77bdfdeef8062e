"""Which rows are past their retention: cutoffs, from days."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from functions.cleanup_old_data.models import Cleanup


NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True)
class Retention:
    """A job that ended before its type's cutoff is past its retention; all of them in UTC. A type
    that is not named has the cutoff `others`, and the access log `cutoff`."""

    cutoff: datetime
    others: datetime
    by_type: dict[str, datetime]
    notifications: datetime
    emails: datetime
    idempotency_keys: datetime | None

    @classmethod
    def of(
        cls,
        cleanup: Cleanup,
        declared: Mapping[str, int | None],
        now: datetime | None = None,
        *,
        all_known: bool = True,
    ) -> Retention:
        """The cutoffs of a clean-up that begins `now`.

        Args:
            cleanup: What is asked for.
            declared: The types, with their own days.
            now: The moment.
            all_known: Whether a type that is not declared is none any more, so that its jobs go as
                others do. Else they stay.
        """
        began = now or datetime.now(UTC)

        def before(days: int) -> datetime:
            return began - timedelta(days=days)

        key_days = cleanup.idempotency_key_days
        days_by_type = {
            name: cleanup.retention if days is None else days for name, days in declared.items()
        } | cleanup.per_type
        return cls(
            cutoff=before(cleanup.retention),
            others=before(cleanup.retention) if all_known else NEVER,
            by_type={name: before(days) for name, days in days_by_type.items()},
            notifications=before(cleanup.notification_days),
            emails=before(cleanup.email_days),
            idempotency_keys=None if key_days is None else before(key_days),
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """For the statements that look for rows past their retention."""
        return {
            "cutoff": self.cutoff,
            "others": self.others,
            "types": list(self.by_type),
            "cutoffs": list(self.by_type.values()),
            "newest_cutoff": max([self.others, *self.by_type.values()]),
        }
