"""What became of the jobs, compared with what was promised."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

if TYPE_CHECKING:
    from infra.local.chaos.producer import Promises

ENDED = ("completed", "failed", "cancelled")

READ = """
SELECT job_id, (payload->>'number')::int, status, coalesce(error, ''), message_id,
       published_at IS NOT NULL, extract(epoch FROM completed_at)::float,
       extract(epoch FROM created_at)::float,
       (SELECT count(*) FROM effects WHERE effects.job_id = job.job_id),
       (SELECT count(*) FROM external_effects AS called WHERE called.job_id = job.job_id)
  FROM job_executions AS job
"""


@dataclass
class Verdict:
    """Counts, and the ids of the jobs with which something is wrong."""

    enqueued: int = 0
    completed: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    repeated_calls: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)
    longest: float = 0.0
    longest_job: str = ""

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.doubled or self.ghosts)


def judge(url: str, promises: Promises, first_tries: dict[str, float]) -> Verdict:
    """Compare the rows and both ledgers with the promises.

    Lost is a job that was accepted and has no row, has not ended, or completed without its effects.
    Doubled is one that had an effect twice, or had it and did not complete. A ghost is one whose
    transaction was rolled back.
    """
    verdict = Verdict(enqueued=len(promises.accepted))
    with psycopg.connect(url) as connection:
        rows = {row[0]: row for row in connection.execute(READ)}
        repeated = connection.execute("SELECT coalesce(sum(calls - 1), 0) FROM external_effects")
        verdict.repeated_calls = int((repeated.fetchone() or (0,))[0])
    verdict.lost += [f"{job_id}: no row" for job_id in promises.accepted if job_id not in rows]
    rows_of: Counter[int] = Counter(row[1] for row in rows.values())
    for row in rows.values():
        _judge_one(verdict, promises, row, first_tries)
        if rows_of[row[1]] > 1:
            verdict.doubled.append(f"{row[0]}: number {row[1]} has {rows_of[row[1]]} rows")
    return verdict


def _judge_one(
    verdict: Verdict, promises: Promises, row: tuple[Any, ...], first_tries: dict[str, float]
) -> None:
    job_id, number, status, error, message_id, published, ended, created, effects, external = row
    story = f"{job_id}: {status} ({error or 'no error'}), {effects} effects, message {message_id}"
    if number in promises.withdrawn:
        verdict.ghosts.append(story)
    if status not in ENDED:
        verdict.lost.append(f"{story}, {'published' if published else 'unpublished'}")
        return
    took = ended - first_tries.get(job_id, created)
    if took > verdict.longest:
        verdict.longest, verdict.longest_job = took, job_id
    if effects > 1 or external > 1 or (effects and status != "completed"):
        verdict.doubled.append(story)
    if status == "completed":
        verdict.completed += 1
        if not (effects and external) or number in promises.permanent:
            verdict.lost.append(story)
    else:
        verdict.failed[_reason(error)] += 1


def _reason(error: str) -> str:
    """The error, without what differs from job to job."""
    return error.partition(" after ")[0] + (
        f" ({error.rpartition('; ')[2]})" if error.startswith("DeliveryFailed") else ""
    )


def table(verdict: Verdict, delivered: int, seconds: float) -> str:
    """For people."""
    lines: list[tuple[str, object]] = [
        ("enqueued", verdict.enqueued),
        ("delivered", delivered),
        ("completed", verdict.completed),
        ("failed", sum(verdict.failed.values())),
        *((f"  {reason}", count) for reason, count in verdict.failed.most_common()),
        ("repeated calls elsewhere, deduplicated by key", verdict.repeated_calls),
        ("rolled back, and there all the same", len(verdict.ghosts)),
        ("lost", len(verdict.lost)),
        ("doubled", len(verdict.doubled)),
        ("longest from first delivery to the end", f"{verdict.longest:.1f} s"),
        ("took", f"{seconds:.0f} s"),
    ]
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(f"{name:<{width}}{value:>10}" for name, value in lines)
