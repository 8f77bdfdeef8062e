"""One export: from the snapshot, through the format, to S3."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from functions.export_data import formats
from functions.export_data import snapshot as reading
from functions.export_data.entities import ENTITIES
from stashjobs import files

if TYPE_CHECKING:
    from functions.export_data.formats import Sink
    from functions.export_data.models import Export
    from functions.export_data.snapshot import Snapshot
    from stashjobs import Context

PROGRESS_SECONDS = 1.0


def key_of(export: Export, job_id: str) -> str:
    """The same in every attempt, so that a retry replaces what an earlier one left."""
    return f"exports/{job_id}/{export.entity}.{export.format}"


def run(export: Export, context: Context) -> tuple[int, int]:
    """Write the file to S3, and tell its number of rows and of bytes.

    Raises:
        psycopg.Error: Postgres failed.
        botocore.exceptions.ClientError | BotoCoreError: S3 did.
        SettingError: `FILES_BUCKET` is missing.
        LeaseLost: Another delivery has taken the job over.
    """
    with ExitStack() as exits:
        snapshot = exits.enter_context(reading.snapshot(export, context.remaining_seconds()))
        upload = exits.enter_context(
            files.Upload(key_of(export, context.job_id), formats.CONTENT_TYPES[export.format])
        )
        rows = _copy(export, snapshot, upload, context)
    return rows, upload.size


def _copy(export: Export, snapshot: Snapshot, sink: Sink, context: Context) -> int:
    known = ENTITIES[export.entity].columns
    columns = {name: known[name] for name in export.chosen_columns}
    total = snapshot.count()
    written, told = 0, 0.0
    with ExitStack() as exits:
        writer = formats.writer(export.format, sink, columns, exits, title=export.entity)
        for rows in snapshot.batches():
            writer.add(rows)
            written += len(rows)
            if time.monotonic() - told >= PROGRESS_SECONDS:
                told = time.monotonic()
                # The last stretch, to the bucket, is not counted.
                context.progress(0.95 * written / total, f"{written:,} of {total:,} rows")
        writer.finish()
    return written
