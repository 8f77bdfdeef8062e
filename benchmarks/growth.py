"""What grows with the table, and what does not: the time Postgres itself takes for each thing that
stashjobs asks of it, at 10 thousand, 1 million and 10 million jobs; and what a job costs in WAL and
in indexes, beside the deployment guide's schema.

    python -m benchmarks.growth [--quick] [--rows 10000 1000000 10000000] [--keep FOLDER]

The statements are those that the code sends: the dashboard's own functions run, and each statement
is explained on its way (`EXPLAIN (ANALYZE, BUFFERS)`: planning and execution, by Postgres's clock).
Ten million jobs need 16 GB of disk, and some ten minutes to be made; `--keep` keeps them for the
next run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import statistics as numbers
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg

from benchmarks import filling
from benchmarks.measuring import machine, progress, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from stashjobs.tools.servers.postgres import Postgres

ROWS = (10_000, 1_000_000, 10_000_000)
QUICK_ROWS = (2_000, 20_000)
BYTES_PER_ROW = 1_600  # both schemas, with their indexes and some room
ROUNDS = 7
LIVES = 2_000
OPTIONS = {
    "shared_buffers": "2GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "wal_level": "replica",
    "fsync": "off",
    "autovacuum": "off",  # so that a run measures what it says; `fill` has vacuumed
}
EXPLAIN = "EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) "
EXPLAINABLE = ("SELECT", "WITH", "INSERT", "UPDATE", "DELETE", "(")


@dataclass
class Explained:
    """In place of a connection: whatever is asked of it, it explains as well, and adds up how long
    Postgres says that took, in milliseconds."""

    connection: psycopg.Connection[Any]
    milliseconds: float = 0.0
    statements: list[tuple[float, str, Any]] = field(default_factory=list)

    def execute(self, text: bytes | str, parameters: Any = None) -> psycopg.Cursor[Any]:
        return self.cursor().execute(text, parameters)

    def cursor(self) -> psycopg.Cursor[Any]:
        return _ExplainedCursor(self)

    def explain(self, text: bytes | str, parameters: Any = None) -> None:
        """Run a statement for its plan alone; what it writes is written."""
        statement = text.encode() if isinstance(text, str) else text
        row = self.connection.execute(EXPLAIN.encode() + statement, parameters).fetchone()
        assert row is not None  # noqa: S101 - EXPLAIN has one row
        [plan] = row[0]
        took = plan["Planning Time"] + plan["Execution Time"]
        self.milliseconds += took
        self.statements.append((took, statement.decode(), plan["Plan"]))

    def transaction(self) -> Any:
        return self.connection.transaction()


class _ExplainedCursor(psycopg.Cursor[Any]):
    def __init__(self, explained: Explained) -> None:
        super().__init__(explained.connection)
        self._explained = explained

    def execute(self, query: Any, params: Any = None, **options: Any) -> _ExplainedCursor:
        statement = query.encode() if isinstance(query, str) else query
        # A comment before it names it.
        first = next(
            line for line in statement.split(b"\n") if line.strip()[:2] not in {b"", b"--"}
        )
        if first.lstrip().startswith(tuple(each.encode() for each in EXPLAINABLE)):
            self._explained.explain(statement, params)
            return super().execute(statement, params, **options)
        began = time.perf_counter()
        super().execute(statement, params, **options)
        self._explained.milliseconds += (time.perf_counter() - began) * 1000
        return self


Measured = dict[str, dict[int, list[float]]]


# --- what is asked


def operations() -> dict[str, Callable[[Explained], None]]:
    """Everything that is measured, by name; what writes is undone by the caller."""
    return {**_lifecycle(), **_relay(), **_lists(), **_pages()}


def _lifecycle() -> dict[str, Callable[[Explained], None]]:  # noqa: C901 - a list of them
    from stashjobs import ids
    from stashjobs.store import executions, outbox
    from stashjobs.store.executions import NewJob

    payload = {"to": "ada@example.com", "template": "welcome", "data": {"name": "Ada"}}

    def new(count: int, **options: Any) -> list[NewJob]:
        return [
            NewJob(
                job_id=ids.new_job_id(),
                job_type="send-email",
                payload=payload,
                max_attempts=4,
                user_id="u_7",
                organization_id="o_7",
                **options,
            )
            for _ in range(count)
        ]

    def enqueue(own: Explained, count: int = 1, **options: Any) -> None:
        own.explain(executions.ENQUEUE_MANY, executions._columns(new(count, **options)))

    def recorded(own: Explained, **options: Any) -> str:
        [job] = new(1, **options)
        executions.record_new_jobs(own.connection, [job])
        return job.job_id

    def unique(*, replace: bool = False) -> dict[str, Any]:
        return {"key": "u_7", "running": False, "replace": replace, "maxWait": None}

    def enqueue_taken(own: Explained, *, replace: bool) -> None:
        recorded(own, uniqueness=unique())
        enqueue(own, uniqueness=unique(replace=replace))

    def after(own: Explained) -> dict[str, Any]:
        return {"ids": [recorded(own)], "when": "completed"}

    def record_parent(own: Explained) -> None:
        parent = claimed(own)
        recorded(own, after={"ids": [parent], "when": "completed"})
        own.explain(executions.COMPLETE, {"job_id": parent, "attempt": 1, "result": "null"})

    def claimed(own: Explained) -> str:
        job_id = recorded(own)
        lease = executions.Lease(60, "msg_1", None)
        executions.claim(own.connection, job_id=job_id, job_type="send-email", lease=lease)
        return job_id

    def claim(own: Explained) -> None:
        parameters = {
            "job_id": recorded(own),
            "type": "send-email",
            "lease_seconds": 60.0,
            "message_id": "msg_1",
            "schedule_id": None,
            "nonce": "n_1",
            "on_failed": None,
            "follower_attempts": None,
        }
        own.explain(executions.CLAIM, parameters)

    def record(own: Explained) -> None:
        parameters = {"job_id": claimed(own), "attempt": 1, "result": '{"emailId": "e_1"}'}
        own.explain(executions.COMPLETE, parameters)

    def extend(own: Explained) -> None:
        parameters = {
            "job_id": claimed(own),
            "attempt": 1,
            "progress": None,
            "lease_seconds": 60.0,
        }
        own.explain(executions.EXTEND_LEASE, parameters)

    def confirm(own: Explained) -> None:
        own.explain(
            outbox.CONFIRM_PUBLISHED, {"job_ids": [recorded(own)], "message_ids": ["msg_1"]}
        )

    return {
        "enqueue one": enqueue,
        "enqueue 100": lambda own: enqueue(own, 100),
        "enqueue one, unique": lambda own: enqueue(own, uniqueness=unique()),
        "enqueue one, unique and taken": lambda own: enqueue_taken(own, replace=False),
        "enqueue one, unique and replaced": lambda own: enqueue_taken(own, replace=True),
        "enqueue one, after another": lambda own: enqueue(own, after=after(own)),
        "confirm published": confirm,
        "claim": claim,
        "record completed": record,
        "record completed, releasing another": record_parent,
        "extend a lease": extend,
    }


def _relay() -> dict[str, Callable[[Explained], None]]:
    from stashjobs.job_type import declared
    from stashjobs.recovery import relay
    from stashjobs.store import executions, outbox

    unpublished = {
        "job_types": [job.type for job in declared()],
        "max_jobs": relay.BATCH,
        "quiet_seconds": relay.QUIET_SECONDS,
        "horizon_seconds": 86_400.0,
        "after_time": "-infinity",
        "after_id": "",
    }
    silent = {"seconds": relay.SILENT_SECONDS, "max_jobs": relay.SILENT_BATCH}

    def minute(own: Explained) -> None:
        own.explain(executions.FREE_EXPIRED_LEASES, {"max_jobs": relay.BATCH})
        own.explain(outbox.TAKE_UNPUBLISHED, unpublished)
        own.explain(outbox.FIND_SILENT, silent)

    return {
        "relay: free leases": lambda own: own.explain(
            executions.FREE_EXPIRED_LEASES, {"max_jobs": relay.BATCH}
        ),
        "relay: take unpublished": lambda own: own.explain(outbox.TAKE_UNPUBLISHED, unpublished),
        "relay: find silent": lambda own: own.explain(outbox.FIND_SILENT, silent),
        "relay: a minute": minute,
    }


# What the dashboard's filter form can say, one at a time and together; the names are its own.
FILTERS: tuple[dict[str, str], ...] = (
    {},
    {"status": "completed"},
    {"status": "failed"},
    {"status": "pending"},
    {"status": "cancelled"},
    {"type": "send-email"},
    {"type": filling.RARE_TYPE},
    {"type": filling.RARE_TYPE, "period": "all"},
    {"type": filling.GONE_TYPE, "period": "all"},
    {"type": "no-such-type", "period": "all"},
    {"type": "send-email", "status": "failed", "period": "all"},
    {"type": filling.GONE_TYPE, "status": "completed", "period": "all"},
    {"type": filling.RARE_TYPE, "status": "cancelled", "period": "all"},
    {"user": filling.HEAVY_USER},
    {"user": "u_150000"},
    {"user": filling.HEAVY_USER, "status": "failed"},
    {"user": filling.HEAVY_USER, "type": filling.RARE_TYPE},
    {"organization": filling.HEAVY_ORGANIZATION},
    {"organization": filling.GONE_ORGANIZATION},
    {"organization": filling.HEAVY_ORGANIZATION, "status": "cancelled"},
    {"organization": filling.GONE_ORGANIZATION, "type": "export-data"},
    {"user": "u_5", "organization": filling.HEAVY_ORGANIZATION},
    {"period": "1h"},
    {"period": "30d", "status": "failed"},
    {"error": "503"},
    {"error": "no such words"},
    {"error": "no such words", "period": "7d"},
    {"error": "no such words", "period": "all"},
    {"error": "no such words", "status": "failed", "period": "all"},
    {"error": "no such words", "type": "send-email", "period": "all"},
    {"error": "no such words", "user": filling.HEAVY_USER},
)


def _lists() -> dict[str, Callable[[Explained], None]]:
    from functions.api.dashboard import job_list
    from stashjobs.operators import search

    def listed(given: dict[str, str]) -> Callable[[Explained], None]:
        query = job_list.Query.read(given.items())
        return lambda own: _as_connection(job_list.find, own, query)

    found = {
        "list: " + (", ".join(f"{k}={v}" for k, v in given.items()) or "all"): listed(given)
        for given in FILTERS
    }

    def deep(own: Explained) -> None:
        before = own.connection.execute(
            "SELECT created_at, job_id FROM job_executions"
            " WHERE created_at < now() - interval '45 days' ORDER BY created_at DESC LIMIT 1"
        ).fetchone()
        search.newest(own, search.Filter(), limit=51, before=before)  # type: ignore[arg-type]

    def by_metadata(own: Explained) -> None:
        which = search.Filter(metadata={"parentJobId": "no-such-job"})
        search.page(own, which, limit=50)  # type: ignore[arg-type]

    return found | {"list: a page 45 days down": deep, "list: by metadata": by_metadata}


def _pages() -> dict[str, Callable[[Explained], None]]:
    from functions.api.dashboard import alerts, overview_pages, type_pages
    from stashjobs.operators import health, search, statistics, story
    from stashjobs.store import job_types

    def job(own: Explained) -> None:
        row = own.connection.execute(
            "SELECT job_id FROM job_executions WHERE status = 'failed' LIMIT 1"
        ).fetchone()
        job_id = row[0] if row else "none"
        connection: Any = own
        search.find(connection, job_id)
        story.read_actions(connection, job_id)
        search.find_payload(connection, job_id)
        search.find_children(connection, job_id)

    def bulk(own: Explained) -> None:
        which = search.Filter(job_type="send-email")
        statistics.count_up_to(own, which, ("failed", "cancelled", "completed"), 1_001)  # type: ignore[arg-type]

    def called(own: Explained, statement: str, parameters: Any) -> list[tuple[Any, ...]]:
        return own.execute(statement, parameters).fetchall()

    # It makes psycopg's own cursor, of a connection alone.
    job_types.call = called  # type: ignore[assignment,attr-defined]

    def monitor(own: Explained) -> None:
        _as_connection(health.read, own)
        _as_connection(health.read_queue, own)

    return {
        "health and metrics": lambda own: _as_connection(health.read, own),
        "monitor: a minute": monitor,
        "page: overview": lambda own: _as_connection(overview_pages._overview, own),
        "page: alerts": lambda own: _as_connection(alerts.read, own),
        "page: jobs (tabs)": lambda own: _as_connection(
            statistics.read_statuses, own, search.STATUSES
        ),
        "page: a job": job,
        "page: types": lambda own: _as_connection(type_pages._types, own),
        "page: type send-email": lambda own: _as_connection(type_pages._shown, own, "send-email"),
        "page: type rare": lambda own: _as_connection(
            type_pages._shown,
            own,
            filling.RARE_TYPE,
        ),
        "page: retry all that match": bulk,
    }


def _as_connection(function: Callable[..., Any], own: Explained, *arguments: Any) -> None:
    """Give `Explained` to a function that wants a connection."""
    function(own, *arguments)


# --- measuring


def measure(
    urls: dict[int, str], rounds: int, only: str = "", plans: Path | None = None
) -> Measured:
    """The milliseconds of each operation, by the number of rows; the sizes take turns."""
    asked = {name: ask for name, ask in operations().items() if only in name}
    found: Measured = {name: {rows: [] for rows in urls} for name in asked}
    with contextlib.ExitStack() as stack:
        open_ = {
            rows: stack.enter_context(psycopg.connect(url, autocommit=True))
            for rows, url in urls.items()
        }
        for connection in open_.values():
            connection.execute("SET statement_timeout = '60s'")
        for name, ask in asked.items():
            progress(name)
            for turn in range(rounds + 1):
                for rows, connection in open_.items():
                    own = Explained(connection)
                    with connection.transaction(force_rollback=True):
                        ask(own)
                    if turn:  # the first fills the caches
                        found[name][rows].append(own.milliseconds)
                    elif plans is not None:
                        _keep_plans(plans, name, rows, own)
    return found


def _keep_plans(folder: Path, name: str, rows: int, own: Explained) -> None:
    file = folder / f"{name.replace('/', '_')}-{rows}.json"
    file.write_text(json.dumps(own.statements, indent=1))


@dataclass(frozen=True)
class Life:
    """What one job writes to the WAL from its enqueue to its end.

    Attributes:
        full_page_bytes: Right after a checkpoint.
    """

    wal_bytes: float
    wal_records: float
    full_page_bytes: float


READ_WAL = "SELECT wal_records::float, wal_bytes::float FROM pg_stat_wal"

SEED_ENQUEUE = """
INSERT INTO job_executions (job_id, job_type, status, payload, user_id, organization_id)
VALUES (%s, 'send-email', 'pending', %s, %s, %s)
"""
SEED_START = """
UPDATE job_executions SET status = 'processing', started_at = now(), updated_at = now()
 WHERE job_id = %s
"""
SEED_COMPLETE = """
UPDATE job_executions SET status = 'completed', result = %s, completed_at = now(),
       updated_at = now()
 WHERE job_id = %s
"""


def live_as_ours(connection: psycopg.Connection[Any], number: int, payload: Any) -> None:
    """Enqueued, published, claimed and completed: four statements."""
    from stashjobs import ids
    from stashjobs.store import executions, outbox

    job = executions.NewJob(
        job_id=ids.new_job_id(),
        job_type="send-email",
        payload=payload,
        max_attempts=4,
        user_id=f"u_{number * 7919 % 200_000}",
        organization_id=f"o_{number * 31 % 2_000}",
    )
    executions.record_new_jobs(connection, [job])
    outbox.confirm_published(connection, {job.job_id: f"msg_{number}"})
    lease = executions.Lease(60, f"msg_{number}", None)
    executions.claim(connection, job_id=job.job_id, job_type="send-email", lease=lease)
    executions.record_completed(
        connection, job_id=job.job_id, attempt=1, result={"emailId": f"e_{number}"}
    )


def live_as_the_seed(connection: psycopg.Connection[Any], number: int, payload: Any) -> None:
    """Enqueued, started and completed: three statements, and no lease, attempt or message."""
    from psycopg.types.json import Jsonb

    from stashjobs import ids

    job_id = ids.new_job_id()
    user, organization = f"u_{number * 7919 % 200_000}", f"o_{number * 31 % 2_000}"
    connection.execute(SEED_ENQUEUE, [job_id, Jsonb(payload), user, organization])
    connection.execute(SEED_START, [job_id])
    connection.execute(SEED_COMPLETE, [Jsonb({"emailId": f"e_{number}"}), job_id])


def measure_lives(
    url: str, live: Callable[[psycopg.Connection[Any], int, Any], None], lives: int
) -> Life:
    """What jobs write to the WAL: without whole pages, which is what the schema itself costs; and
    right after a checkpoint, when each page that is touched is written as a whole once."""
    payload = {"to": "a@example.com", "template": "welcome", "data": {"text": "x" * 250}}
    counted = []
    with psycopg.connect(url, autocommit=True) as connection:
        for whole_pages in ("off", "on"):
            connection.execute(f"ALTER SYSTEM SET full_page_writes = {whole_pages}".encode())
            connection.execute("SELECT pg_reload_conf()")
            connection.execute("CHECKPOINT")
            before = _wal(connection)
            for number in range(lives):
                live(connection, number, payload)
            counted.append([b - a for a, b in zip(before, _wal(connection), strict=True)])
        connection.execute("ALTER SYSTEM RESET full_page_writes")
        connection.execute("SELECT pg_reload_conf()")
    without, with_them = counted
    return Life(without[1] / lives, without[0] / lives, with_them[1] / lives)


def _wal(connection: psycopg.Connection[Any]) -> tuple[float, ...]:
    connection.execute("SELECT pg_stat_force_next_flush()")
    row = connection.execute(READ_WAL).fetchone()
    assert row is not None  # noqa: S101
    return tuple(row)


READ_SIZES = """
SELECT relname, pg_relation_size(oid) FROM pg_class
 WHERE oid IN (SELECT indexrelid FROM pg_index WHERE indrelid = 'job_executions'::regclass)
    OR oid = 'job_executions'::regclass
 ORDER BY relname
"""


def sizes(url: str) -> dict[str, int]:
    """Bytes of the table and of each of its indexes."""
    with psycopg.connect(url, autocommit=True) as connection:
        return dict(connection.execute(READ_SIZES).fetchall())


# --- the databases


@contextlib.contextmanager
def server(folder: Path | None) -> Iterator[Postgres]:
    """A Postgres whose commits wait for no disk; its data goes with it, or stays in `folder`."""
    from stashjobs.tools.servers.postgres import Postgres

    with contextlib.ExitStack() as stack:
        place = folder
        if place is None:
            place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        yield stack.enter_context(Postgres(place / "postgres", options=OPTIONS))


def ensure_filled(postgres: Postgres, kind: str, rows: int) -> str:
    """The URL of a database of `rows` jobs in the schema of `kind` (ours or seed), made now where
    an earlier run has not left it."""
    from stashjobs.store import migrations

    name = f"{kind}_{rows}"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        there = connection.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchone()
        if there is not None:
            if kind == "ours":
                migrations.migrate(postgres.url_of(name))
            return postgres.url_of(name)
        connection.execute(f"CREATE DATABASE {name}_unfinished".encode())
        with psycopg.connect(postgres.url_of(f"{name}_unfinished"), autocommit=True) as own:
            if kind == "ours":
                migrations.migrate(postgres.url_of(f"{name}_unfinished"))
                filling.fill(own, filling.INSERT_OURS, rows, tell=f"{kind}, {rows:,}")
            else:
                own.execute(filling.SEED_SCHEMA)
                filling.fill(own, filling.INSERT_SEED, rows, tell=f"{kind}, {rows:,}")
        connection.execute(f"ALTER DATABASE {name}_unfinished RENAME TO {name}".encode())
    return postgres.url_of(name)


# --- the command


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.growth", description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_ROWS} rows alone")
    parser.add_argument("--rows", type=int, nargs="+")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--keep", type=Path, help="a folder for the databases, kept for later")
    parser.add_argument("--only", default="", help="what has this in its name, and no WAL or sizes")
    parser.add_argument("--plans", type=Path, help="a folder for the plans, as JSON")
    given = parser.parse_args(argv)
    wanted = sorted(given.rows or (QUICK_ROWS if given.quick else ROWS))
    _ensure_room(given.keep or Path(tempfile.gettempdir()), sum(wanted))
    if given.plans is not None:
        given.plans.mkdir(parents=True, exist_ok=True)
    from stashjobs.job_type import load

    load()
    with server(given.keep) as postgres:
        ours = {rows: ensure_filled(postgres, "ours", rows) for rows in wanted}
        print(_timings(measure(ours, given.rounds, given.only, given.plans)))
        if given.only:
            return 0
        seeds = {rows: ensure_filled(postgres, "seed", rows) for rows in wanted}
        # Before any job is lived through, so that indexes are compared as they were built.
        print("\n" + _index_sizes(sizes(ours[wanted[-1]]), sizes(seeds[wanted[-1]])))
        print("\n" + _lives(ours, seeds))
        print(f"\n{machine()}, Postgres {_version(postgres)}")
    return 0


def _ensure_room(folder: Path, rows: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    needed, free = rows * BYTES_PER_ROW, shutil.disk_usage(folder).free
    if free < needed:
        raise SystemExit(
            f"{rows:,} rows need {needed / 1e9:.0f} GB and {folder} has {free / 1e9:.0f}; "
            "give fewer --rows, or another place with --keep"
        )


def _version(postgres: Postgres) -> str:
    return (postgres.cluster / "PG_VERSION").read_text().strip()


def _timings(found: Measured) -> str:
    some = next(iter(found.values()))
    headers = ["ms in Postgres, median", *(f"{rows:,}" for rows in some), "last / first"]
    lines = []
    for name, by_rows in found.items():
        medians = [numbers.median(times) for times in by_rows.values()]
        ratios = [
            last / first
            for first, last in zip(
                next(iter(by_rows.values())), list(by_rows.values())[-1], strict=True
            )
        ]
        lines.append([name, *(f"{ms:.2f}" for ms in medians), f"{numbers.median(ratios):.2f}"])
    return table(headers, lines)


def _index_sizes(ours: dict[str, int], seed: dict[str, int]) -> str:
    names = sorted(ours.keys() | seed.keys(), key=lambda name: (name != "job_executions", name))
    lines = [[name, _megabytes(ours.get(name)), _megabytes(seed.get(name))] for name in names]
    totals = [sum(each.values()) - each["job_executions"] for each in (ours, seed)]
    lines.append(["all indexes", *(_megabytes(total) for total in totals)])
    return table(["MB", "ours", "the guide's"], lines)


def _megabytes(size: int | None) -> str:
    return "" if size is None else f"{size / 1e6:,.1f}"


def _lives(ours: dict[int, str], seeds: dict[int, str]) -> str:
    lines = []
    for rows, url in ours.items():
        progress(f"lives at {rows:,}")
        own = measure_lives(url, live_as_ours, LIVES)
        other = measure_lives(seeds[rows], live_as_the_seed, LIVES)
        lines.append(
            [
                f"{rows:,}",
                *(f"{life.wal_bytes / 1000:.1f}" for life in (own, other)),
                f"{own.wal_bytes / other.wal_bytes:.2f}",
                *(f"{life.wal_records:.0f}" for life in (own, other)),
                *(f"{life.full_page_bytes / 1000:.1f}" for life in (own, other)),
            ]
        )
    headers = [
        "rows",
        "kB of WAL a job, ours",
        "the guide's",
        "ratio",
        "records, ours",
        "the guide's",
        "kB right after a checkpoint, ours",
        "the guide's",
    ]
    return table(headers, lines)


if __name__ == "__main__":
    raise SystemExit(main())
