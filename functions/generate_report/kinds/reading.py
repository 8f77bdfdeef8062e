"""What the kinds share: rows as objects, days as bars."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from psycopg.rows import dict_row

from functions.generate_report.period import day_of_month

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from functions.generate_report.period import Period
    from stashjobs.store.database import Connection

Rows = list[dict[str, Any]]


class Figures:
    """Answers statements over one period of one scope."""

    def __init__(self, connection: Connection, period: Period, organization_id: str | None) -> None:
        self._connection = connection
        self.period = period
        self._organization_id = organization_id

    def rows(self, statement: str) -> Rows:
        """All rows of the answer."""
        parameters = {
            "start": self.period.start,
            "end": self.period.end,
            "timezone": self.period.timezone,
            "organization_id": self._organization_id,
        }
        with self._connection.cursor(row_factory=dict_row) as cursor:
            return list(cursor.execute(statement.encode(), parameters))

    def row(self, statement: str) -> dict[str, Any]:
        """The only row."""
        [row] = self.rows(statement)
        return row

    @property
    def before(self) -> Figures:
        """The same over as many days right before."""
        return Figures(self._connection, self.period.before, self._organization_id)


def bar_labels(period: Period) -> list[str]:
    """One for each bar of a chart over the period."""
    return [day_of_month(day) for day in period.steps]


def bar_axis(period: Period, what: str) -> str:
    """What the bars stand on: `Day of creation`."""
    return f"{'Week' if period.is_by_week else 'Day'} {what}"


def bar_values(period: Period, by_day: Sequence[Mapping[str, Any]], name: str) -> list[float]:
    """The days' values of one name, added up for each bar; 0 where a day has none."""
    values = [0.0] * len(period.steps)
    for row in by_day:
        values[period.step_of(row["day"])] += row[name]
    return values
