"""A worker that is killed between each two statements of a job with steps. Run as a process of its
own: it forks one worker for each place to die at, and says how many there were."""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import psycopg

from stashjobs.ids import new_job_id
from stashjobs.store import database, executions
from stashjobs.store.executions import NewJob
from tests.deliveries import lambda_context, probe

if TYPE_CHECKING:
    from stashjobs import Context

NAMES = ("fetch", "store", "report")
# Beyond it something does not end.
MANY = 200


def write(name: str, context: Context) -> str:
    context.connection.execute("INSERT INTO effects VALUES (%s, %s)", [context.job_id, name])
    return name


def in_steps(_payload: Any, context: Context) -> list[str]:
    first, second, third = NAMES
    done = [context.step(first, write, first, context)]
    context.step("look", lambda: None)
    done.append(context.step(second, write, second, context))
    context.step("part", context.enqueue, CHILD, {}, delay=3600)
    return [*done, context.step(third, write, third, context), write("end", context)]


JOB = probe(in_steps, type="in-steps")
CHILD = probe(type="child")


def deliver(job_id: str) -> None:
    """As a schedule or an operator does: the message itself."""
    JOB.handler({"jobId": job_id, "type": JOB.type}, lambda_context())


def die_before(number: int) -> None:
    """Kill this process before that statement of it, from 0."""
    left, execute = [number], psycopg.Cursor.execute

    def counting(*arguments: Any, **options: Any) -> Any:
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return execute(*arguments, **options)

    psycopg.Cursor.execute = counting  # type: ignore[method-assign]


def _recorded() -> str:
    new = NewJob(new_job_id(), JOB.type, {}, max_attempts=5)
    [(job_id, _)] = executions.record_new_jobs(database.connection(), [new])
    return job_id


def main() -> None:
    """One job for each place: the first attempt at it dies there."""
    # With it everything is loaded that a worker needs.
    deliver(_recorded())
    for number in range(MANY):
        job_id = _recorded()
        database.close()
        if (worker := os.fork()) == 0:
            die_before(number)
            deliver(job_id)
            os._exit(0)
        _, status = os.waitpid(worker, 0)
        if not os.WIFSIGNALED(status):
            sys.stdout.write(json.dumps({"places": number, "ended": os.WEXITSTATUS(status)}))
            return
    raise SystemExit(f"the job is not done after {MANY} statements")


if __name__ == "__main__":
    main()
