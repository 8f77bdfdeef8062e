"""What became of the jobs, compared with what was promised."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import psycopg

from infra.local.chaos.archived import ACCESSES, lines

if TYPE_CHECKING:
    from infra.local.chaos.producer import Promises

ENDED = ("completed", "failed", "cancelled")

# The table's rows, and the archive's lines, each once for each time that it is there.
READ = """
WITH everywhere AS (
    SELECT * FROM job_executions
    UNION ALL
    SELECT * FROM jsonb_populate_recordset(NULL::job_executions, %s::jsonb)
)
SELECT job_id, (payload->>'number')::int, status, coalesce(error, ''), message_id,
       published_at IS NOT NULL, extract(epoch FROM completed_at)::float,
       extract(epoch FROM created_at)::float,
       (SELECT count(*) FROM effects WHERE effects.job_id = job.job_id),
       (SELECT count(*) FROM external_effects AS called WHERE called.job_id = job.job_id),
       (SELECT array_agg(done.step ORDER BY done.step) FROM step_effects AS done
         WHERE done.job_id = job.job_id),
       payload, job_type,
       extract(epoch FROM coalesce((errors->0->>'startedAt')::timestamptz, started_at))::float
  FROM everywhere AS job
"""
READ_ACCESSES = """
SELECT path FROM access_log
 UNION ALL
SELECT line->>'path' FROM jsonb_array_elements(%s::jsonb) AS line
"""


@dataclass
class Verdict:
    """Counts, and the ids of the jobs with which something is wrong."""

    enqueued: int = 0
    archived: int = 0
    completed: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    repeated_calls: int = 0
    lost: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)
    ghosts: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    longest: float = 0.0
    longest_job: str = ""

    @property
    def kept(self) -> bool:
        """Whether every promise was kept."""
        return not (self.lost or self.doubled or self.ghosts or self.early)


def judge(url: str, promises: Promises, first_tries: dict[str, float]) -> Verdict:
    """Compare the rows, the archive and both ledgers with the promises.

    Lost is a job that was accepted and has no row, has not ended, or completed without its effects;
    one that did not run although its parents allow it; and one that failed for good and is not
    followed. Doubled is one that had an effect or a step's effect twice, or had it and did not
    complete, or is followed twice. A ghost is one whose transaction was rolled back, and early is
    one that ran before its parents allowed it. A row, and a line of the access log, is in its table
    or once in the archive: it is lost where it is in neither, and doubled where it is there twice.
    """
    verdict = Verdict(enqueued=len(promises.accepted))
    archive = lines("executions")
    verdict.archived = len(archive)
    with psycopg.connect(url) as connection:
        rows = connection.execute(READ, [f"[{','.join(archive)}]"]).fetchall()
        accesses = connection.execute(READ_ACCESSES, [f"[{','.join(lines('access'))}]"]).fetchall()
        repeated = connection.execute("SELECT coalesce(sum(calls - 1), 0) FROM external_effects")
        verdict.repeated_calls = int((repeated.fetchone() or (0,))[0])
    _judge_places(verdict, promises, [row[0] for row in rows], [path for (path,) in accesses])
    ours = {row[0]: row for row in rows if row[1] is not None}
    rows_of: Counter[int] = Counter(row[1] for row in ours.values())
    for row in ours.values():
        _judge_one(verdict, promises, row, first_tries)
        if rows_of[row[1]] > 1:
            verdict.doubled.append(f"{row[0]}: number {row[1]} has {rows_of[row[1]]} rows")
    _judge_graphs(verdict, list(ours.values()))
    _judge_followers(verdict, rows)
    return verdict


def _judge_places(
    verdict: Verdict, promises: Promises, job_ids: list[str], paths: list[str]
) -> None:
    jobs, accesses = Counter(job_ids), Counter(paths)
    verdict.lost += [f"{job_id}: no row" for job_id in promises.accepted.keys() - jobs.keys()]
    expected = {f"/{number}" for number in range(1, ACCESSES + 1)}
    verdict.lost += [f"access {path}: no row" for path in expected - accesses.keys()]
    for places in (jobs, accesses):
        verdict.doubled += [
            f"{each}: in the table and the archive, or twice in the archive"
            for each, count in places.items()
            if count > 1
        ]


def _judge_one(
    verdict: Verdict, promises: Promises, row: tuple[Any, ...], first_tries: dict[str, float]
) -> None:
    (
        job_id,
        number,
        status,
        error,
        message_id,
        published,
        ended,
        created,
        effects,
        external,
        steps,
    ) = row[:11]
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
    wanted = list(range(row[11]["steps"]))
    if steps is not None and (steps != wanted[: len(steps)]):
        verdict.doubled.append(f"{story}, steps {steps}")
    if status == "completed":
        verdict.completed += 1
        if (steps or []) != wanted:
            verdict.lost.append(f"{story}, steps {steps}")
        if not (effects and external) or number in promises.permanent:
            verdict.lost.append(story)
    else:
        verdict.failed[_reason(error)] += 1


def _judge_graphs(verdict: Verdict, rows: list[tuple[Any, ...]]) -> None:
    ends = {row[1]: (row[2], row[6]) for row in rows}
    for job_id, _, status, error, *_, payload, _, begun in rows:
        parents = [ends[number] for number in payload["parents"] if number in ends]
        is_free = payload["when"] == "ended" or all(how == "completed" for how, _ in parents)
        story = f"{job_id}: {status} ({error or 'no error'}), parents {parents}"
        if begun is not None:
            if not is_free or any(ended is None or ended > begun for _, ended in parents):
                verdict.early.append(story)
        elif status == "cancelled" and is_free:
            verdict.lost.append(story)


def _judge_followers(verdict: Verdict, rows: list[tuple[Any, ...]]) -> None:
    failed = {row[0] for row in rows if row[12] == "chaos" and row[2] == "failed"}
    followed = Counter(row[11]["jobId"] for row in rows if row[12] == "chaos-failed")
    verdict.lost += [
        f"{job_id}: failed, and is not followed" for job_id in failed - followed.keys()
    ]
    verdict.lost += [
        f"{row[0]}: {row[2]}" for row in rows if row[12] == "chaos-failed" and row[2] not in ENDED
    ]
    verdict.doubled += [
        f"{job_id}: followed {count} times, failed: {job_id in failed}"
        for job_id, count in followed.items()
        if count > 1 or job_id not in failed
    ]


def _reason(error: str) -> str:
    """The error, without what differs from job to job."""
    if error.startswith("ParentNotCompleted"):
        return "ParentNotCompleted"
    return error.partition(" after ")[0] + (
        f" ({error.rpartition('; ')[2]})" if error.startswith("DeliveryFailed") else ""
    )


def table(verdict: Verdict, delivered: int, seconds: float) -> str:
    """For people."""
    lines: list[tuple[str, object]] = [
        ("enqueued", verdict.enqueued),
        ("delivered", delivered),
        ("completed", verdict.completed),
        ("archived", verdict.archived),
        ("failed", sum(verdict.failed.values())),
        *((f"  {reason}", count) for reason, count in verdict.failed.most_common()),
        ("repeated calls elsewhere, deduplicated by key", verdict.repeated_calls),
        ("rolled back, and there all the same", len(verdict.ghosts)),
        ("ran before its parents allowed it", len(verdict.early)),
        ("lost", len(verdict.lost)),
        ("doubled", len(verdict.doubled)),
        ("longest from first delivery to the end", f"{verdict.longest:.1f} s"),
        ("took", f"{seconds:.0f} s"),
    ]
    width = max(len(name) for name, _ in lines) + 2
    return "\n".join(f"{name:<{width}}{value:>10}" for name, value in lines)
