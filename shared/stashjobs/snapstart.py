"""What must not be the same in every copy of a function that Lambda SnapStart restores.

Lambda initialises a published version once and restores its processes from that memory (AWS docs,
"Handling uniqueness with Lambda SnapStart"). Two hooks see to it: before the snapshot every
connection is closed and every secret forgotten, which each copy then reads for itself; after a
restore, random numbers are seeded anew. Ids, nonces and tokens come from the kernel's generator,
which differs in each copy anyway.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import ssl

SEED_BYTES = 64


def register() -> None:
    """Have Lambda call both hooks. Its runtime brings the library for them along."""
    from snapshot_restore_py import (  # type: ignore[import-untyped]
        register_after_restore,
        register_before_snapshot,
    )

    register_before_snapshot(before_snapshot)
    register_after_restore(after_restore)


def before_snapshot() -> None:
    """Close every connection and forget every secret of this process."""
    from stashjobs import encryption, files
    from stashjobs.config import stage_secret
    from stashjobs.delivery import signature
    from stashjobs.observability import sentry, tracing
    from stashjobs.producer import qstash_client
    from stashjobs.store import database

    database.forget()
    qstash_client.close()
    files.close()
    for each in (stage_secret, encryption, signature, tracing, sentry):
        each.forget()
    # A restored copy has no access keys in its environment, so it reads the secret by boto3, which
    # takes long to import.
    with contextlib.suppress(ImportError):
        importlib.import_module("boto3")


def after_restore() -> None:
    """Seed what a snapshot has copied."""
    random.seed()
    ssl.RAND_add(os.urandom(SEED_BYTES), SEED_BYTES)
