"""What `unique=` and its companions ask for, checked."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stashjobs.producer.options import Options


def check(options: Options) -> None:
    """Find what is wrong with `unique=` and its companions alone.

    Raises:
        ValueError: They make no sense together.
    """
    if options.unique is None:
        if _replaces(options) or options.unique_while is not None or options.max_wait is not None:
            raise ValueError("replace, debounce, max_wait and unique_while need unique; give it")
        return
    _check_times(options)
    if options.unique_while not in {None, "waiting", "running"}:
        raise ValueError(f"unique_while is {options.unique_while!r}, it must be waiting or running")


def of(options: Options, document: Any, *, encrypted: bool) -> dict[str, Any] | None:
    """The uniqueness of a new job as its row keeps it, None where it has none.

    Args:
        options: The enqueue's, checked.
        document: The payload, plain.
        encrypted: Whether the row's will be.

    Raises:
        ValueError: They make no sense together.
    """
    if options.unique is None:
        return None
    replace = _replaces(options)
    if replace and encrypted:
        # Encrypted for the id of a row that will not be.
        raise ValueError("an encrypted payload cannot replace another (replace, debounce)")
    if replace and options.after:
        raise ValueError("a job that replaces another cannot wait for others (after)")
    return {
        "key": _key(options.unique, document, encrypted=encrypted),
        "running": options.unique_while == "running",
        "replace": replace,
        "maxWait": options.max_wait,
    }


def _replaces(options: Options) -> bool:
    return bool(options.replace) or options.debounce is not None


def _check_times(options: Options) -> None:
    for name in ("debounce", "max_wait"):
        seconds = getattr(options, name)
        if seconds is not None and not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"{name} is {seconds}, it must be 0 or more seconds")
    if options.debounce is not None and not (options.delay is None and options.at is None):
        raise ValueError("debounce is a delay itself; leave delay and at out")
    if options.max_wait is not None and (
        options.debounce is None or options.max_wait < options.debounce
    ):
        raise ValueError("max_wait is for debounce, and at least as long")


def _key(unique: Any, document: Any, *, encrypted: bool) -> str:
    if not isinstance(unique, list | tuple):
        if not str(unique):
            raise ValueError("unique is empty; leave it out or give it a value")
        return str(unique)
    if encrypted:
        raise ValueError("the payload is encrypted, and unique would show its fields; give a key")
    known = document if isinstance(document, dict) else {}
    if missing := [name for name in unique if name not in known]:
        raise ValueError(f"unique names {missing[0]!r}, which the payload does not have")
    fields = json.dumps({name: known[name] for name in unique}, sort_keys=True)
    return f"fields:{hashlib.sha256(fields.encode()).hexdigest()}"
