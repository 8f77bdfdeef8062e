"""The story of a job: what its row, its attempts and the operators say of it, in order."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from stashjobs.operators import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stashjobs.operators.search import JobExecution
    from stashjobs.store.database import Connection

PUBLISHED = "QStash has the message"
_END_OF_TIME = datetime.max.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Event:
    """One moment in a job's life."""

    at: datetime
    state: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Action:
    """What an operator did to a job, and what the row said before, which a retry clears."""

    at: datetime
    actor: str
    action: str
    status_before: str
    error_before: str | None = None
    ended_before: datetime | None = None
    published_before: datetime | None = None
    payload_hash_before: str | None = None
    payload_before: Any = None
    due_before: datetime | None = None
    steps_before: list[dict[str, Any]] = field(default_factory=list)

    @property
    def edit(self) -> str:
        """What an edited payload was before, by its hash; empty where it was not edited."""
        if self.payload_hash_before is None:
            return ""
        return f"with another payload; before it was sha256:{self.payload_hash_before}"

    @property
    def moved(self) -> str:
        """When a job was due before it was moved; empty where it was not."""
        if self.due_before is None or self.action not in {"run now", "reschedule"}:
            return ""
        return f"due before at {self.due_before.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"

    def events(self) -> list[Event]:
        """The action, and what only the row before it knew of the run that it ended."""
        if self.action == "cancel" and self.status_before == "processing":
            return [Event(self.at, "processing", f"asked to stop by {self.actor}")]
        if self.action == "cancel":
            return [Event(self.at, "cancelled", f"by {self.actor}")]
        if self.action != "retry":
            done = {"run now": "run now", "reschedule": "rescheduled"}.get(self.action, "edited")
            note = f"{done} by {self.actor} {self.edit or self.moved}".rstrip()
            return [Event(self.at, self.status_before, note)]
        note = f"retried by {self.actor} {self.edit}".rstrip()
        events = [Event(self.at, "pending", note)]
        if self.published_before is not None:
            events.append(Event(self.published_before, "pending", PUBLISHED))
        if self.status_before == "completed" and self.ended_before is not None:
            events.append(Event(self.ended_before, "completed", "an earlier run"))
        return events


@dataclass(frozen=True, slots=True)
class Step:
    """A step of a job, and the attempt that kept its result. Not `is_kept`: a retry by hand has
    dropped that since."""

    position: int
    name: str
    attempt: int
    started_at: datetime
    ended_at: datetime
    is_kept: bool = True

    @property
    def seconds(self) -> float:
        """How long it took."""
        return (self.ended_at - self.started_at).total_seconds()


@dataclass(frozen=True, slots=True)
class Ends:
    """How attempts and runs ended.

    Attributes:
        of_attempts: One status for each entry of `errors`, in the same order: `retrying` where
            another attempt was to follow, `failed` or `cancelled` where this one ended the run.
        by_others: Ends of runs that neither an attempt nor an operator brought: a dead letter.
    """

    of_attempts: list[str]
    by_others: list[Event]


def read_actions(connection: Connection, job_id: str) -> list[Action]:
    """What operators did to this job, in order; the first hundred of it."""
    return [Action(*row) for row in connection.execute(sql.READ_JOB_ACTIONS, [job_id])]


def read_steps(connection: Connection, job_id: str, actions: Sequence[Action]) -> list[Step]:
    """The steps of this job in the order in which they ended, with those that `actions` dropped."""
    kept = [Step(*row) for row in connection.execute(sql.READ_STEPS, [job_id])]
    dropped = [
        Step(
            step["position"],
            step["name"],
            step["attempt"],
            datetime.fromisoformat(step["startedAt"]),
            datetime.fromisoformat(step["endedAt"]),
            is_kept=False,
        )
        for action in actions
        for step in action.steps_before
    ]
    return sorted([*kept, *dropped], key=lambda step: step.ended_at)


def tell(
    job: JobExecution, actions: Sequence[Action] = (), steps: Sequence[Step] = ()
) -> list[Event]:
    """What happened to the job, in order; `actions` is what operators did to it."""
    begin = "waiting" if job.status == "waiting" else "pending"
    by = f", by the token {job.enqueued_by}" if job.enqueued_by else ""
    events = [Event(job.created_at, begin, f"recorded{by}")]
    for action in actions:
        events += action.events()
    for step in steps:
        note = f"step {step.position} {step.name}, {step.seconds:.3f} s"
        events.append(Event(step.ended_at, "processing", note))
    if job.due_at is not None:
        events.append(Event(job.due_at, job.status, "due"))
    if job.published_at is not None:
        events.append(Event(job.published_at, "pending", PUBLISHED))
    found = ends(job, actions)
    for error, end in zip(job.errors, found.of_attempts, strict=True):
        events += _of_attempt(job, error, end)
    if job.status in {"processing", "completed"} and job.started_at is not None:
        events.append(Event(job.started_at, "processing", f"attempt {job.attempt}"))
    if job.status == "completed" and job.completed_at is not None:
        note = f"attempt {job.attempt} of {job.max_attempts}, {job.duration_seconds:.3f} s"
        events.append(Event(job.completed_at, "completed", note))
    return sorted([*events, *found.by_others], key=lambda event: event.at)


def ends(job: JobExecution, actions: Sequence[Action] = ()) -> Ends:
    """How each attempt that did not complete ended, and each run; `actions` is what operators did
    to the job.

    The row says it of now, an action of the moment before it. What either says is how the last
    attempt until then ended where it has the error of that attempt, word for word.
    """
    of_attempts = ["retrying"] * len(job.errors)
    by_others = []
    said = [(one.at, one.status_before, one.error_before, one.ended_before) for one in actions]
    said.append((_END_OF_TIME, job.status, job.error, job.completed_at))
    told = 0
    for number, (until, status, error, ended) in enumerate(said):
        first = told
        while told < len(job.errors) and _ended(job, job.errors[told]) <= until:
            told += 1
        if status not in {"failed", "cancelled"}:
            continue
        if told > first and error == _words(job.errors[told - 1]):
            of_attempts[told - 1] = status
        elif ended is not None and not (number and _cancelled_by(actions[number - 1])):
            by_others.append(Event(ended, status, error or ""))
    return Ends(of_attempts, by_others)


def _cancelled_by(action: Action) -> bool:
    """Whether the action itself ended the run; a running job is only asked to stop."""
    return action.action == "cancel" and action.status_before != "processing"


def _of_attempt(job: JobExecution, error: dict[str, Any], end: str) -> list[Event]:
    number, ended = error.get("attempt"), _ended(job, error)
    if not error.get("startedAt"):  # written by another hand
        return [Event(ended, end, f"attempt {number}: {_words(error)}")]
    started = datetime.fromisoformat(error["startedAt"])
    took = f"{(ended - started).total_seconds():.3f} s"
    if nobody_knows_when(error):
        took = f"ended at an unknown time within {took}"
    note = f"attempt {number}, {took}: {_words(error)}"
    return [Event(started, "processing", f"attempt {number}"), Event(ended, end, note)]


def nobody_knows_when(error: dict[str, Any]) -> bool:
    """Whether an attempt's end is only known to lie before its lease ran out."""
    return error.get("type") == "LeaseExpired"


def _ended(job: JobExecution, error: dict[str, Any]) -> datetime:
    ended = error.get("endedAt")
    return datetime.fromisoformat(ended) if ended else job.updated_at


def _words(error: dict[str, Any]) -> str:
    """The text that the statement which recorded this attempt wrote into the row's `error`."""
    return f"{error.get('type', '')}: {error.get('message', '')}"
