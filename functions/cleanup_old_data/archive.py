"""The archive: gzip JSON Lines in S3, one object a batch, partitioned by the day of creation."""

from __future__ import annotations

import gzip
import re
from hashlib import sha256
from typing import TYPE_CHECKING

from stashjobs import files

if TYPE_CHECKING:
    from collections.abc import Sequence

# 1 is three times as fast as the usual 9 and makes objects a fifth larger.
COMPRESSION = 1


def key_of(day: str, job_ids: Sequence[str]) -> str:
    """`archive/executions/date=2026-06-09/<first id>-<hash>.jsonl.gz`: the same rows always have
    the same key, and other rows never do. A batch of which one row stayed behind must not be
    replaced by the later one that begins with that row; so the hash is of all ids.

    Args:
        day: When the rows were created (UTC), as YYYY-MM-DD; Athena and its like read
            `date=...` as a column.
        job_ids: In the order of the rows.
    """
    first = job_ids[0]
    if not re.fullmatch(r"[\w-]+", first, re.ASCII):
        # A producer of another make chose it; a slash in it would look like a folder.
        first = sha256(first.encode()).hexdigest()
    content = sha256("\n".join(job_ids).encode()).hexdigest()[:12]
    return f"archive/executions/date={day}/{first}-{content}.jsonl.gz"


def write(key: str, rows: Sequence[str]) -> int:
    """Put a batch's rows, each of them JSON, under `key`, and tell how many bytes that took."""
    lines = "".join(f"{row}\n" for row in rows)
    # Without the time in its header, the same rows are the same bytes.
    packed = gzip.compress(lines.encode(), COMPRESSION, mtime=0)
    files.put(key, packed, "application/gzip")
    return len(packed)
