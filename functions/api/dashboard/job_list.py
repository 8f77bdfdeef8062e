"""Which jobs a page lists: what the URL asks for, as a `Filter`, and back as a URL."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from functions.api import cursor
from functions.api.schema import MAX_TEXT
from stashjobs.operators import search
from stashjobs.operators.search import Filter, JobExecution

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from stashjobs.store.database import Connection

PAGE = 50
STATEMENT_SECONDS = 5
# Pending jobs that are due later: no status of a row, but a tab.
SCHEDULED = "scheduled"
TABS = tuple(
    tab for status in search.STATUSES
    for tab in ((SCHEDULED, status) if status == "pending" else (status,))
)  # fmt: skip
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
    metadata: str = ""
    batch: str = ""
    period: str = ""
    cursor: str = ""

    @classmethod
    def read(cls, given: Iterable[tuple[str, str]], besides: Collection[str] = ()) -> Query:
        """From a query string or a form. Nothing of it is left out: that would widen what is shown,
        and what is changed together.

        Args:
            given: Names and values; a name may be there several times.
            besides: Other names that may be among them.

        Raises:
            ValueError: A name or a value makes no sense; it says what is allowed.
        """
        names = dict.fromkeys(asdict(cls()), "")
        for name, value in given:
            if name in besides:
                continue
            if name not in names:
                raise ValueError(f"{name[:100]}: there is no such filter; there are {_all(names)}")
            if names[name]:
                raise ValueError(f"{name}: is given twice")
            if len(value) > MAX_TEXT:
                raise ValueError(f"{name}: is longer than {MAX_TEXT:,} characters")
            names[name] = value.strip()
        _refuse_other("status", names["status"], TABS)
        _refuse_other("period", names["period"], PERIODS)
        _read_metadata(names["metadata"])
        return cls(**names)

    @property
    def chosen_period(self) -> str:
        """The period that is asked for, or the one that keeps the question cheap: no index knows
        what is in an error or in metadata, so without a period every job would be read."""
        if self.period:
            return self.period
        is_narrow = self.user or self.organization or self.batch
        return "24h" if (self.error or self.metadata) and not is_narrow else "all"

    @property
    def status_of_rows(self) -> str:
        """The status that the jobs of this tab have; empty where they may have any."""
        return "pending" if self.status == SCHEDULED else self.status

    @property
    def is_narrowed(self) -> bool:
        """Whether anything is asked for besides all jobs of all time."""
        return self.to_filter() != Filter()

    def to_filter(self) -> Filter:
        length = PERIODS[self.chosen_period][1]
        return Filter(
            job_type=self.type or None,
            status=self.status_of_rows or None,
            due_after=datetime.now(UTC) if self.status == SCHEDULED else None,
            user_id=self.user or None,
            organization_id=self.organization or None,
            error_contains=self.error or None,
            metadata=_read_metadata(self.metadata),
            batch_id=self.batch or None,
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
        if query.status == SCHEDULED:
            found = search.upcoming(connection, query.to_filter(), limit=PAGE, after=before)
        else:
            found = search.page(connection, query.to_filter(), limit=PAGE, before=before)
    if found.next is None:
        return Listed(found.jobs, "")
    return Listed(found.jobs, cursor.write(*found.next), None if found.complete else found.next[0])


def _read_metadata(text: str) -> dict[str, Any] | None:
    """What metadata must have: `name=value`, a text, or a JSON object of anything."""
    if not text:
        return None
    if not text.startswith("{"):
        name, equals, value = text.partition("=")
        if not name.strip() or not equals:
            raise ValueError('metadata: write name=value, or a JSON object as {"n": 1}')
        return {name.strip(): value.strip()}
    try:
        found: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"metadata: this is not JSON: {text[:100]}") from error
    if not found:
        raise ValueError("metadata: an empty object is in every job; name a member")
    return found


def _read_cursor(text: str) -> tuple[datetime, str] | None:
    """None where it is none of ours: then the list begins with the newest."""
    try:
        return cursor.read(text)
    except ValueError:
        return None


def _refuse_other(name: str, value: str, allowed: Iterable[str]) -> None:
    if value and value not in allowed:
        raise ValueError(f"{name}: there is no {value[:100]}; there are {_all(allowed)}")


def _all(names: Iterable[str]) -> str:
    return ", ".join(names)
