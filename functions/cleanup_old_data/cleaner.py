"""One clean-up, a few batches at a time.

    choose -> remember -> commit;   delete -> archive -> forget -> commit

A batch is one object. Its rows are deleted by the very commit that comes after all objects of that
transaction are in S3. Whatever kills the process before that leaves the rows, and the keys and ids
of the batches in `archive_batches`; the next run begins with them and writes the same objects
again. So no row is lost, and none is in two objects.

While one batch is packed and sent, Postgres deletes the next.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from functions.cleanup_old_data import archive, sql
from functions.cleanup_old_data.models import CleanedUp, Cleanup
from stashjobs.store import database

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from functions.cleanup_old_data.retention import Retention
    from stashjobs import Context
    from stashjobs.store.database import Connection

# The run stops this long before its deadline, or three of its longest batches if that is more.
RESERVE_SECONDS = 5.0
PROGRESS_SECONDS = 2.0
# In one transaction: so many that the last one's way to S3, when Postgres has nothing to do, is a
# small part of it, and so few that it ends within about a second.
BATCHES_AT_ONCE = 8
# Of documents, as the table has them: a batch is packed in memory, as JSON text.
BATCH_BYTES = 16 * 2**20
# That are packed and sent at the same time; more would only fill the memory.
UPLOADS = 2

BEGINNING = (datetime.min.replace(tzinfo=UTC), "")


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
        return self._done

    def _archive_executions(self) -> bool:
        while self._has_time():
            began = time.monotonic()
            connection = database.connection()
            keys, another_is_at_work = self._choose(connection)
            if not keys:
                return not another_is_at_work
            self._move(connection, keys)
            self._note(began)
        return False

    def _choose(self, connection: Connection) -> tuple[list[str], bool]:
        """The keys of the next batches, written down; and, where there are none, whether that is
        because another clean-up is at work on some."""
        parameters = {
            **self._retention.parameters,
            **_position(self._position),
            "rows": self._rows,
            "batches": BATCHES_AT_ONCE,
            "bytes": BATCH_BYTES,
        }
        with connection.transaction():
            connection.execute(sql.MEMORY_FOR_A_BATCH)
            connection.execute(sql.ONE_CHOOSES_AT_A_TIME)
            left = connection.execute(sql.TAKE_UNFINISHED_BATCHES, parameters).fetchall()
            if left:
                return [key for (key,) in left], False
            if _number(connection, sql.ANOTHER_IS_AT_WORK):
                return [], True
            chosen = connection.execute(sql.REMEMBER_BATCHES, parameters).fetchone()
        if chosen is None:
            return [], False
        keys, *position = chosen
        self._position = (position[0], position[1])
        return keys, False

    def _move(self, connection: Connection, keys: Sequence[str]) -> None:
        """Into the archive and out of the table: the commit at the end of the block deletes."""
        with connection.transaction():
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
        cutoff = self._retention.idempotency_keys
        if cutoff is None:
            return True
        for freed in self._walked(sql.FREE_IDEMPOTENCY_KEYS, cutoff):
            self._done.idempotency_keys += freed
        return self._has_time()

    def _delete_notifications(self) -> bool:
        for deleted in self._deleted(sql.DELETE_NOTIFICATIONS, self._retention.notifications):
            self._done.notifications += deleted
        return self._has_time()

    def _delete_emails(self) -> bool:
        for deleted in self._walked(sql.DELETE_EMAILS, self._retention.emails):
            self._done.emails += deleted
        return self._has_time()

    def _archive_access_log(self) -> bool:
        after = 0
        while self._has_time():
            began = time.monotonic()
            last = self._archive_accesses(after)
            if last is None:
                return True
            after = last
            self._note(began)
        return False

    def _archive_accesses(self, after: int) -> int | None:
        """One object of the access log: the commit at the end of the block deletes the rows.
        Returns the last one's id; None: there are no more."""
        connection = database.connection()
        parameters = {"cutoff": self._retention.cutoff, "rows": self._rows, "after": after}
        with connection.transaction():
            gone = connection.execute(sql.DELETE_ACCESS_LOG, parameters, binary=True).fetchone()
            count, last, key, lines = gone or (0, None, "", b"")
            if last is None:
                return None
            size = archive.write(key, lines)
        self._done.access_log += count
        self._done.objects += 1
        self._done.bytes += size
        return int(last)

    def _walked(self, statement: str, cutoff: datetime) -> Iterator[int]:
        """How many rows each batch changed, by time and id, until there are no more or the time is
        up."""
        parameters = {"cutoff": cutoff, "rows": self._rows, **_position(BEGINNING)}
        while self._has_time():
            began = time.monotonic()
            walked = _row(statement, parameters)
            if walked is None:
                return
            count, parameters["after_time"], parameters["after_id"] = walked
            self._note(began)
            yield count

    def _deleted(self, statement: str, cutoff: datetime) -> Iterator[int]:
        """How many rows each batch deleted, by id, until there are no more or the time is up."""
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
