"""Key rotation: what another key than the current one encrypted is encrypted again."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from stashjobs import encryption
from stashjobs.encryption import Place
from stashjobs.errors import EncryptionError
from stashjobs.operators import sql
from stashjobs.store import database, jsonb

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger("stashjobs")

BATCH = 500

FIND_ENCRYPTED_RESULTS = sql.FIND_ENCRYPTED_PAYLOADS.replace("payload", "result")

REENCRYPT_RESULTS = sql.REENCRYPT_PAYLOADS.replace("payload", "result")


@dataclass(slots=True)
class Rotation:
    """What `rotate_keys` did, in encrypted documents (a job has its payload, its result and those
    of its steps).

    Attributes:
        reencrypted: Encrypted with the current key now; in a dry run, those that would be.
        passed_over: Changed or locked meanwhile. Another run finds them.
        unopened: Encrypted with a key that is not in `PAYLOAD_KEYS`, or damaged. Left as they are.
        by_key: How many there are per key id, counted afterwards.
    """

    reencrypted: int = 0
    passed_over: int = 0
    unopened: int = 0
    by_key: dict[str, int] = field(default_factory=dict)


def rotate_keys(*, batch: int = BATCH, dry_run: bool = False) -> Rotation:
    """Re-encrypt with the current key the payloads, the results, those of steps, and those in
    `job_actions` that another key encrypted. Safe to repeat, and to run during deliveries.

    Args:
        batch: Rows per statement.
        dry_run: Only count.

    Raises:
        SettingError: `PAYLOAD_KEYS` is missing or malformed.
    """
    current = encryption.keys().current.id
    report = Rotation()
    for column in _COLUMNS:
        for page in _pages(column, current, batch):
            found = [row for row in page if row[5] is not None]
            if dry_run:
                report.reencrypted += len(found)
            elif found:
                _reencrypt(column, found, report)
    # Counted only now, so that what came in meanwhile is in it.
    counts: Counter[str] = Counter()
    for column in _COLUMNS:
        for page in _pages(column, None, batch):
            counts.update(row[4] for row in page if row[4] and encryption.is_key_id(row[4]))
    report.by_key = dict(sorted(counts.items()))
    return report


@dataclass(frozen=True, slots=True)
class _Column:
    """One column with encrypted documents: the statements that page through and replace them."""

    find: str
    reencrypt: str
    before_first: str | int


_COLUMNS = (
    _Column(sql.FIND_ENCRYPTED_PAYLOADS, sql.REENCRYPT_PAYLOADS, ""),
    _Column(FIND_ENCRYPTED_RESULTS, REENCRYPT_RESULTS, ""),
    _Column(sql.FIND_ENCRYPTED_ACTIONS, sql.REENCRYPT_ACTIONS, 0),
    _Column(sql.FIND_ENCRYPTED_STEPS, sql.REENCRYPT_STEPS, '["", 0]'),
)


def _pages(column: _Column, key_id: str | None, size: int) -> Iterator[list[tuple[Any, ...]]]:
    after = column.before_first
    while True:
        parameters = {"key_id": key_id, "after": after, "limit": size}
        page = database.connection().execute(column.find, parameters).fetchall()
        yield page
        if len(page) < size:
            return
        after = page[-1][0]


def _reencrypt(column: _Column, found: list[tuple[Any, ...]], report: Rotation) -> None:
    columns: dict[str, list[Any]] = {"ids": [], "before": [], "encrypted": []}
    for row_id, job_id, job_type, purpose, _, document in found:
        try:
            encrypted = encryption.reencrypt(document, Place(job_id, job_type, purpose))
        except EncryptionError as error:
            report.unopened += 1
            log.warning("not re-encrypted: %s", error, extra={"job_id": job_id})
            continue
        columns["ids"].append(row_id)
        columns["before"].append(jsonb.parameter(document))
        columns["encrypted"].append(jsonb.parameter(encrypted))
    changed = database.connection().execute(column.reencrypt, columns).rowcount
    report.reencrypted += changed
    report.passed_over += len(columns["ids"]) - changed
