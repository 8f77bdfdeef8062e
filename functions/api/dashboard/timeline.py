"""The life of one job, moment by moment: what the row, its attempts and the operators say."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from functions.api.dashboard import formatting, redaction
from functions.api.dashboard.charts import Span
from stashjobs import wording
from stashjobs.operators import story
from stashjobs.operators.story import PUBLISHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stashjobs.operators.search import JobExecution
    from stashjobs.operators.story import Action, Step

NOT_SHOWN = {"attempt", "type", "message", "traceback", "startedAt", "endedAt"}


@dataclass(frozen=True, slots=True)
class Moment:
    """Something that happened, or is going to.

    Attributes:
        kind: A status, or `operator`.
        text: A sentence more, such as an error's message.
        trace: The end of a traceback, and whatever else is known.
    """

    at: datetime
    kind: str
    title: str
    text: str = ""
    trace: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """What the last attempt that failed raised.

    Attributes:
        text: The error's type and message.
        trace: The end of its traceback; empty where there is none.
        attempt: Its number; None where no attempt failed, such as a dead letter's error.
        is_past: Whether the job went on since: it runs, was retried or has completed.
    """

    text: str
    trace: str = ""
    attempt: int | None = None
    is_past: bool = False


def last_failure(job: JobExecution) -> Failure | None:
    """The error that a reader of the page looks for first. None: nothing went wrong."""
    failed = [each for each in job.errors if each.get("type") != "Snooze"]
    last = failed[-1] if failed else None
    text = f"{last.get('type', '')}: {last.get('message', '')}" if last else ""
    if last is None or (job.error and job.error != text):
        return Failure(job.error) if job.error else None
    attempt = last.get("attempt")
    return Failure(
        text,
        str(last.get("traceback") or ""),
        attempt if isinstance(attempt, int) else None,
        is_past=not job.error,
    )


def moments(
    job: JobExecution, actions: Sequence[Action], steps: Sequence[Step] = ()
) -> list[Moment]:
    """Everything, in order."""
    found = [Moment(job.created_at, "pending", "Enqueued", _enqueued(job))]
    if job.published_at is not None:
        found.append(Moment(job.published_at, "pending", PUBLISHED))
    ends = story.ends(job, actions)
    found += [
        _failed_attempt(error, end, job)
        for error, end in zip(job.errors, ends.of_attempts, strict=True)
    ]
    found += [
        Moment(event.at, event.state, event.state.capitalize(), event.note)
        for event in ends.by_others
    ]
    found += [
        Moment(each.published_before, "pending", PUBLISHED)
        for each in actions
        if each.action == "retry" and each.published_before is not None
    ]
    found += [
        Moment(
            each.at,
            "operator",
            f"{each.actor}: {each.action}",
            f"it was {each.status_before} before"
            + (f", {more}" if (more := each.edit or each.moved) else ""),
            ""
            if each.payload_before is None
            else formatting.pretty(redaction.mask(each.payload_before)),
        )
        for each in actions
    ]
    found += [_step(each) for each in steps]
    if job.status == "processing" and job.started_at is not None:
        lease = (
            f"its lease runs until {formatting.utc(job.lease_expires_at)}"
            if job.lease_expires_at
            else ""
        )
        found.append(Moment(job.started_at, "processing", f"Attempt {job.attempt} began", lease))
    if job.status == "completed" and job.completed_at is not None:
        title = f"Attempt {job.attempt} completed"
        text = f"it took {wording.duration(job.duration_seconds)}"
        found.append(Moment(job.completed_at, "completed", title, text))
    if job.due_at is not None:
        found.append(Moment(job.due_at, job.status, "Due"))
    return sorted(found, key=lambda each: each.at)


def spans(job: JobExecution) -> list[Span]:
    """Waiting and running times, for the drawing; empty where it has not run."""
    ran = [
        Span(_time(error["startedAt"]), _time(error["endedAt"]), "failed")
        for error in job.errors
        if error.get("startedAt") and error.get("endedAt")
    ]
    if job.started_at is not None and job.status in {"completed", "processing"}:
        end = job.completed_at or datetime.now(UTC)
        ran.append(Span(job.started_at, end, job.status))
    if not ran:
        return []
    ran.sort(key=lambda span: span.start)
    whole = Span(min(job.created_at, ran[0].start), max(span.end for span in ran), "waiting")
    return [whole, *ran]


def _step(step: Step) -> Moment:
    text = f"it took {wording.duration(step.seconds)}"
    if not step.is_kept:
        text += "; its result has been dropped since"
    return Moment(step.ended_at, "processing", f"Step {step.position}: {step.name}", text)


def _failed_attempt(error: dict[str, Any], end: str, job: JobExecution) -> Moment:
    started, at = error.get("startedAt"), _time(error.get("endedAt") or job.updated_at.isoformat())
    took = ""
    if started:
        within = "at an unknown time within" if story.nobody_knows_when(error) else "after"
        seconds = formatting.seconds_between(_time(started), at)
        took = f" {within} {wording.duration(seconds)}"
    rest = {name: value for name, value in error.items() if name not in NOT_SHOWN and value}
    if error.get("type") == "Snooze" and end == "retrying":
        why = str(error.get("message", ""))
        return Moment(at, end, f"Attempt {error.get('attempt')} was put off{took}", why)
    trace = str(error.get("traceback") or "")
    return Moment(
        at,
        end,
        f"Attempt {error.get('attempt')} failed{took}",
        f"{error.get('type', '')}: {error.get('message', '')}",
        "\n".join([trace, formatting.pretty(rest)] if rest else [trace]).strip(),
    )


def _enqueued(job: JobExecution) -> str:
    by = f"by the token {job.enqueued_by}" if job.enqueued_by else ""
    if job.available_at > job.created_at and job.attempt == 0:
        due = f"to be delivered at {formatting.utc(job.available_at)}"
        return f"{due}, {by}" if by else due
    return by


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
