"""Postgres: reachable, new enough, encrypted, migrated, indexed, with room for the stack."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING

from stashjobs.config import settings
from stashjobs.errors import MigrationError
from stashjobs.operators import health, search
from stashjobs.store import database, migrations
from stashjobs.store.migrations import worker_role
from stashjobs.tools.doctor import sql, stack
from stashjobs.tools.doctor.finding import Check, Verdict, green, not_checked, red, yellow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stashjobs.store.database import Connection

SLOW_SECONDS = 1.0
# The relay publishes within a minute of a job's being due; five of them are a relay that is ill.
LATE_SECONDS = 300.0
# What an app's pool may open (`database.POOL_MAX_CONNECTIONS`): so much should be left for it.
FOR_AN_APP = database.POOL_MAX_CONNECTIONS

_CHANGE = re.compile(
    r"(?im)^\s*(?:"
    r"CREATE (?:UNIQUE )?INDEX (?:CONCURRENTLY )?(?:IF NOT EXISTS )?(?P<made>\w+)"
    r"|DROP INDEX (?:CONCURRENTLY )?(?:IF EXISTS )?(?P<dropped>\w+)"
    r"|ALTER INDEX (?:IF EXISTS )?(?P<old>\w+) RENAME TO (?P<new>\w+))"
)


def version() -> Verdict:
    """It answers, and is new enough."""
    with _connected() as connection:
        number = connection.info.server_version
    told = f"Postgres {number // 10_000}.{number % 10_000}"
    if number // 10_000 < migrations.OLDEST_POSTGRES:
        return red(told, f"upgrade it to {migrations.OLDEST_POSTGRES} or newer")
    return green(told)


def tls() -> Verdict:
    """What travels is encrypted, and the URL insists on it."""
    with _connected() as connection:
        encrypted = bool(connection.pgconn.ssl_in_use)
    mode = database.read_url(settings.postgres_url()).get("sslmode")
    return judge_tls(settings.stage(), str(mode or "prefer"), encrypted=encrypted)


def judge_tls(stage: str, mode: str, *, encrypted: bool) -> Verdict:
    """A verdict on a connection; `mode` is libpq's `sslmode`."""
    if stage == "local" and not encrypted:
        return not_checked("this is the local stage")
    if not encrypted:
        return red("the connection is not encrypted", "add ?sslmode=require to POSTGRES_URL")
    if mode not in {"require", "verify-ca", "verify-full"}:
        return yellow(
            "encrypted, and POSTGRES_URL would also take it unencrypted",
            "add ?sslmode=require (better: verify-full) to POSTGRES_URL",
        )
    return green(f"encrypted, sslmode={mode}")


def role() -> Verdict:
    """The functions have a role that may only run jobs."""
    with _connected() as connection:
        row = connection.execute(sql.READ_ROLE).fetchone()
        others = worker_role.outsiders(connection)
    if row is None:
        return not_checked("there is no job_executions")
    if others:
        told = ", ".join(f"{role} may use {table}" for table, role in others[:3])
        return red(told, f"stashjobs migrate --stage {settings.stage()}, which revokes it")
    user, owner, is_owner = row
    if not is_owner:
        return green(f"functions are {user}, who may only run jobs; {owner} owns the tables")
    told = f"{user} owns the tables"
    if settings.stage() == "local":
        return green(f"{told}; the local functions have a role of their own")
    return yellow(
        f"{told}, so a function may change all of them, the audit too",
        "give the functions a role of their own: docs/security.md, Two roles",
    )


def migrations_are_current() -> Verdict:
    """The database has what this checkout expects."""
    then = f"stashjobs migrate --stage {settings.stage()}"
    try:
        pending = migrations.migrate(settings.postgres_url(), dry_run=True)
    except MigrationError as error:
        return red(str(error), "see docs/deployment.md, Migrations")
    if pending:
        return red(f"{len(pending)} are not applied: {', '.join(pending)}", then)
    return green(f"all {len(migrations.available())} are applied")


def expected_indexes() -> set[str]:
    """The names of all indexes that the migrations leave behind."""
    names: set[str] = set()
    for migration in migrations.available():
        for change in _CHANGE.finditer(migration.sql):
            names -= {change["dropped"], change["old"]}
            names |= {name for name in (change["made"], change["new"]) if name}
    return names


def indexes() -> Verdict:
    """The deployment guide's five and ours are there, and none was left half-built."""
    with _connected() as connection:
        there: dict[str, bool] = dict(connection.execute(sql.READ_INDEXES).fetchall())
    missing = sorted(expected_indexes() - there.keys())
    broken = sorted(name for name, valid in there.items() if not valid)
    if missing:
        then = "make them again as shared/stashjobs/store/migrations/ has them, with CONCURRENTLY"
        return red(f"missing: {', '.join(missing)}", then)
    if broken:
        return red(f"not valid: {', '.join(broken)}", f"REINDEX INDEX CONCURRENTLY {broken[0]}")
    return green(f"all {len(expected_indexes())} are there and valid")


def timeouts() -> Verdict:
    """No statement, and no wait for a lock, goes on for ever."""
    with _connected() as connection:
        missing = database.missing_timeouts(connection)
        others = database.other_defaults(connection)
        role = connection.info.user
    # A pooler that refuses options is noticed by every connection; one that ignores them only here.
    if others:
        [(name, value), *_] = others
        then = f"ALTER ROLE {role} SET {name} = '{database.RELIED_ON[name]}' (docs/connections.md)"
        return red(f"the pooler ignores startup options, and {name} is {value}", then)
    if missing:
        told = f"no {' and no '.join(missing)}: the pooler took no startup options"
        return yellow(told, f"ALTER ROLE {role} SET {missing[0]} = '30s' (docs/connections.md)")
    return green("statement_timeout and lock_timeout hold")


def connection_budget() -> Verdict:
    """What the stack may open fits into what the server grants (docs/connections.md)."""
    budget = stack.connections()
    with _connected() as connection:
        row = connection.execute(sql.READ_LIMITS).fetchone() or (0, 0)
    granted, reserved = row
    left = granted - reserved - budget
    told = f"{budget} for the stack, of {granted} less {reserved} that are reserved"
    if left < 0:
        return red(told, "raise the server's max_connections, or lower MaxConnections")
    if left < FOR_AN_APP:
        then = f"{left} are left for your app, whose pool takes up to {FOR_AN_APP}; raise it"
        return yellow(told, then)
    return green(f"{told}; {left} are left")


def read_replica() -> Verdict:
    """What POSTGRES_READ_URL leads to has what Postgres itself has, and is not far behind."""
    url = settings.optional("POSTGRES_READ_URL")
    if url is None:
        return not_checked("POSTGRES_READ_URL is optional, and not set")
    with _connected() as connection:
        newest, age = connection.execute(sql.READ_NEWEST).fetchone() or (None, 0.0)
    with database.connect(url) as connection:
        if connection.execute(sql.READ_HAS_JOBS).fetchone() == (False,):
            return red(
                "there is no job_executions where POSTGRES_READ_URL leads",
                "is it a replica of this stage's database?",
            )
        there, _ = connection.execute(sql.READ_NEWEST).fetchone() or (None, 0.0)
    if newest is not None and (there is None or there < newest) and age > LATE_SECONDS:
        told = f"it lacks a job that was enqueued {age / 60:.0f} minutes ago"
        return red(told, "is it a replica of this stage's database, and does replication run?")
    return green("it has the newest job" if newest is not None else "it answers")


def queries() -> Verdict:
    """What the dashboard and the alarms ask is answered, and quickly."""
    began = time.monotonic()
    with _connected() as connection:
        health.read(connection)
        health.read_queue(connection)
        search.newest(connection, search.Filter(), limit=1)
    seconds = time.monotonic() - began
    told = f"the health and list queries took {seconds:.2f} s"
    if seconds > SLOW_SECONDS:
        return yellow(told, "look at the load; do clean-ups run? (docs/cleanup.md)")
    return green(told)


def relay() -> Verdict:
    """No due job is unpublished."""
    with _connected() as connection:
        row = connection.execute(sql.READ_OLDEST_UNPUBLISHED).fetchone()
    late = 0.0 if row is None else row[0]
    if late > LATE_SECONDS:
        told = f"a job has waited {late / 60:.0f} minutes to be published"
        return red(told, "see RelayFunction's log: does it run every minute?")
    return green("nothing waits to be published")


@contextlib.contextmanager
def _connected() -> Iterator[Connection]:
    with database.connect(settings.postgres_url()) as connection:
        yield connection


CHECKS = (
    Check("Postgres", version, decides=True),
    Check("Postgres TLS", tls),
    Check("Postgres role", role),
    Check("migrations", migrations_are_current),
    Check("indexes", indexes),
    Check("timeouts", timeouts),
    Check("connection budget", connection_budget),
    Check("read replica", read_replica),
    Check("queries", queries),
    Check("relay", relay),
)
