"""What the clean-up took out of the tables during a run."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import psycopg

from stashjobs import files
from stashjobs.store.migrations.functions import FOLDER

if TYPE_CHECKING:
    from collections.abc import Iterator

ACCESSES = 100

# Of several days, since an object has the lines of one day.
ADD_ACCESSES = """
INSERT INTO access_log (at, method, path, outcome)
SELECT now() - make_interval(days => 2 + n / 40), 'GET', '/' || n, 'allowed'
  FROM generate_series(1, %s) AS n
"""
# A clean-up that was stopped left its batches, and the next one begins with them.
COUNT_UNFINISHED = """
SELECT (SELECT count(*) FROM archive_batches WHERE error IS NULL)
     + (SELECT count(*) FROM access_log WHERE at < now() - interval '1 day')
"""


def make_ready(connection: psycopg.Connection) -> None:
    """Let the database give its rows to the archive after seconds, where it asks for a day, and
    give the access log something to archive."""
    connection.execute("SELECT set_config('search_path', 'public', true)")
    text = (FOLDER / "delete_ended.sql").read_text()
    connection.execute(text.replace("interval '1 day'", "interval '1 second'").encode())
    connection.execute(ADD_ACCESSES, [ACCESSES])


def count_unfinished(url: str) -> int:
    """How much a clean-up that was stopped left for the next one."""
    with psycopg.connect(url, connect_timeout=2) as connection:
        return int((connection.execute(COUNT_UNFINISHED).fetchone() or (0,))[0])


def lines(folder: str) -> list[str]:
    """Every line of every object in `archive/<folder>/`."""
    return [line for key in _keys(f"archive/{folder}/") for line in _read(key).splitlines()]


def _keys(prefix: str) -> Iterator[str]:
    pages = files.client().get_paginator("list_objects_v2")
    for page in pages.paginate(Bucket=files.bucket(), Prefix=prefix):
        yield from (each["Key"] for each in page.get("Contents", []))


def _read(key: str) -> str:
    packed = files.client().get_object(Bucket=files.bucket(), Key=key)["Body"].read()
    return gzip.decompress(packed).decode()
