"""One clean-up, batch by batch.

    choose -> remember -> commit;   delete -> archive -> forget -> commit

A batch's rows are deleted by the very commit that comes after their object is in S3. Whatever
kills the process before that leaves the rows, and the batch's key and ids in `archive_batches`; the
next run begins with them and writes the same object again. So no row is lost, and none is in two
objects.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from functions.cleanup_old_data import archive, statements
from functions.cleanup_old_data.models import CleanedUp, Cleanup
from stashjobs import database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from functions.cleanup_old_data.retention import Retention
    from stashjobs import Context
    from stashjobs.database import Connection

# The run stops this long before its deadline, or three of its longest batches if that is more.
RESERVE_SECONDS = 5.0
PROGRESS_SECONDS = 2.0

BEGINNING = (datetime.min.replace(tzinfo=UTC), "")


@dataclass(frozen=True)
class Batch:
    """Rows that go into the archive together, under `key`."""

    key: str
    job_ids: list[str]


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

    def count(self) -> CleanedUp:
        """What `run` would do; changes nothing."""
        connection = database.connection()
        parameters = self._retention.parameters
        by_type = dict(connection.execute(statements.COUNT_PAST_RETENTION, parameters).fetchall())
        read_before = {"cutoff": self._retention.notifications}
        counted = CleanedUp(
            would_delete=by_type,
            notifications=_number(connection, statements.COUNT_READ_NOTIFICATIONS, read_before),
            access_log=_number(connection, statements.COUNT_ACCESS_LOG, parameters),
        )
        if self._retention.idempotency_keys is not None:
            ended_before = {"cutoff": self._retention.idempotency_keys}
            counted.idempotency_keys = _number(
                connection, statements.COUNT_IDEMPOTENCY_KEYS, ended_before
            )
        return counted

    def run(self) -> CleanedUp:
        """Archive and delete until nothing is left to do or the time is up."""
        self._total = _number(
            database.connection(), statements.COUNT_ALL_PAST_RETENTION, self._retention.parameters
        )
        finished = self._archive_executions()
        finished = finished and self._free_idempotency_keys()
        finished = finished and self._delete_notifications()
        self._done.finished = finished and self._delete_access_log()
        return self._done

    def _archive_executions(self) -> bool:
        while self._has_time():
            began = time.monotonic()
            connection = database.connection()
            batch, another_is_at_work = self._choose(connection)
            if batch is None:
                return not another_is_at_work
            self._move(connection, batch)
            self._note(began)
        return False

    def _choose(self, connection: Connection) -> tuple[Batch | None, bool]:
        """The next batch, written down; and, where there is none, whether that is because another
        clean-up is at work on one."""
        with connection.transaction():
            connection.execute(statements.ONE_CHOOSES_AT_A_TIME)
            left = connection.execute(statements.TAKE_UNFINISHED_BATCH).fetchone()
            if left is not None:
                return Batch(*left), False
            if _number(connection, statements.ANOTHER_IS_AT_WORK):
                return None, True
            parameters = {**self._retention.parameters, **_position(self._position)}
            chosen = connection.execute(
                statements.CHOOSE_BATCH, {**parameters, "rows": self._rows}
            ).fetchall()
            if not chosen:
                return None, False
            job_ids = [job_id for job_id, _, _ in chosen]
            batch = Batch(archive.key_of(chosen[0][2], job_ids), job_ids)
            connection.execute(statements.REMEMBER_BATCH, [batch.key, job_ids])
        self._position = (chosen[-1][1], chosen[-1][0])
        return batch, False

    def _move(self, connection: Connection, batch: Batch) -> None:
        """Into the archive and out of the table: the commit at the end of the block deletes."""
        parameters = {**self._retention.parameters, "job_ids": batch.job_ids}
        with connection.transaction():
            if connection.execute(statements.LOCK_BATCH, [batch.key]).fetchone() is None:
                return  # another clean-up has taken it
            rows = [row for (row,) in connection.execute(statements.DELETE_BATCH, parameters)]
            # Also where none was left to delete: an earlier try may have written the object.
            size = archive.write(batch.key, rows)
            connection.execute(statements.FORGET_BATCH, [batch.key])
        self._done.archived += len(rows)
        self._done.deleted += len(rows)
        self._done.objects += 1
        self._done.bytes += size

    def _free_idempotency_keys(self) -> bool:
        cutoff = self._retention.idempotency_keys
        if cutoff is None:
            return True
        parameters = {"cutoff": cutoff, "rows": self._rows, **_position(BEGINNING)}
        while self._has_time():
            began = time.monotonic()
            freed = _row(statements.FREE_IDEMPOTENCY_KEYS, parameters)
            if freed is None:
                return True
            count, parameters["after_time"], parameters["after_id"] = freed
            self._done.idempotency_keys += count
            self._note(began)
        return False

    def _delete_notifications(self) -> bool:
        for deleted in self._deleted(
            statements.DELETE_READ_NOTIFICATIONS, self._retention.notifications
        ):
            self._done.notifications += deleted
        return self._has_time()

    def _delete_access_log(self) -> bool:
        for deleted in self._deleted(statements.DELETE_ACCESS_LOG, self._retention.cutoff):
            self._done.access_log += deleted
        return self._has_time()

    def _deleted(self, statement: str, cutoff: datetime) -> Iterator[int]:
        """How many rows each batch deleted, until there are no more or the time is up."""
        parameters = {"cutoff": cutoff, "rows": self._rows, "after": 0}
        while self._has_time():
            began = time.monotonic()
            deleted, last = _row(statement, parameters) or (0, None)
            if last is None:
                return
            parameters["after"] = last
            self._note(began)
            yield deleted

    def _has_time(self) -> bool:
        return self._context.remaining_seconds() > max(RESERVE_SECONDS, 3 * self._longest)

    def _note(self, began: float) -> None:
        """Keep the longest batch in mind, and show on the row how far the run is."""
        now = time.monotonic()
        self._longest = max(self._longest, now - began)
        if now - self._told < PROGRESS_SECONDS:
            return
        self._told = now
        done = self._done
        self._context.progress(
            done.deleted / max(self._total, done.deleted, 1),
            f"{done.deleted:,} rows archived and deleted",
            deleted=done.deleted,
        )


def _position(after: tuple[datetime, str]) -> dict[str, Any]:
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
