"""One clean-up, a few batches at a time.

    choose -> remember -> commit;   delete -> archive -> forget -> commit

A batch is one object. Its rows are deleted by the very commit that comes after all objects of that
transaction are in S3. Whatever kills the process before that leaves the rows, and the keys and ids
of the batches in `archive_batches`; the next run begins with them and writes the same objects
again. So no row is lost, and none is in two objects.

While one batch is packed and sent, Postgres deletes the next.

What fails because of its rows is tried in halves. A row that fails alone is set aside with the
reason, and the clean-up goes on behind it.
"""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import psycopg

from functions.cleanup_old_data import archive, sql
from functions.cleanup_old_data.models import CleanedUp, Cleanup
from stashjobs.store import database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from functions.cleanup_old_data.retention import Retention
    from stashjobs import Context
    from stashjobs.store.database import Connection

# The run stops this long before its deadline, or three of its longest batches if that is more.
RESERVE_SECONDS = 5.0
PROGRESS_SECONDS = 2.0
# What the progress shows when all jobs are archived, and at the beginning of what comes then.
FRACTION_OF_JOBS = 0.9
FRACTIONS_AFTER = {
    "freeing idempotency keys": 0.9,
    "deleting notifications": 0.92,
    "deleting emails": 0.95,
    "archiving the access log": 0.98,
}
# In one transaction: so many that the last one's way to S3, when Postgres has nothing to do, is a
# small part of it, and so few that it ends within about a second.
BATCHES_AT_ONCE = 8
# Of JSON: a batch is packed in memory.
BATCH_BYTES = 16 * 2**20
# Of one row, which may be a batch by itself. More is set aside.
LINE_BYTES = 64 * 2**20
# That are packed and sent at the same time; more would only fill the memory.
UPLOADS = 2

# After which Postgres frees the rows of a clean-up that was stopped; waits for S3 end before.
IDLE_SECONDS = 200.0

# Times go on as text: Postgres has some that Python has not.
BEGINNING = ("-infinity", "")

# The rows are to blame (PostgreSQL, "Error Codes"): their values, a constraint or a trigger that
# another made, what is too large for Postgres, a page that cannot be read, and what did not end in
# time. Not its state, that of its disk, or the network's, which are the same for every row.
OF_THE_ROWS = ("21", "22", "23", "54", "P0", "XX", "53200", "57014")

log = logging.getLogger("stashjobs")


class Cleaner:
    """One run of the job.

    Its statements go over the worker's own connection, each transaction a second or less.

    Raises:
        psycopg.Error: Postgres failed. Nothing is lost, and another attempt continues.
        botocore.exceptions.ClientError | BotoCoreError: S3 did. Likewise.
        SettingError: `FILES_BUCKET` is missing.
        LeaseLost: Another delivery has taken this job over.
    """

    def __init__(self, cleanup: Cleanup, retention: Retention, context: Context) -> None:
        self._retention = retention
        self._context = context
        self._rows = cleanup.batch_rows
        self._done = CleanedUp()
        self._position = BEGINNING
        self._longest = 0.0
        self._total = 0
        self._told = 0.0
        self._phase = ""
        self._rows_of_phase = 0

    def count(self) -> CleanedUp:
        """What `run` would do; changes nothing."""
        connection = database.connection()
        parameters = self._retention.parameters
        by_type = dict(connection.execute(sql.COUNT_PAST_RETENTION, parameters).fetchall())
        counted = CleanedUp(
            would_delete=by_type,
            notifications=_number(
                connection,
                sql.COUNT_NOTIFICATIONS,
                {"cutoff": self._retention.notifications},
            ),
            emails=_number(connection, sql.COUNT_EMAILS, {"cutoff": self._retention.emails}),
            access_log=_number(connection, sql.COUNT_ACCESS_LOG, parameters),
        )
        if self._retention.idempotency_keys is not None:
            ended_before = {"cutoff": self._retention.idempotency_keys}
            counted.idempotency_keys = _number(connection, sql.COUNT_IDEMPOTENCY_KEYS, ended_before)
        return counted

    def run(self) -> CleanedUp:
        """Archive and delete until nothing is left to do or the time is up."""
        self._total = _number(
            database.connection(), sql.COUNT_ALL_PAST_RETENTION, self._retention.parameters
        )
        finished = self._archive_executions()
        finished = finished and self._free_idempotency_keys()
        finished = finished and self._delete_notifications()
        finished = finished and self._delete_emails()
        self._done.finished = finished and self._archive_access_log()
        self._done.set_aside += _number(database.connection(), sql.COUNT_SET_ASIDE)
        return self._done

    def _archive_executions(self) -> bool:
        self._begin("archiving jobs")
        while self._has_time():
            began = time.monotonic()
            connection = database.connection()
            keys, is_end = self._choose(connection)
            if is_end is not None:
                return is_end
            before = self._done.deleted
            self._move(connection, keys)
            self._note(began, self._done.deleted - before)
        return False

    def _choose(self, connection: Connection) -> tuple[list[str], bool | None]:
        """The keys of the next batches, written down. Where there are none: True, because nothing
        is left to do, or False, because another clean-up is at work on some or the time is up."""
        limit = self._rows * BATCHES_AT_ONCE
        while True:
            try:
                return self._remember(connection, limit)
            except psycopg.Error as error:
                if not _is_of_the_rows(error):
                    raise
                if limit == 1 and not self._set_aside(
                    connection, sql.SET_ASIDE_NEXT, self._after, error
                ):
                    raise
            if not self._has_time():
                return [], False
            limit = max(1, limit // 2)

    def _remember(self, connection: Connection, limit: int) -> tuple[list[str], bool | None]:
        parameters = {
            **self._after,
            "rows": self._rows,
            "limit": limit,
            "bytes": BATCH_BYTES,
            "line_bytes": LINE_BYTES,
            "weight": BATCH_BYTES * BATCHES_AT_ONCE,
        }
        with database.transaction(connection, idle_seconds=IDLE_SECONDS):
            connection.execute(sql.MEMORY_FOR_A_BATCH)
            connection.execute(sql.ONE_CHOOSES_AT_A_TIME)
            unfinished = {"batches": BATCHES_AT_ONCE}
            left = connection.execute(sql.TAKE_UNFINISHED_BATCHES, unfinished).fetchall()
            if left:
                return [key for (key,) in left], None
            if _number(connection, sql.ANOTHER_IS_AT_WORK):
                return [], False
            chosen = connection.execute(sql.REMEMBER_BATCHES, parameters).fetchone()
        if chosen is None:
            return [], True
        keys, set_aside, *position = chosen
        self._position = (position[0], position[1])
        for job_id, reason in set_aside.items():
            _say_set_aside(reason, job_id)
        return keys, None

    @property
    def _after(self) -> dict[str, Any]:
        """What is past its retention, behind the last row that was looked at."""
        return {**self._retention.parameters, **_position(self._position)}

    def _move(self, connection: Connection, keys: Sequence[str]) -> None:
        """Into the archive and out of the table; where that fails because of rows, each batch by
        itself, and then in halves, which the next turn begins with."""
        try:
            self._move_together(connection, keys)
        except psycopg.Error as error:
            if not _is_of_the_rows(error):
                raise
            if len(keys) == 1:
                self._halve(connection, keys[0], error)
                return
            for key in keys:
                if self._has_time():
                    self._move(connection, [key])

    def _move_together(self, connection: Connection, keys: Sequence[str]) -> None:
        """The commit at the end of the block deletes."""
        with database.transaction(connection, idle_seconds=IDLE_SECONDS):
            connection.execute(sql.MEMORY_FOR_A_BATCH)
            # One that is missing here, another clean-up has taken.
            found = connection.execute(sql.LOCK_BATCHES, [list(keys)]).fetchall()
            locked = sorted(key for (key,) in found)
            deleted, sizes = self._delete_and_archive(connection, locked)
            connection.execute(sql.FORGET_BATCHES, [locked])
        self._done.archived += deleted
        self._done.deleted += deleted
        self._done.objects += len(sizes)
        self._done.bytes += sum(sizes)

    def _halve(self, connection: Connection, key: str, error: psycopg.Error) -> None:
        # An earlier try may have written the object; these rows will be in others, or in none.
        archive.write(key, b"")
        if not connection.execute(sql.HALVE_BATCH, {"key": key}).fetchall():
            self._set_aside(connection, sql.SET_ASIDE, {"key": key}, error)

    def _set_aside(
        self, connection: Connection, statement: str, which: dict[str, Any], error: psycopg.Error
    ) -> bool:
        reason = _reason(error)
        found = connection.execute(statement, {**which, "error": reason}).fetchall()
        for (job_id,) in found:
            _say_set_aside(reason, job_id)
        return bool(found)

    def _delete_and_archive(
        self, connection: Connection, keys: Sequence[str]
    ) -> tuple[int, list[int]]:
        """How many rows that were, and the bytes of each object. All of them are in S3 then."""
        archive.open_bucket()
        deleted = 0
        sent: list[Future[int]] = []
        with ThreadPoolExecutor(UPLOADS) as uploads:
            for key in keys:
                parameters = {**self._retention.parameters, "key": key}
                gone = connection.execute(sql.DELETE_BATCH, parameters, binary=True)
                rows, lines = gone.fetchone() or (0, b"")
                deleted += rows
                # Also where none was left to delete: an earlier try may have written the object.
                sent.append(uploads.submit(archive.write, key, lines))
                if len(sent) > UPLOADS:
                    sent[-1 - UPLOADS].result()
            return deleted, [each.result() for each in sent]

    def _free_idempotency_keys(self) -> bool:
        if self._retention.idempotency_keys is None:
            return True
        for freed in self._walk(
            "freeing idempotency keys",
            partial(_row, sql.FREE_IDEMPOTENCY_KEYS),
            sql.NEXT_IDEMPOTENCY_KEY,
            {"cutoff": self._retention.idempotency_keys, **_position(BEGINNING)},
        ):
            self._done.idempotency_keys += freed
        return self._has_time()

    def _delete_notifications(self) -> bool:
        for deleted in self._walk(
            "deleting notifications",
            partial(_row, sql.DELETE_NOTIFICATIONS),
            sql.NEXT_NOTIFICATION,
            {"cutoff": self._retention.notifications, "after": 0},
        ):
            self._done.notifications += deleted
        return self._has_time()

    def _delete_emails(self) -> bool:
        for deleted in self._walk(
            "deleting emails",
            partial(_row, sql.DELETE_EMAILS),
            sql.NEXT_EMAIL,
            {"cutoff": self._retention.emails, **_position(BEGINNING)},
        ):
            self._done.emails += deleted
        return self._has_time()

    def _archive_access_log(self) -> bool:
        for archived in self._walk(
            "archiving the access log",
            self._archive_accesses,
            sql.NEXT_ACCESS,
            {"cutoff": self._retention.cutoff, "bytes": BATCH_BYTES, "after": 0},
        ):
            self._done.access_log += archived
        return self._has_time()

    def _archive_accesses(self, parameters: dict[str, Any]) -> tuple[Any, ...]:
        """One object of the access log: the commit at the end of the block deletes the rows."""
        connection = database.connection()
        with database.transaction(connection, idle_seconds=IDLE_SECONDS):
            gone = connection.execute(sql.DELETE_ACCESS_LOG, parameters, binary=True).fetchone()
            count, last, key, lines = gone or (0, None, "", b"")
            if last is not None:
                self._done.bytes += archive.write(key, lines)
        self._done.objects += last is not None
        return count, last

    def _walk(
        self,
        phase: str,
        change: Callable[[dict[str, Any]], tuple[Any, ...] | None],
        next_row: str,
        parameters: dict[str, Any],
    ) -> Iterator[int]:
        """How many rows each batch changed, until there are no more or the time is up.

        Args:
            phase: What the progress calls it.
            change: One batch: how many rows that were, and then the position of its last one, in
                the order in which `parameters` ends.
            next_row: Finds the position of the next row, in the same order.
            parameters: For both, beside `rows`.
        """
        self._begin(phase)
        at = [name for name in parameters if name.startswith("after")]
        rows = self._rows
        while self._has_time():
            began = time.monotonic()
            try:
                count, *last = change({**parameters, "rows": rows}) or (0,)
            except psycopg.Error as error:
                if not _is_of_the_rows(error):
                    raise
                if rows > 1:
                    rows //= 2
                    continue
                count, last = 0, list(_row(next_row, {**parameters, "rows": 1}) or ())[: len(at)]
                self._done.set_aside += 1
                log.error("%s: %s is passed over: %s", phase, last, _reason(error))
            if not last or last[0] is None:
                return
            parameters = {**parameters, **dict(zip(at, last, strict=True))}
            rows = min(self._rows, rows * 2)
            self._note(began, count)
            yield count

    def _has_time(self) -> bool:
        return self._context.remaining_seconds() > max(RESERVE_SECONDS, 3 * self._longest)

    def _begin(self, phase: str) -> None:
        self._phase = phase
        self._rows_of_phase = 0
        self._tell()

    def _note(self, began: float, rows: int) -> None:
        """Keep the longest batch in mind, and show on the row how far the run is."""
        now = time.monotonic()
        self._longest = max(self._longest, now - began)
        self._rows_of_phase += rows
        if now - self._told >= PROGRESS_SECONDS:
            self._tell()

    def _tell(self) -> None:
        self._told = time.monotonic()
        deleted = self._done.deleted
        jobs, after = FRACTION_OF_JOBS, FRACTIONS_AFTER.get(self._phase)
        self._context.progress(
            jobs * deleted / max(self._total, deleted, 1) if after is None else after,
            f"{self._phase}: {self._rows_of_phase:,} rows",
            deleted=deleted,
        )


def _is_of_the_rows(error: psycopg.Error) -> bool:
    return (error.sqlstate or "").startswith(OF_THE_ROWS)


def _reason(error: psycopg.Error) -> str:
    """What is wrong, without a value of a row: what Postgres says of values quotes them."""
    said = error.diag
    is_about_values = (error.sqlstate or "").startswith(("22", "23", "P0"))
    where = " ".join(each for each in (said.table_name, said.constraint_name) if each)
    return f"{type(error).__name__}: {(where if is_about_values else said.message_primary) or '-'}"


def _say_set_aside(reason: str, job_id: str) -> None:
    log.error("a job is set aside by the clean-up: %s", reason, extra={"job_id": job_id})


def _position(after: tuple[str, str]) -> dict[str, Any]:
    """For the statements that go on behind a row."""
    return {"after_time": after[0], "after_id": after[1]}


def _row(statement: str, parameters: dict[str, Any]) -> tuple[Any, ...] | None:
    row: tuple[Any, ...] | None = database.connection().execute(statement, parameters).fetchone()
    return row


def _number(
    connection: Connection, statement: str, parameters: dict[str, Any] | None = None
) -> int:
    found = connection.execute(statement, parameters).fetchone()
    return 0 if found is None else int(found[0])
