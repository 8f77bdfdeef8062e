"""Reading jobs: one by its id, or many by what they have in common. Nothing here changes a row."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from psycopg.types.json import set_json_loads

from stashjobs import envelope
from stashjobs.errors import NoSuchJob, NotPossible
from stashjobs.operators import sql
from stashjobs.store import jsonb
from stashjobs.store.jsonb import to_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from psycopg import Cursor

    from stashjobs.store.database import Connection

# How many jobs a search looks at before it says how far it has come.
LOOK_AT = 5_000
# Among so many an end of an id is looked for, and it has so many characters at least.
NEWEST_LOOKED_AT = 50_000
SHORTEST_PART = 6
# Parsers that read what the API answers give up at 255 levels, and more are around a document.
MAX_SHOWN_LEVELS = 200
# Of a document in a list, and of one job's: all of them together are less than Lambda's 6 MB, and
# more is a note in its place. A longer error is cut.
MAX_LISTED_BYTES = 800_000
MAX_SHOWN_BYTES = 500_000
MAX_RESULT_BYTES = 3_500_000
MAX_ERROR_CHARACTERS = 100_000
# Of the documents of a list, in memory; the rest is on the next page.
MAX_PAGE_BYTES = 8_000_000
STATUSES = ("waiting", "pending", "processing", "retrying", "completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class JobExecution:
    """A row of `job_executions`, without its payload."""

    job_id: str
    job_type: str
    status: str
    result: Any
    error: str | None
    errors: list[dict[str, Any]]
    attempt: int
    max_attempts: int
    retry_count: int
    run: int
    progress: Any
    user_id: str | None
    organization_id: str | None
    metadata: dict[str, Any]
    idempotency_key: str | None
    message_id: str | None
    dlq_id: str | None
    schedule_id: str | None
    enqueued_by: str | None
    batch_id: str | None
    created_at: datetime
    available_at: datetime
    expires_at: datetime | None
    published_at: datetime | None
    started_at: datetime | None
    lease_expires_at: datetime | None
    completed_at: datetime | None
    updated_at: datetime

    @property
    def duration_seconds(self) -> float | None:
        """How long the last attempt took, once the job has ended."""
        if self.started_at is None or self.completed_at is None:
            return None
        return (self.completed_at - self.started_at).total_seconds()

    @property
    def due_at(self) -> datetime | None:
        """When its next attempt is due, where that is yet to come: at the time it was enqueued
        for, or when QStash tries again. None: it is due now, or none is to follow."""
        if self.status in {"waiting", "pending", "retrying"}:
            return self.available_at if self.available_at > datetime.now(UTC) else None
        return None

    @property
    def undelivered_seconds(self) -> float:
        """For how long QStash could have delivered it by now, and no attempt began; 0 where it
        does not wait for its first delivery: those that follow wait longer each time, as meant."""
        if self.status != "pending" or self.published_at is None:
            return 0.0
        since = max(self.published_at, self.available_at)
        return max(0.0, (datetime.now(UTC) - since).total_seconds())

    def to_document(self) -> dict[str, Any]:
        """As JSON, with the names of the HTTP API."""
        document: dict[str, Any] = to_json(asdict(self))
        return {_camel(name): value for name, value in document.items()}


@dataclass(frozen=True, slots=True)
class Relative:
    """A job that another one enqueued."""

    job_id: str
    job_type: str
    status: str


@dataclass(frozen=True, slots=True)
class Run:
    """A job that a schedule has made, by firing or by hand."""

    job_id: str
    job_type: str
    status: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Links:
    """The jobs that a job waits or waited for, and those that wait or waited for it: the first of
    them, and how many more there are."""

    parents: list[Relative]
    more_parents: int
    children: list[Relative]
    more_children: int


@dataclass(frozen=True, slots=True)
class Filter:
    """Which jobs: those that fit every condition that is given.

    Attributes:
        created_before: Only older ones.
        created_after: Only younger ones, or as old.
        error_contains: A part of the last error's text, upper and lower case alike.
        metadata: All these members, with these values.
        batch_id: Of this batch.
        due_after: Only those that are due later than this.
    """

    job_type: str | None = None
    status: str | None = None
    user_id: str | None = None
    organization_id: str | None = None
    created_before: datetime | None = None
    created_after: datetime | None = None
    error_contains: str | None = None
    metadata: dict[str, Any] | None = None
    batch_id: str | None = None
    due_after: datetime | None = None

    def conditions(self) -> tuple[str, dict[str, Any]]:
        """The SQL after WHERE, with only what is given so that each has the plan it needs, and its
        parameters."""
        given = {
            field.name: value
            for field in fields(self)
            if (value := getattr(self, field.name)) is not None
        }
        text = _all_of(given)
        if self.error_contains is not None:
            given["error_contains"] = f"%{_escaped(self.error_contains)}%"
        if self.metadata is not None:
            given["metadata"] = jsonb.parameter(self.metadata)
        return text, given

    @property
    def is_search(self) -> bool:
        """Whether it asks for what no index knows, so that each job has to be looked at."""
        return self.error_contains is not None or self.metadata is not None

    def split_conditions(self) -> tuple[str, str]:
        """The SQL of `conditions` in two: what an index finds, what only a look at each tells."""
        given = [field.name for field in fields(self) if getattr(self, field.name) is not None]
        narrow = _all_of(name for name in given if name not in _LOOKED_FOR)
        if self.error_contains is not None and not _NARROWER.intersection(given):
            narrow += " AND error IS NOT NULL"  # few have one, and these have an index
        return narrow, _all_of(name for name in given if name in _LOOKED_FOR)


_CONDITIONS = {
    "job_type": "job_type = %(job_type)s",
    "status": "status = %(status)s",
    "user_id": "user_id = %(user_id)s",
    "organization_id": "organization_id = %(organization_id)s",
    "created_before": "created_at < %(created_before)s",
    "created_after": "created_at >= %(created_after)s",
    "error_contains": "error ILIKE %(error_contains)s",
    "metadata": "metadata @> %(metadata)s",
    "batch_id": "batch_id = %(batch_id)s",
    "due_after": "available_at > %(due_after)s",
}

_COLUMNS = ", ".join(field.name for field in fields(JobExecution))
_DOCUMENTS = ("result", "errors", "progress", "metadata")


def _shown_columns(limits: Mapping[str, int]) -> str:
    """The columns, with a note in the place of a document with more bytes than these. What takes up
    less than 2,000 has not been compressed from more."""
    columns = []
    for field in fields(JobExecution):
        name = field.name
        if name == "error":
            name = f"left(error, {MAX_ERROR_CHARACTERS}) AS error"
        elif name in _DOCUMENTS:
            note = f"jsonb_build_object('$notShown', octet_length({name}::text) || ' bytes')"
            note = f"jsonb_build_array({note})" if name == "errors" else note
            name = (
                f"CASE WHEN pg_column_size({name}) > 2000"
                f" AND octet_length({name}::text) > {limits[name]} THEN {note} ELSE {name} END"
                f" AS {name}"
            )
        columns.append(name)
    return ", ".join(columns)


_SHOWN = _shown_columns(dict.fromkeys(_DOCUMENTS, MAX_SHOWN_BYTES) | {"result": MAX_RESULT_BYTES})
_LISTED = _shown_columns(dict.fromkeys(_DOCUMENTS, MAX_LISTED_BYTES))
_BYTES = " + ".join(
    f"coalesce(CASE WHEN pg_column_size({name}) > 2000"
    f" THEN least(octet_length({name}::text), {MAX_LISTED_BYTES}) ELSE 2000 END, 0)"
    for name in (*_DOCUMENTS, "error")
)
_LOOKED_FOR = {"error_contains", "metadata"}
_NARROWER = {"job_type", "status", "user_id", "organization_id", "batch_id"}


@dataclass(frozen=True, slots=True)
class Page:
    """Jobs, the newest first.

    Attributes:
        next: `created_at` and `job_id` behind which to look for more; None: there are no more.
        complete: False where `next` is as far as the search came, so that more may fit.
    """

    jobs: list[JobExecution]
    next: tuple[datetime, str] | None
    complete: bool = True


def _cursor(connection: Connection) -> Cursor[Any]:
    cursor = connection.cursor()
    set_json_loads(_shown, cursor)
    return cursor


def _shown(text: str | bytes) -> Any:
    """The document, or a note in its place where it is deeper than readers read. A row that another
    program has written would take the whole list with it."""
    text = text if isinstance(text, str) else text.decode()
    document = jsonb.read(text)
    if isinstance(document, jsonb.Unreadable):
        note = {"$notShown": document.reason}
    elif (levels := envelope.levels_of(document)) > MAX_SHOWN_LEVELS:
        note = {"$notShown": f"{levels} levels of objects and lists"}
    else:
        return document
    return [note] if text.startswith("[") else note


def find(connection: Connection, job_id: str) -> JobExecution | None:
    """The job with this id, or None."""
    text = sql.FIND_JOB.format(shown=_SHOWN).encode()
    row = _cursor(connection).execute(text, [job_id]).fetchone()
    return JobExecution(*row) if row else None


def id_of(connection: Connection, text: str) -> str:
    """The id of the one job that is meant: its id, the end that lists show of it (`…1f2c3d4e`), or
    its beginning. Of an end, the newest `NEWEST_LOOKED_AT` jobs are looked at.

    Raises:
        NoSuchJob: There is none.
        NotPossible: There are several. The message has them.
    """
    part = text.strip().removeprefix("…")
    if not part:
        raise NoSuchJob("there is no job with an empty id")
    if connection.execute(sql.READ_STATUS, [text]).fetchone():
        return text
    if len(part) >= SHORTEST_PART:
        parameters = {
            "part": part,
            "after": f"{part}\U0010ffff",
            "end": f"%{_escaped(part)}",
            "look_at": NEWEST_LOOKED_AT,
        }
        found = [job_id for (job_id,) in connection.execute(sql.FIND_BY_PART, parameters)]
        if len(found) == 1:
            return str(found[0])
        if found:
            raise NotPossible(f"{text} is several jobs, among them {' and '.join(found)}")
    raise NoSuchJob(f"there is no job {text}")


def find_payload(connection: Connection, job_id: str) -> Any:
    """The payload of a job as the row has it, encrypted where it is. None: there is no such job."""
    row = _cursor(connection).execute(sql.FIND_PAYLOAD, [job_id]).fetchone()
    return row[0] if row else None


def find_children(connection: Connection, job_id: str, limit: int = 50) -> list[Relative]:
    """The jobs that this job enqueued, the oldest first."""
    return [Relative(*row) for row in connection.execute(sql.FIND_CHILDREN, [job_id, limit])]


def find_runs(
    connection: Connection, schedules: Sequence[str], limit: int = 5
) -> dict[str, list[Run]]:
    """The last runs of schedules, by name, the newest first; none of one that has not run."""
    found: dict[str, list[Run]] = {}
    parameters = {"names": list(schedules), "limit": limit}
    for name, *run in connection.execute(sql.FIND_RUNS, parameters):
        found.setdefault(name, []).append(Run(*run))
    return found


def find_links(connection: Connection, job_id: str, limit: int = 8) -> Links:
    """What a job waits for, and what waits for it, at most so many of each; of those that it waits
    for the ones that did not complete come first."""
    parents, children = (
        connection.execute(text, {"job_id": job_id, "limit": limit}).fetchall()
        for text in (sql.FIND_LINKED_PARENTS, sql.FIND_LINKED_CHILDREN)
    )
    return Links(
        [Relative(*row[:3]) for row in parents],
        parents[0][3] - len(parents) if parents else 0,
        [Relative(*row[:3]) for row in children],
        children[0][3] - len(children) if children else 0,
    )


def read_types(connection: Connection) -> list[str]:
    """The types that have jobs, by name; also those that the code declares no longer."""
    return [job_type for (job_type,) in connection.execute(sql.READ_TYPES)]


def count_running(connection: Connection, job_type: str) -> int:
    """How many jobs of this type are under way just now."""
    [count] = connection.execute(sql.COUNT_RUNNING, [job_type]).fetchone() or (0,)
    return int(count)


def newest(
    connection: Connection,
    which: Filter,
    *,
    limit: int = 20,
    before: tuple[datetime, str] | None = None,
) -> list[JobExecution]:
    """The jobs that fit, the newest first.

    Args:
        connection: In any mode.
        which: An empty filter fits every job.
        limit: At most so many.
        before: Only those behind the job with this `created_at` and `job_id`.
    """
    return _newest(connection, which, limit, before).jobs


def _newest(
    connection: Connection, which: Filter, limit: int, before: tuple[datetime, str] | None
) -> Page:
    text, parameters = which.conditions()
    before_time, before_id = before or ("infinity", "")
    parameters |= {"limit": limit + 1, "before_time": before_time, "before_id": before_id}
    return _read(connection, sql.LIST_NEWEST, parameters, limit, conditions=text)


def _read(
    connection: Connection, text: str, parameters: dict[str, Any], limit: int, **conditions: str
) -> Page:
    """A page of a statement that reads one row more, as far as `MAX_PAGE_BYTES` go."""
    text = text.format(columns=_COLUMNS, shown=_LISTED, bytes=_BYTES, **conditions)
    rows = _cursor(connection).execute(text.encode(), parameters | {"bytes": MAX_PAGE_BYTES})
    found = rows.fetchall()
    jobs = [JobExecution(*row[:-1]) for row in found[:limit]]
    there_is_more = bool(found) and found[0][-1] > len(jobs)
    return Page(jobs, (jobs[-1].created_at, jobs[-1].job_id) if there_is_more else None)


def upcoming(
    connection: Connection,
    which: Filter,
    *,
    limit: int,
    after: tuple[datetime, str] | None = None,
) -> Page:
    """A page of the jobs that fit, those first that are due first.

    Args:
        connection: In any mode.
        which: With a status, else every job is looked at.
        limit: At most so many.
        after: `next` of the page before.
    """
    text, parameters = which.conditions()
    after_time, after_id = after or ("-infinity", "")
    parameters |= {"limit": limit + 1, "after_time": after_time, "after_id": after_id}
    found = _read(connection, sql.LIST_UPCOMING, parameters, limit, conditions=text)
    if found.next is None:
        return found
    last = found.jobs[-1]
    return Page(found.jobs, (last.available_at, last.job_id))


def page(
    connection: Connection,
    which: Filter,
    *,
    limit: int,
    before: tuple[datetime, str] | None = None,
) -> Page:
    """A page of the jobs that fit, the newest first. A search (`Filter.is_search`) looks at up to
    `LOOK_AT` jobs and then tells how far it came, so that a page costs as much in any table.

    Args:
        connection: In any mode; in a transaction of its own a search is of one moment.
        which: An empty filter fits every job.
        limit: At most so many.
        before: `next` of the page before.
    """
    if not which.is_search:
        return _newest(connection, which, limit, before)
    narrow, wide = which.split_conditions()
    _, parameters = which.conditions()
    # "now" is when the transaction began, by Postgres's clock: jobs that are recorded meanwhile
    # must not move what `sql.LAST_LOOKED_AT` counts.
    before_time, before_id = before or ("now", "")
    parameters |= {
        "limit": limit + 1,
        "before_time": before_time,
        "before_id": before_id,
        "look_at": LOOK_AT,
    }
    found = _read(connection, sql.SEARCH_NEWEST, parameters, limit, narrow=narrow, wide=wide)
    if found.next is not None:
        return found
    text = sql.LAST_LOOKED_AT.format(narrow=narrow)
    last = connection.execute(text.encode(), parameters).fetchone()
    return Page(found.jobs, last, complete=last is None)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(map(str.capitalize, rest))


def _all_of(names: Iterable[str]) -> str:
    return " AND ".join(_CONDITIONS[name] for name in names) or "true"


def _escaped(text: str) -> str:
    """`text` for a LIKE pattern, where it means itself."""
    return text.replace("\\", "\\\\").replace("%", r"\%").replace("_", r"\_")
