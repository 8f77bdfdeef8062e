"""What goes, what stays, and what the archive then has."""

from __future__ import annotations

import gzip
import json
import random
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import psycopg
import pytest

from functions.cleanup_old_data import archive, sql
from functions.cleanup_old_data import cleaner as cleaning
from functions.cleanup_old_data.handler import cleanup_old_data
from functions.cleanup_old_data.models import CleanedUp, Cleanup
from stashjobs import Context, job_type
from tests.deliveries import lambda_context

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.buckets import Bucket
    from tests.deliveries import Table
    from tests.integration.cleanup_old_data.conftest import Past
    from tests.integration.conftest import Log


def test_what_ended_before_the_cutoff_moves_to_the_archive(past: Past, bucket: Bucket) -> None:
    for status in ("completed", "failed", "cancelled"):
        past.add(f"old-{status}", status=status)
    past.add("young", days=89)
    past.add("old-waiting", status="pending")
    past.add("old-retrying", status="retrying")
    past.add("old-ended-lately", completed_at="2026-11-01T00:00:00Z")

    done = past.clean()

    assert (done.archived, done.deleted, done.objects, done.finished) == (3, 3, 1, True)
    assert past.ids() == {"young", "old-waiting", "old-retrying", "old-ended-lately"}
    assert {row["job_id"] for row in bucket.archived()} == {
        "old-completed",
        "old-failed",
        "old-cancelled",
    }


def test_a_job_stays_until_those_that_waited_for_it_have_ended(past: Past, bucket: Bucket) -> None:
    past.add("parent")
    past.add("child", status="waiting")
    past.table.run(
        "INSERT INTO job_dependencies (job_id, parent_id, position, required) "
        "VALUES ('child', 'parent', 1, 'ended')"
    )
    past.clean()
    assert past.ids() == {"parent", "child"}
    past.table.run("UPDATE job_executions SET status = 'pending' WHERE job_id = 'child'")
    past.clean()
    assert past.ids() == {"parent", "child"}
    past.table.run(
        "UPDATE job_executions SET status = 'cancelled', completed_at = created_at "
        "WHERE job_id = 'child'"
    )
    past.clean()
    assert past.ids() == set()
    assert past.table.run("SELECT 1 FROM job_dependencies") == []


def test_the_archive_has_every_column_of_a_row_and_what_operators_did(
    past: Past, bucket: Bucket
) -> None:
    past.add("old", result='{"emailId": "e\\u00e9\\n"}', idempotency_key="k", user_id='u"1')
    past.table.run(
        "INSERT INTO job_actions (actor, action, job_id, before) VALUES "
        "('ada', 'retry', 'old', '{\"status\": \"failed\"}'), ('bob', 'retry', 'other', '{}')"
    )
    [before] = past.table.run("SELECT row_to_json(j)::text AS row FROM job_executions AS j")

    past.clean()

    [row] = bucket.archived()
    [action] = row.pop("actions")
    assert row == json.loads(before["row"])
    assert (action["actor"], action["before"]) == ("ada", {"status": "failed"})
    assert [each["job_id"] for each in past.table.run("SELECT job_id FROM job_actions")] == [
        "other"
    ]


def test_objects_are_partitioned_by_the_day_of_creation(past: Past, bucket: Bucket) -> None:
    for index, created in enumerate(
        ["2026-01-01T23:59:59Z", "2026-01-02T00:00:00Z", "2026-01-02T12:00:00Z"]
    ):
        past.add(f"job-{index}", created_at=created)

    assert past.clean(batch_rows=100).objects == 2

    first, second = bucket.keys("archive/")
    assert first.startswith("archive/executions/date=2026-01-01/job-0-")
    assert second.startswith("archive/executions/date=2026-01-02/job-1-")
    assert first.endswith(".jsonl.gz")


def test_a_batch_has_as_many_rows_as_asked_for(past: Past, bucket: Bucket) -> None:
    for number in range(7):
        past.add(f"job-{number}")

    assert past.clean(batch_rows=3).objects == 3

    objects = [gzip.decompress(bucket.read(key)) for key in bucket.keys("archive/")]
    assert [len(lines.splitlines()) for lines in objects] == [3, 3, 1]


def test_the_same_rows_have_the_same_key_and_other_rows_another(past: Past, bucket: Bucket) -> None:
    keys = []
    for ids in (["a", "b"], ["a", "c"], ["a"], ["a", "b", "c"], ["a", "b"], ["a\nb"], ["ü" * 128]):
        for job_id in ids:
            past.add(job_id)
        past.clean()
        [key] = bucket.keys()
        keys.append(key)
        bucket.clear()

    assert keys[0] == keys[4]
    assert len(set(keys)) == 6
    assert max(len(key.encode()) for key in keys) <= 1024


def test_large_rows_are_fewer_in_a_batch(
    past: Past, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "BATCH_BYTES", 2_500)
    for number in range(5):
        past.add(f"job-{number}", payload=json.dumps(random.Random(number).randbytes(500).hex()))

    assert past.clean().objects == 3

    assert len(bucket.archived()) == 5


def test_a_batch_is_as_large_as_its_json_and_not_as_what_the_table_has(
    past: Past, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "BATCH_BYTES", 250_000)
    for number in range(10):
        past.add(f"job-{number}", payload=json.dumps("repetitive" * 9_000))
    packed = past.table.run("SELECT sum(pg_column_size(payload)) AS bytes FROM job_executions")
    assert packed[0]["bytes"] < 20_000

    assert past.clean().objects == 4

    sizes = [len(gzip.decompress(bucket.read(key))) for key in bucket.keys("archive/")]
    assert max(sizes) <= 250_000 + 91_000  # a batch, and the row that it begins with
    assert len(bucket.archived()) == 10


def test_what_operators_did_counts_to_the_size_of_a_batch(
    past: Past, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "BATCH_BYTES", 25_000)
    for number in range(4):
        past.add(f"job-{number}")
        past.table.run(
            "INSERT INTO job_actions (actor, action, job_id, before)"
            " VALUES ('ada', 'retry', %s, to_jsonb(repeat('x', 20000)))",
            f"job-{number}",
        )

    assert past.clean().objects == 4


def refuse(past: Past, table: str, when: str, *, event: str = "DELETE") -> None:
    """What another made in this database: a trigger that lets a row neither go nor come."""
    past.table.run(
        f"""
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'private words of %%', OLD; END $$;
        CREATE TRIGGER refuse BEFORE {event} ON {table} FOR EACH ROW WHEN ({when})
        EXECUTE FUNCTION refuse()
        """
    )


@pytest.fixture
def refusals(past: Past) -> Iterator[None]:
    yield
    past.table.run("DROP FUNCTION IF EXISTS refuse() CASCADE")
    past.table.run("DROP TABLE IF EXISTS invoices")
    past.table.run("DELETE FROM archive_batches")


@pytest.mark.usefixtures("refusals")
def test_a_row_that_another_s_table_refers_to_is_set_aside_and_stops_nothing(
    past: Past, bucket: Bucket, log: Log
) -> None:
    for number in range(9):
        past.add(f"job-{number}")
    past.table.run("CREATE TABLE invoices (job_id text REFERENCES job_executions)")
    past.table.run("INSERT INTO invoices VALUES ('job-4')")

    done = past.clean(batch_rows=5)

    assert (done.archived, done.set_aside, done.finished) == (8, 1, True)
    assert past.ids() == {"job-4"}
    archived = sorted(row["job_id"] for row in bucket.archived())
    assert archived == [f"job-{number}" for number in range(9) if number != 4]
    [batch] = past.table.run("SELECT job_ids, error FROM archive_batches")
    assert batch["job_ids"] == ["job-4"]
    assert batch["error"] == "ForeignKeyViolation: invoices invoices_job_id_fkey"
    [line] = [line for line in log.lines if line["level"] == "ERROR"]
    assert line["job_id"] == "job-4"
    assert batch["error"] in line["message"]

    # It is left alone, said every time, and taken up again when an operator says so.
    assert past.clean().set_aside == 1
    past.table.run("DELETE FROM invoices")
    past.table.run("DELETE FROM archive_batches WHERE error IS NOT NULL")
    assert past.clean().archived == 1
    assert past.ids() == set()


@pytest.mark.usefixtures("refusals")
def test_a_row_that_cannot_even_be_chosen_is_set_aside(past: Past, bucket: Bucket) -> None:
    for number in range(5):
        past.add(f"job-{number}")
    past.table.run(
        """
        CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'no'; END $$;
        CREATE TRIGGER refuse BEFORE INSERT ON archive_batches FOR EACH ROW
        WHEN (NEW.error IS NULL AND 'job-2' = ANY(NEW.job_ids)) EXECUTE FUNCTION refuse()
        """
    )

    done = past.clean(batch_rows=2)

    assert (done.archived, done.set_aside, done.finished) == (4, 1, True)
    assert past.ids() == {"job-2"}
    assert len(bucket.archived()) == 4


def test_a_row_that_is_too_large_for_a_line_is_set_aside_with_its_size(
    past: Past, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "LINE_BYTES", 50_000)
    past.add("small-1")
    past.add("large", payload=json.dumps("x" * 60_000))
    past.add("small-2")

    done = past.clean()

    assert (done.archived, done.set_aside, done.finished) == (2, 1, True)
    assert past.ids() == {"large"}
    [batch] = past.table.run("SELECT error FROM archive_batches")
    assert "bytes of JSON; a line of the archive has at most 50000" in batch["error"]
    past.forget()


@pytest.mark.usefixtures("refusals")
@pytest.mark.parametrize(
    ("kind", "column"),
    [("notifications", "job_id"), ("emails", "email_id"), ("access_log", "path")],
)
def test_one_row_that_cannot_be_deleted_is_passed_over(
    past: Past, bucket: Bucket, log: Log, kind: str, column: str
) -> None:
    for each in ("notifications", "emails", "access_log"):
        past.table.run(f"DELETE FROM {each}")
    for n in range(5):
        past.table.run(
            "INSERT INTO notifications (job_id, user_id, type, title, message, read_at)"
            " VALUES (%s, 'u', 'info', 't', 'm', '2026-01-01')",
            f"odd-{n}",
        )
        past.table.run(
            "INSERT INTO emails (email_id, recipients, subject, status, status_at, sent_at)"
            " VALUES (%s, '{a@example.com}', 's', 'delivered', '2026-01-01', '2026-01-01')",
            f"odd-{n}",
        )
        past.table.run(
            "INSERT INTO access_log (at, method, path, outcome)"
            " VALUES ('2026-06-01T00:00:00Z', 'GET', %s, 'allowed')",
            f"odd-{n}",
        )
    refuse(past, kind, f"OLD.{column} = 'odd-2'")

    done = past.clean(batch_rows=4)

    counts = {"notifications": 5, "emails": 5, "access_log": 5, kind: 4}
    assert {name: getattr(done, name) for name in counts} == counts
    assert (done.set_aside, done.finished) == (1, True)
    assert past.table.run(f"SELECT {column} AS name FROM {kind}") == [{"name": "odd-2"}]
    assert "RaiseException" in log.text
    assert "private words" not in log.text


@pytest.mark.usefixtures("refusals")
def test_one_idempotency_key_that_cannot_be_freed_is_passed_over(past: Past) -> None:
    for number in range(5):
        past.add(f"job-{number}", days=10, idempotency_key=f"key-{number}")
    refuse(past, "job_executions", "OLD.job_id = 'job-1'", event="UPDATE")

    done = past.clean(idempotency_key_days=7)

    assert (done.idempotency_keys, done.set_aside, done.finished) == (4, 1, True)
    assert {row["idempotency_key"] for row in past.table.rows()} == {"key-1", None}


def test_the_progress_says_what_each_phase_does(
    past: Past, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[tuple[float, str]] = []
    monkeypatch.setattr(cleaning, "PROGRESS_SECONDS", 0)
    monkeypatch.setattr(
        Context, "progress", lambda _self, fraction, note, **_: shown.append((fraction, note))
    )
    past.table.run("TRUNCATE access_log")
    past.add("job")
    past.table.run(
        "INSERT INTO access_log (at, method, path, outcome)"
        " VALUES ('2026-06-01T00:00:00Z', 'GET', '/', 'allowed')"
    )

    past.clean(idempotency_key_days=7)

    assert list(dict.fromkeys(note for _, note in shown)) == [
        "archiving jobs: 0 rows",
        "archiving jobs: 1 rows",
        "freeing idempotency keys: 0 rows",
        "deleting notifications: 0 rows",
        "deleting emails: 0 rows",
        "archiving the access log: 0 rows",
        "archiving the access log: 1 rows",
    ]
    assert [fraction for fraction, _ in shown] == sorted(fraction for fraction, _ in shown)


def test_while_one_clean_up_chooses_another_waits(
    past: Past, bucket: Bucket, database_url: str
) -> None:
    past.add("old")
    with psycopg.connect(database_url) as other, ThreadPoolExecutor(1) as threads:
        other.execute(sql.ONE_CHOOSES_AT_A_TIME)
        second = threads.submit(past.clean)
        waiting = "SELECT 1 AS one FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        patience = time.monotonic() + 30
        while not (is_waiting := past.table.run(waiting)) and time.monotonic() < patience:
            time.sleep(0.01)
        other.rollback()

        assert is_waiting

        assert second.result().archived == 1


def test_a_job_id_of_another_make_is_no_path(past: Past, bucket: Bucket) -> None:
    past.add("../../other/tenant?x=ü")

    past.clean()

    [key] = bucket.keys()
    assert key.count("/") == 3
    assert bucket.archived()[0]["job_id"] == "../../other/tenant?x=ü"


def test_payload_then_declaration_then_default_decide_how_long_a_type_is_kept(
    past: Past, bucket: Bucket
) -> None:
    for name in ("by-payload", "by-declaration", "by-default"):
        for days in (5, 15, 45):
            past.add(f"{name}-{days}", days=days, job_type=name)

    past.clean(
        retention=40,
        per_type={"by-payload": 10},
        declared={"by-payload": 1, "by-declaration": 20},
    )

    assert past.ids() == {
        "by-payload-5",
        "by-declaration-5",
        "by-declaration-15",
        "by-default-5",
        "by-default-15",
    }
    assert len(bucket.archived()) == 4


def test_a_dry_run_counts_and_touches_nothing(past: Past) -> None:
    past.add("a", job_type="one", idempotency_key="k")
    past.add("b", job_type="one")
    past.add("c", job_type="two")

    done = past.clean(dry_run=True, idempotency_key_days=10)

    assert done == CleanedUp(would_delete={"one": 2, "two": 1}, idempotency_keys=1)
    assert past.ids() == {"a", "b", "c"}


def test_when_the_time_is_up_it_stops_and_the_next_run_goes_on(
    past: Past, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleaning, "BATCHES_AT_ONCE", 1)
    for number in range(10):
        past.add(f"job-{number}")
    assert past.cleaner(seconds=4).run() == CleanedUp(finished=False)

    cleaner = past.cleaner(batch_rows=3)
    left = iter([True, True, False])
    cleaner._has_time = lambda: next(left)  # type: ignore[method-assign]
    first = cleaner.run()
    assert (first.deleted, first.finished) == (6, False)

    second = past.clean(batch_rows=3)
    assert (second.deleted, second.finished) == (4, True)
    assert len(bucket.archived()) == 10


def test_keys_may_be_freed_before_their_rows_go(past: Past) -> None:
    for number, days in enumerate((1, 8, 9, 10)):
        past.add(f"job-{number}", days=days, idempotency_key=f"key-{number}")
    past.add("running", days=50, status="pending", idempotency_key="still-needed")

    done = past.clean(idempotency_key_days=7, batch_rows=2)

    assert done.idempotency_keys == 3
    kept = {row["idempotency_key"] for row in past.table.rows()}
    assert kept == {"key-0", "still-needed", None}


def test_notifications_that_were_read_long_ago_go(past: Past) -> None:
    for number, read in enumerate(["-100 d", "-100 d", "-100 d", "-1 d", None]):
        past.table.run(
            "INSERT INTO notifications (job_id, user_id, type, title, message, read_at) VALUES "
            "(%s, 'u', 'info', 't', 'm', %s::timestamptz + %s::interval)",
            f"job-{number}",
            "2026-11-24T03:00:00Z",
            read,
        )

    assert past.clean(batch_rows=2).notifications == 3

    left = past.table.run("SELECT job_id FROM notifications ORDER BY job_id")
    assert [row["job_id"] for row in left] == ["job-3", "job-4"]


def test_notifications_that_expired_long_ago_go_read_or_not(past: Past) -> None:
    for name, expired in {"long-ago": "-100 d", "lately": "-1 d", "not-yet": "1 d"}.items():
        past.table.run(
            "INSERT INTO notifications (job_id, user_id, type, title, message, expires_at) VALUES "
            "(%s, 'u', 'info', 't', 'm', %s::timestamptz + %s::interval)",
            name,
            "2026-11-24T03:00:00Z",
            expired,
        )

    assert past.clean(dry_run=True).notifications == 1
    assert past.clean().notifications == 1

    left = past.table.run("SELECT job_id FROM notifications ORDER BY job_id")
    assert [row["job_id"] for row in left] == ["lately", "not-yet"]


def test_emails_of_which_nothing_was_heard_for_long_go(past: Past) -> None:
    past.table.run("DELETE FROM emails")
    for name, sent, heard in [("a", 100, 99), ("b", 95, 95), ("late", 100, 3), ("new", 2, 2)]:
        past.table.run(
            "INSERT INTO emails (email_id, recipients, subject, status, status_at, sent_at)"
            " VALUES (%s, '{a@example.com}', 's', 'delivered',"
            " %s::timestamptz - make_interval(days => %s),"
            " %s::timestamptz - make_interval(days => %s))",
            name,
            "2026-11-24T03:00:00Z",
            heard,
            "2026-11-24T03:00:00Z",
            sent,
        )

    assert past.clean(dry_run=True).emails == 2
    assert past.clean(email_days=1000).emails == 0
    assert past.clean(batch_rows=1).emails == 2

    left = past.table.run("SELECT email_id FROM emails ORDER BY email_id")
    assert [row["email_id"] for row in left] == ["late", "new"]


def test_the_access_log_is_kept_as_long_as_a_job_and_then_archived(
    past: Past, bucket: Bucket
) -> None:
    past.table.run("TRUNCATE access_log")
    for days in (100, 99, 98, 1):
        past.table.run(
            "INSERT INTO access_log (at, method, path, outcome) VALUES "
            "(%s::timestamptz - make_interval(days => %s), 'GET', %s, 'allowed')",
            "2026-11-24T03:00:00Z",
            days,
            f"/{days}",
        )

    assert past.clean(dry_run=True).access_log == 3
    assert past.clean(batch_rows=2).access_log == 3

    assert [row["path"] for row in past.table.run("SELECT path FROM access_log")] == ["/1"]
    assert [row["path"] for row in bucket.archived()] == ["/100", "/99", "/98"]
    assert all(key.startswith("archive/access/date=2026-08-") for key in bucket.keys("archive/"))


def test_no_access_is_deleted_that_did_not_reach_the_archive(
    past: Past, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(key: str, lines: bytes) -> int:
        raise ConnectionError(f"S3 is away: {key}, {len(lines)}")

    past.table.run("TRUNCATE access_log")
    past.table.run(
        "INSERT INTO access_log (at, method, path, outcome) "
        "SELECT '2026-06-01T00:00:00Z', 'GET', '/' || n, 'allowed' FROM generate_series(1, 3) AS n"
    )
    with monkeypatch.context() as away:
        away.setattr(archive, "write", broken)
        with pytest.raises(ConnectionError):
            past.clean()
    assert len(past.table.run("SELECT access_id FROM access_log")) == 3
    assert past.clean(batch_rows=2).access_log == 3
    assert [row["path"] for row in bucket.archived()] == ["/1", "/2", "/3"]


def test_a_clean_up_that_was_stopped_while_another_went_on_loses_and_doubles_no_access(
    past: Past, bucket: Bucket, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def clean(day: int) -> CleanedUp:
        return past.cleaner(retention=1, now=datetime(2026, 6, day, 10, tzinfo=UTC)).run()

    def stopped(key: str, lines: bytes) -> int:
        """Postgres ends its transaction meanwhile, and another clean-up comes, a day later."""
        monkeypatch.setattr(archive, "write", write)
        with psycopg.connect(database_url) as other:
            other.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE state = 'idle in transaction' AND datname = current_database()"
            )
        with ThreadPoolExecutor(1) as another:
            assert another.submit(clean, 12).result().access_log == 5
        return write(key, lines)

    write = archive.write
    past.table.run("TRUNCATE access_log")
    for number, hour in enumerate((1, 2, 3, 20, 21)):
        past.table.run(
            "INSERT INTO access_log (at, method, path, outcome) VALUES (%s, 'GET', %s, 'allowed')",
            datetime(2026, 6, 9, hour, tzinfo=UTC),
            f"/{number}",
        )

    # Of a day that is not over, another clean-up would find more lines.
    assert clean(10).access_log == 0
    monkeypatch.setattr(archive, "write", stopped)
    with pytest.raises(psycopg.OperationalError):
        clean(11)

    assert past.table.run("SELECT 1 FROM access_log") == []
    assert [row["path"] for row in bucket.archived()] == ["/0", "/1", "/2", "/3", "/4"]


def test_a_batch_that_another_clean_up_is_at_work_on_is_left_to_it(
    past: Past, database_url: str
) -> None:
    past.add("old")
    with psycopg.connect(database_url) as other:
        other.execute("INSERT INTO archive_batches (object_key, job_ids) VALUES ('k', '{x}')")
        other.commit()
        other.execute("SELECT FROM archive_batches FOR UPDATE")

        assert past.clean() == CleanedUp(finished=False)

    assert past.ids() == {"old"}


def test_without_a_bucket_nothing_is_deleted(past: Past, monkeypatch: pytest.MonkeyPatch) -> None:
    from stashjobs import SettingError

    monkeypatch.delenv("FILES_BUCKET", raising=False)
    past.add("old")

    with pytest.raises(SettingError, match="FILES_BUCKET"):
        past.clean()

    assert past.ids() == {"old"}


def test_a_handler_that_cannot_be_imported_keeps_only_what_may_be_its_own(
    past: Past, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(job_type._broken, "functions.odd.handler", "no such module")
    past.add("of-a-known-type", job_type="send-email")
    past.add("of-the-odd-one", job_type="odd")
    past.add("named", job_type="old-name")

    cleanup_old_data(Cleanup(per_type={"old-name": 30}), past.cleaner()._context)
    assert past.ids() == {"of-the-odd-one"}

    monkeypatch.setattr(job_type, "_broken", {})
    cleanup_old_data(Cleanup(), past.cleaner()._context)
    assert past.ids() == set()
    assert len(bucket.archived()) == 3


def test_the_schedule_invokes_it_without_http(table: Table, bucket: Bucket) -> None:
    event = {"type": "cleanup-old-data", "jobId": "an-execution-id", "payload": {"retention": 90}}

    answer = cleanup_old_data.handler(event, lambda_context(610))

    assert answer["statusCode"] == 200
    row = table.row("an-execution-id")
    assert (row["status"], row["result"]["finished"]) == ("completed", True)
    assert bucket.keys() == []
