"""How a contender is timed: in a process of its own, in rounds that the benchmark asks for.

The pipe is standard input and output; whatever the contender itself prints goes nowhere, as in
Lambda it would go to a log that somebody else writes.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


def serve(
    prepare: Callable[[int], Sequence[Any]],
    handle: Callable[[Any], Any],
    *,
    ok: Callable[[Any], bool],
) -> None:
    """Answer rounds until standard input ends.

    Args:
        prepare: Makes so many requests; not timed.
        handle: Answers one; timed.
        ok: Whether an answer is that of a job that was run; one that is not ends the process.
    """
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    errors = os.fdopen(os.dup(2), "w")
    os.dup2(nowhere, 2)
    for line in sys.stdin:
        requests = prepare(json.loads(line)["count"])
        gc.collect()
        taken, answered = [], []
        cpu, began = time.process_time(), time.perf_counter()
        for request in requests:
            start = time.perf_counter()
            answered.append(handle(request))
            taken.append(time.perf_counter() - start)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        for answer in answered:
            if not ok(answer):
                errors.write(f"not an answer of a job that was run: {answer}\n")
                raise SystemExit(1)
        measured = {"wall": wall, "cpu": cpu, "taken": taken}
        answers.write(json.dumps(measured) + "\n")
        answers.flush()
