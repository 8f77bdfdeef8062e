"""A function as Lambda SnapStart has it: initialised, prepared for a snapshot by AWS's own runtime
client, and copied. Run as a process of its own, since it forks. Prints what is left before the
copies are made, and what each copy finds."""

from __future__ import annotations

import gc
import importlib
import json
import os
import random
import sys
from typing import Any

from awslambdaric import (  # type: ignore[import-untyped]
    lambda_runtime_hooks_runner as lambda_runtime,
)

from stashjobs import encryption
from stashjobs.config import settings, stage_secret
from stashjobs.delivery import signature
from stashjobs.ids import new_job_id
from stashjobs.producer import qstash_client
from stashjobs.store import database

COPIES = 2
# Of each secret by its name, read from behind, so that to look for it is not to have it.
BACKWARDS: dict[str, str] = json.load(sys.stdin)


def use_everything() -> None:
    """As a module of a job may that does its work while it is imported."""
    random.random()
    database.connection().execute("SELECT 1")
    qstash_client.qstash()
    encryption.keys()
    signature._hmac(settings.require("QSTASH_CURRENT_SIGNING_KEY").encode(), b"data")


def secrets_in_memory() -> list[str]:
    """Which secrets an object refers to that Python's collector knows."""
    found = set()
    wanted = [(name, secret[::-1]) for name, secret in BACKWARDS.items()]
    own = {id(each) for each in (wanted, *wanted)}
    for each in gc.get_objects():
        if id(each) in own:
            continue
        for inner in gc.get_referents(each):
            text = inner.decode("latin-1") if isinstance(inner, bytes) else inner
            if isinstance(text, str):
                found |= {name for name, secret in wanted if secret in text}
    return sorted(found)


def initialise(functions: list[str]) -> dict[str, Any]:
    """What the initialisation of these functions alone leaves to be copied."""
    for name in functions:
        os.environ["_HANDLER"] = f"functions.{name}.handler.handler"
        importlib.import_module(f"functions.{name}.handler")
    return {"secrets": secrets_in_memory(), "connections": len(database._by_thread)}


def copy() -> dict[str, Any]:
    """What a restored copy finds."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        lambda_runtime.run_after_restore()
        [(backend,)] = database.connection().execute("SELECT pg_backend_pid()")
        said = {
            "random": random.random(),
            "job_id": new_job_id(),
            "backend": backend,
            "token": settings.require("QSTASH_TOKEN"),
        }
        os.write(writing, json.dumps(said).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = json.load(pipe)
    os.waitpid(child, 0)
    return dict(said)


def main() -> None:
    initialised = initialise(sys.argv[1:])
    use_everything()
    known = stage_secret.known_value("QSTASH_TOKEN") is not None
    before = secrets_in_memory()
    lambda_runtime.run_before_snapshot()
    gc.collect()
    left = {
        "secret was known": known,
        "secrets before": before,
        "secrets": secrets_in_memory(),
        "secret is known": stage_secret.known_value("QSTASH_TOKEN") is not None,
        "connections": len(database._by_thread),
        "keys": encryption.parse_keys.cache_info().currsize,
    }
    sys.stdout.write(
        json.dumps(
            {"initialised": initialised, "left": left, "copies": [copy() for _ in range(COPIES)]}
        )
    )


if __name__ == "__main__":
    main()
