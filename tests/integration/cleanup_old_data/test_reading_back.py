"""What the archive has can be put back as docs/cleanup.md says, column by column."""

from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING, Any

import psycopg

from tests.docs.blocks import ROOT

if TYPE_CHECKING:
    from tests.buckets import Bucket
    from tests.integration.cleanup_old_data.conftest import Past

PAGE = (ROOT / "docs" / "cleanup.md").read_text()
[PSQL] = re.findall(r"^```\n(CREATE TEMPORARY .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
[PUT_BACK] = re.findall(r"^```sql\n(CREATE TEMPORARY .*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
[COPY_OPTIONS] = re.findall(r"gzip -dc [^']*' (\(.*\))$", PSQL, re.MULTILINE)

ODD_TEXT = 'ä\t"quoted"\\n \\ back\nline\u2028\x01\x02 \\. ☃ 🦆'


def everything(connection: psycopg.Connection[Any], table: str) -> list[dict[str, Any]]:
    """Every column of every row by its type and its text, so that no value and JSON null differ."""
    columns = [name for name, *_ in connection.execute(f"SELECT * FROM {table}").description or []]
    texts = ", ".join(f"{name}::text" for name in columns)
    rows = connection.execute(f"SELECT {texts} FROM {table} ORDER BY 1")
    return [dict(zip(columns, row, strict=True)) for row in rows]


def test_rows_are_put_back_as_they_were(past: Past, bucket: Bucket, database_url: str) -> None:
    past.add("plain", result="{}")
    past.add("null-payload", payload="null", result="null")
    past.add("failed", status="failed", error=ODD_TEXT, errors='[{"message": "\\\\ \\u0001"}]')
    past.add(
        "full",
        job_type="send-email",
        payload='{"a": [1.10, 1e3, 123456789012345678901234567890, "\\\\n\\t\\u001f"]}',
        result='{"n": null}',
        attempt=3,
        run=2,
        attempts_before_run=1,
        progress='{"fraction": 1}',
        user_id=ODD_TEXT,
        organization_id="",
        metadata='{"x": {}}',
        idempotency_key="key",
        delivery='{"headers": {"A": "b"}}',
        message_id="msg",
        dlq_id="dlq",
        schedule_id="scd",
        available_at="2026-01-01 00:00:00.000001+00",
        published_at="2026-01-01 00:00:00+05:30",
        started_at="2026-01-01",
        updated_at="0001-01-01 00:00+00",
    )
    for actor in ("ada", ODD_TEXT):
        past.table.run(
            "INSERT INTO job_actions (actor, action, job_id, before) VALUES (%s, 'retry', 'full',"
            ' \'{"error": "\\\\n", "result": null}\')',
            actor,
        )
    past.table.run(
        "INSERT INTO job_steps VALUES ('full', 1, %s, 'null', 2, '2026-01-01', '2026-01-02'),"
        " ('plain', 2, 'other', '{\"a\": [1.10]}', 1, '2026-01-01', '2026-01-02')",
        ODD_TEXT,
    )
    tables = ("job_executions", "job_actions", "job_steps")
    with psycopg.connect(database_url, autocommit=True) as connection:
        before = [everything(connection, table) for table in tables]
        assert past.clean().deleted == 4
        assert everything(connection, "job_executions") == []
        assert everything(connection, "job_steps") == []

        connection.execute(PSQL.partition(";")[0])
        with connection.cursor().copy(f"COPY archived FROM STDIN {COPY_OPTIONS}") as copy:
            for key in bucket.keys("archive/"):
                copy.write(gzip.decompress(bucket.read(key)))
        connection.execute(PUT_BACK)

        after = [everything(connection, table) for table in tables]
    assert after == before
