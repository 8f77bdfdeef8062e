"""Exports through a real Postgres and real requests to S3."""

from __future__ import annotations

import csv
import io
import json
import urllib.request
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import openpyxl
import psycopg
import pytest

from benchmarks import export_memory
from functions.export_data import exporter, formats, snapshot
from functions.export_data.entities import ENTITIES
from functions.export_data.handler import export_data
from functions.export_data.models import Export
from stashjobs import Context, files
from tests.deliveries import deliver

if TYPE_CHECKING:
    from pathlib import Path

    from infra.local.s3 import S3
    from tests.buckets import Bucket
    from tests.deliveries import Table

CREATED = datetime(2026, 6, 9, 14, 30, 5, 120000, tzinfo=UTC)


def add(table: Table, job_id: str, **fields: Any) -> None:
    row: dict[str, Any] = {
        "job_id": job_id,
        "job_type": "probe",
        "status": "completed",
        "payload": '{"b": [1, "=1+1"]}',
        "max_attempts": 3,
        "created_at": CREATED,
        "started_at": CREATED,
        "completed_at": CREATED + timedelta(seconds=1.5),
        **fields,
    }
    names, marks = ", ".join(row), ", ".join(["%s"] * len(row))
    table.run(f"INSERT INTO job_executions ({names}) VALUES ({marks})", *row.values())


def export(table: Table, bucket: Bucket, **payload: Any) -> tuple[dict[str, Any], bytes]:
    """Run a job to its end: its result, and the file."""
    job_id = table.add(export_data, {"entity": "executions", **payload})
    answer = deliver(export_data, job_id, seconds=310)
    assert answer.status == 200, answer.document
    result: dict[str, Any] = table.row(job_id)["result"]
    return result, bucket.read(result["key"])


@pytest.mark.usefixtures("table")
def test_an_export_reads_one_moment_changes_nothing_and_ends_in_time(database_url: str) -> None:
    wanted = Export.model_validate({"entity": "executions"})
    with snapshot.snapshot(wanted, 30) as opened, psycopg.connect(database_url) as other:
        assert opened.count() == 0
        other.execute(
            "INSERT INTO job_executions (job_id, job_type, payload, max_attempts)"
            " VALUES ('later', 'probe', '{}', 1)"
        )
        other.commit()
        assert opened.count() == 0
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            opened._connection.execute("DELETE FROM job_executions")
    with snapshot.snapshot(wanted, 12) as opened:
        asked = opened._connection.execute("SHOW statement_timeout").fetchone()
        assert asked == ("12s",)


COLUMNS = ["jobId", "status", "attempt", "createdAt", "duration", "error", "payload"]
FILTERS = {"jobType": "probe"}


def test_csv_comes_back_as_it_was(table: Table, bucket: Bucket) -> None:
    add(table, "a", error='=1+1 "quoted"\nnext, é 🎉')
    add(table, "b", status="failed", created_at=CREATED + timedelta(hours=1))

    result, content = export(table, bucket, columns=COLUMNS, filters=FILTERS)

    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert list(rows[0]) == COLUMNS
    assert rows[0] == {
        "jobId": "a",
        "status": "completed",
        "attempt": "0",
        "createdAt": "2026-06-09T14:30:05.120000+00:00",
        "duration": "1.5",
        "error": '\'=1+1 "quoted"\nnext, é 🎉',
        "payload": '{"b": [1, "=1+1"]}',
    }
    assert (result["rows"], result["bytes"], result["format"]) == (2, len(content), "csv")
    assert rows[1]["jobId"] == "b"


def test_json_lines_keep_types_and_structure(table: Table, bucket: Bucket) -> None:
    add(table, "a", error="=1+1")

    _, content = export(table, bucket, format="jsonl", columns=COLUMNS, filters=FILTERS)

    [line] = [json.loads(line) for line in content.decode().splitlines()]
    assert list(line) == COLUMNS
    assert line["payload"] == {"b": [1, "=1+1"]}
    assert (line["attempt"], line["duration"], line["error"]) == (0, 1.5, "=1+1")
    assert datetime.fromisoformat(line["createdAt"]) == CREATED


def test_a_workbook_opens_with_numbers_and_times_as_such(table: Table, bucket: Bucket) -> None:
    add(table, "a", error="=1+1")

    result, content = export(table, bucket, format="xlsx", columns=COLUMNS, filters=FILTERS)

    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    heads, cells = sheet.iter_rows()
    assert [str(cell.value).split(" ")[0] for cell in heads] == COLUMNS
    values = dict(zip(COLUMNS, [cell.value for cell in cells], strict=True))
    created = values.pop("createdAt")
    assert abs(created - CREATED.replace(tzinfo=None)) < timedelta(milliseconds=1)
    assert values["duration"] == 1.5
    assert cells[COLUMNS.index("error")].data_type == "s"
    assert bucket.content_type(result["key"]).endswith("spreadsheetml.sheet")


@pytest.mark.parametrize("format_name", ["csv", "xlsx", "jsonl"])
def test_no_row_is_a_file_too(table: Table, bucket: Bucket, format_name: str) -> None:
    result, content = export(table, bucket, format=format_name, filters={"jobType": "none such"})
    assert result["rows"] == 0
    assert (content == b"") == (format_name == "jsonl")


@pytest.mark.parametrize("entity", ENTITIES)
def test_every_column_and_filter_of_every_entity_is_one_of_its_table(
    table: Table, bucket: Bucket, entity: str
) -> None:
    declared = ENTITIES[entity]
    filters = {
        name: "2026-01-01T00:00:00Z" if each.kind == "time" else ["x"]
        for name, each in declared.filters.items()
    }
    for format_name in ("csv", "jsonl"):
        result, _ = export(
            table,
            bucket,
            entity=entity,
            format=format_name,
            columns=list(declared.columns),
            filters=filters,
        )
        assert result["rows"] == 0


def test_filters_choose_rows(table: Table, bucket: Bucket) -> None:
    for number, status in enumerate(["completed", "failed", "cancelled"]):
        add(table, f"job-{number}", status=status, created_at=CREATED + timedelta(days=number))

    def ids(**filters: Any) -> list[str]:
        chosen = {**FILTERS, **filters}
        _, content = export(table, bucket, format="jsonl", columns=["jobId"], filters=chosen)
        return [json.loads(line)["jobId"] for line in content.splitlines()]

    assert ids(status=["failed", "cancelled"]) == ["job-1", "job-2"]
    assert ids(createdFrom=(CREATED + timedelta(days=1)).isoformat()) == ["job-1", "job-2"]
    assert ids(createdBefore=(CREATED + timedelta(days=1)).isoformat()) == ["job-0"]
    assert ids(status="' OR true --") == []


def test_the_link_downloads_the_file_under_its_name(table: Table, bucket: Bucket) -> None:
    add(table, "a")

    result, content = export(table, bucket, filters=FILTERS, linkHours=2)

    with urllib.request.urlopen(result["downloadUrl"]) as answer:  # noqa: S310
        assert answer.read() == content
        assert "executions.csv" in answer.headers["content-disposition"]
    expires_in = datetime.fromisoformat(result["expiresAt"]) - datetime.now(UTC)
    assert timedelta(minutes=118) < expires_in <= timedelta(hours=2)


def test_a_link_that_a_role_signs_lasts_no_longer_than_its_session(
    bucket: Bucket, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("AWS_SESSION_TOKEN", "temporary")
    files.close()
    link = files.link("exports/x", file_name="x", seconds=7 * 24 * 3600)
    assert link.expires_at <= datetime.now(UTC) + timedelta(hours=1)

    settings.setenv("FILES_LINK_KEY_ID", "AKIALINKS")
    settings.setenv("FILES_LINK_SECRET", "the-users-own")
    link = files.link("exports/x", file_name="x", seconds=7 * 24 * 3600)
    assert link.expires_at > datetime.now(UTC) + timedelta(days=6)
    assert "AKIALINKS" in link.url
    assert "Security-Token" not in link.url


def test_the_email_is_a_job_of_its_own_that_is_there_once_the_export_is(
    table: Table, bucket: Bucket
) -> None:
    result, _ = export(table, bucket, email="ada@example.com", filters=FILTERS)

    [mail] = [row for row in table.rows() if row["job_type"] == "send-email"]
    assert mail["payload"]["template"] == "fileReady"
    assert mail["payload"]["to"] == ["ada@example.com"]
    assert mail["payload"]["data"]["downloadUrl"] == result["downloadUrl"]
    assert result["emailed"] is True


def test_a_retry_replaces_the_file(table: Table, bucket: Bucket) -> None:
    first, _ = export(table, bucket, filters=FILTERS)
    job_id = first["key"].split("/")[1]
    add(table, "a")
    table.run(
        "UPDATE job_executions SET status = 'pending', completed_at = NULL, max_attempts = 9 "
        "WHERE job_id = %s",
        job_id,
    )

    assert deliver(export_data, job_id, seconds=310).status == 200

    assert bucket.keys("exports/") == [first["key"]]
    assert bucket.read(first["key"]).count(b"\r\n") == 2


def test_progress_is_on_the_row_while_it_runs(
    table: Table, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exporter, "PROGRESS_SECONDS", 0)
    monkeypatch.setattr(snapshot, "ROWS_AT_ONCE", 2)
    for number in range(4):
        add(table, f"job-{number}")
    seen: list[str] = []
    add_rows = formats.CsvWriter.add

    def spy(writer: formats.CsvWriter, rows: Any) -> None:
        add_rows(writer, rows)
        [row] = table.run("SELECT progress FROM job_executions WHERE job_type = 'export-data'")
        seen.append(row["progress"] and row["progress"]["note"])

    monkeypatch.setattr(formats.CsvWriter, "add", spy)

    export(table, bucket, filters=FILTERS)

    assert seen == [None, "2 of 4 rows"]


@pytest.mark.parametrize("stops", [RuntimeError, KeyboardInterrupt])
def test_a_failure_half_way_leaves_neither_file_nor_parts(
    bucket: Bucket, stops: type[BaseException]
) -> None:
    def fail_half_way() -> None:
        with files.Upload("exports/half", "text/csv") as upload:
            upload.write(b"x" * (files.PART_BYTES + 1))
            assert bucket.unfinished_uploads() == 1
            raise stops

    with pytest.raises(stops):
        fail_half_way()

    assert bucket.unfinished_uploads() == 0
    assert bucket.keys() == []


def test_a_file_of_several_parts_is_whole(bucket: Bucket) -> None:
    content = bytes(range(256)) * 70_000
    with files.Upload("exports/large", "text/csv") as upload:
        for start in range(0, len(content), 3_000_000):
            upload.write(content[start : start + 3_000_000])

    assert bucket.read("exports/large") == content
    assert upload.size == len(content)


def test_postgres_failing_half_way_leaves_no_file_and_another_attempt(
    table: Table, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise psycopg.OperationalError("the server went away")

    monkeypatch.setattr(snapshot.Snapshot, "batches", broken)
    job_id = table.add(export_data, {"entity": "executions"})

    assert deliver(export_data, job_id, seconds=310).status == 500

    assert table.status(job_id) == "retrying"
    assert bucket.keys() == []


def test_the_replica_is_read_where_there_is_one(
    table: Table, bucket: Bucket, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("POSTGRES_READ_URL", "postgresql://nobody:x@127.0.0.1:1/none")
    job_id = table.add(export_data, {"entity": "executions"})

    answer = deliver(export_data, job_id, seconds=310)

    assert answer.status == 500
    assert "port 1 failed" in table.row(job_id)["error"]


def test_memory_is_bounded(
    table: Table, s3: S3, bucket: Bucket, database_url: str, tmp_path: Path
) -> None:
    """All rows at once would be twice as much, and this table is small."""
    rows = 16_000
    export_memory.fill(database_url, rows)
    table.run("UPDATE job_executions SET error = repeat('x', 1_000)")
    environment = {"POSTGRES_URL": database_url, "STAGE": "local", "TMPDIR": str(tmp_path)}
    for format_name in export_memory.FORMATS:
        found = export_memory.measure(format_name, s3.environment | environment)
        assert found["rows"] == rows
        assert found["peakMegabytes"] < 150, format_name
        assert list(tmp_path.iterdir()) == []


def test_a_file_name_stays_in_its_header() -> None:
    context = Context(job_id="j", job_type="export-data", attempt=1, max_attempts=1)
    export = export_data.read_payload({"entity": "executions"})
    assert exporter.key_of(export, context.job_id) == "exports/j/executions.csv"
