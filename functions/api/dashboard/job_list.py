"""Which jobs a page lists: what the URL asks for, as a `Filter`, and back as a URL."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from functions.api import cursor
from stashjobs import lookup
from stashjobs.lookup import Filter, JobExecution

if TYPE_CHECKING:
    from collections.abc import Mapping

    from stashjobs.database import Connection

PAGE = 50
STATEMENT_SECONDS = 5
PERIODS = {
    "1h": ("Last hour", timedelta(hours=1)),
    "24h": ("Last 24 hours", timedelta(days=1)),
    "7d": ("Last 7 days", timedelta(days=7)),
    "30d": ("Last 30 days", timedelta(days=30)),
    "all": ("Any time", None),
}


@dataclass(frozen=True, slots=True)
class Chip:
    """One condition in words, and the page without it."""

    name: str
    value: str
    without: str


@dataclass(frozen=True, slots=True)
class Query:
    """The filter of the page, in the words of its URL."""

    status: str = ""
    type: str = ""
    user: str = ""
    organization: str = ""
    error: str = ""
    period: str = ""
    cursor: str = ""

    @classmethod
    def read(cls, given: Mapping[str, str]) -> Query:
        """From a query string or a form; what makes no sense is left out."""
        names = {name: str(given.get(name, "")).strip()[:200] for name in asdict(cls())}
        if names["status"] not in lookup.STATUSES:
            names["status"] = ""
        if names["period"] not in PERIODS:
            names["period"] = ""
        return cls(**names)

    @property
    def chosen_period(self) -> str:
        """The period that is asked for, or the one that keeps the question cheap: no index knows
        what is in an error, so without a period every error would be read."""
        if self.period:
            return self.period
        is_narrow = self.user or self.organization
        return "24h" if self.error and not is_narrow else "all"

    @property
    def is_narrowed(self) -> bool:
        """Whether anything is asked for besides all jobs of all time."""
        return self.to_filter() != Filter()

    def to_filter(self) -> Filter:
        length = PERIODS[self.chosen_period][1]
        return Filter(
            job_type=self.type or None,
            status=self.status or None,
            user_id=self.user or None,
            organization_id=self.organization or None,
            error_contains=self.error or None,
            created_after=datetime.now(UTC) - length if length else None,
        )

    def fields(self) -> dict[str, str]:
        """What is given, without the cursor; as hidden fields, or for a URL."""
        return {name: value for name, value in asdict(self).items() if value and name != "cursor"}

    def chips(self) -> list[Chip]:
        """What narrows the list, besides the status, which has its tabs: each with a way out."""
        return [
            Chip(name, PERIODS[value][0] if name == "period" else value, self.url(**{name: ""}))
            for name, value in self.fields().items()
            if name != "status" and (name, value) != ("period", "all")
        ]

    def url(self, **changes: str) -> str:
        """The page's own URL with something else asked for, from the first page on."""
        wanted = replace(self, **({"cursor": ""} | changes))
        given = {name: value for name, value in asdict(wanted).items() if value}
        return f"/admin/jobs?{urlencode(given)}" if given else "/admin/jobs"


@dataclass(frozen=True, slots=True)
class Listed:
    """A page of jobs, and the cursor of the next one.

    Attributes:
        searched_to: How far back a search came that has not looked at all; None: it has.
    """

    jobs: list[JobExecution]
    next: str
    searched_to: datetime | None = None


def find(connection: Connection, query: Query) -> Listed:
    """The page that a query asks for.

    Raises:
        psycopg.errors.QueryCanceled: It would take longer than anyone wants to wait.
    """
    before = _read_cursor(query.cursor)
    with connection.transaction():
        connection.execute(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'".encode())
        found = lookup.page(connection, query.to_filter(), limit=PAGE, before=before)
    if found.next is None:
        return Listed(found.jobs, "")
    return Listed(found.jobs, cursor.write(*found.next), None if found.complete else found.next[0])


def _read_cursor(text: str) -> tuple[datetime, str] | None:
    """None where it is none of ours: then the list begins with the newest."""
    try:
        return cursor.read(text)
    except ValueError:
        return None
