"""The archive: gzip JSON Lines in S3, one object a batch, partitioned by the day of creation.

`archive/executions/date=2026-06-09/<first id>-<hash>.jsonl.gz`: Athena and its like read `date=...`
as a column. `sql.REMEMBER_BATCHES` makes the keys. The access log is beside it, in
`archive/access/`.
"""

from __future__ import annotations

import gzip

from stashjobs import files

# 1 is three times as fast as the usual 9 and makes objects a fifth larger.
COMPRESSION = 1


def open_bucket() -> None:
    """Make the client, once, before threads ask for it: boto3 cannot make two at a time.

    Raises:
        SettingError: `FILES_BUCKET` is missing.
    """
    files.bucket()
    files.client()


def write(key: str, lines: bytes) -> int:
    """Put a batch's rows, each of them a line of JSON, under `key`, and tell how many bytes that
    took."""
    # Without the time in its header, the same rows are the same bytes.
    packed = gzip.compress(lines, COMPRESSION, mtime=0)
    files.put(key, packed, "application/gzip")
    return len(packed)
