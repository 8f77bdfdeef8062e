"""One harmless job through the deployed system: enqueued, delivered, recorded, logged, counted.

The job is a dry run of `cleanup-old-data`: it is deployed anyway, goes the whole way (API,
Postgres, QStash, Function URL, claim, record) and changes nothing. Another type and payload may be
given.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Protocol

from stashjobs.config import settings
from stashjobs.errors import StashjobsError
from stashjobs.job_type import find
from stashjobs.operators import search
from stashjobs.operators.story import Event, tell
from stashjobs.producer import enqueue as producer
from stashjobs.store import database
from stashjobs.tools.doctor import stack

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TYPE = "cleanup-old-data"
PAYLOAD: dict[str, Any] = {"dryRun": True, "retention": 3650}
METADATA = {"smoke": True}
# What the monitor says once a minute (docs/monitoring.md).
NAMESPACE = "stashjobs"
METRIC = "ProcessedLastHour"

TIMEOUT_SECONDS = 15.0
PAUSE_SECONDS = 0.25
ASK_AWS_EVERY_SECONDS = 5.0
ENDED = ("completed", "failed", "cancelled")


class SmokeError(StashjobsError):
    """The job could not even be enqueued. The message says what was answered."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was looked at. `passed` is None where it could not be looked at from here."""

    name: str
    passed: bool | None
    what: str


@dataclass(frozen=True, slots=True)
class Seen:
    """A job as it was last seen."""

    status: str
    error: str | None
    published: bool
    story: list[Event]


@dataclass(slots=True)
class Outcome:
    """What became of the job."""

    job_id: str
    steps: list[Step] = field(default_factory=list)
    story: list[Event] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """No step has failed."""
        return all(step.passed is not False for step in self.steps)


class Way(Protocol):
    """How the system is reached."""

    name: str

    def enqueue(self, job_type: str, payload: Any) -> str:
        """The new job's id."""

    def see(self, job_id: str) -> Seen | None:
        """The job as it is now."""


def run(job_type: str, payload: Any, *, seconds: float, logs: Path) -> Outcome:
    """Enqueue the job and watch it, its log line and its metric appear.

    Through the HTTP API where `SMOKE_TOKEN` or `ADMIN_TOKEN` is set, as an app does; else directly,
    with the settings of a producer.

    Args:
        job_type: What to enqueue.
        payload: Likewise.
        seconds: How long to wait for all of it.
        logs: The folder of the local stack's logs.

    Raises:
        SmokeError: The API refused the job, or cannot be reached.
        StashjobsError: It could not be enqueued directly.
        psycopg.OperationalError: Postgres cannot be reached.
    """
    try:
        return _watch(job_type, payload, time.monotonic() + seconds, seconds, logs)
    finally:
        stack.close()


def _watch(job_type: str, payload: Any, deadline: float, seconds: float, logs: Path) -> Outcome:
    began = datetime.now(UTC)
    token = settings.optional("SMOKE_TOKEN") or settings.optional("ADMIN_TOKEN")
    way: Way = ThroughApi(_base_url(), token) if token else Direct()
    outcome = Outcome(way.enqueue(job_type, payload))
    outcome.steps.append(Step("enqueued", passed=True, what=way.name))
    seen = _until(deadline, PAUSE_SECONDS, lambda: _ended(way.see(outcome.job_id)))
    seen = seen or way.see(outcome.job_id)
    outcome.story = [] if seen is None else seen.story
    outcome.steps.append(_row(seen, seconds))
    if outcome.passed:
        outcome.steps.append(_log(job_type, outcome.job_id, began, deadline, logs))
        outcome.steps.append(_metric(began, deadline))
    return outcome


def _base_url() -> str:
    """`BASE_URL`; where it is not set, the stack's output `BaseUrl`."""
    if settings.optional("BASE_URL") is None:
        with contextlib.suppress(stack.NotHere, ModuleNotFoundError, KeyError):
            return stack.outputs()["BaseUrl"]
    return settings.base_url()


# --- the two ways


@dataclass(slots=True)
class ThroughApi:
    """As an app in any language does."""

    base_url: str
    token: str
    name: str = "by POST /api/jobs"

    def enqueue(self, job_type: str, payload: Any) -> str:
        body = {"type": job_type, "payload": payload, "metadata": METADATA}
        answer = self._ask("POST", "/api/jobs", body)
        return str(answer["jobId"])

    def see(self, job_id: str) -> Seen | None:
        found = self._ask("GET", f"/api/jobs/{job_id}")
        story = [
            Event(datetime.fromisoformat(each["at"]), each["state"], each["note"])
            for each in found["story"]
        ]
        published = found["publishedAt"] is not None
        return Seen(found["status"], found["error"], published, story)

    def _ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        import httpx

        try:
            answer = httpx.request(
                method,
                self.base_url + path,
                json=body,
                headers={"Authorization": f"Bearer {self.token}"},
                timeout=TIMEOUT_SECONDS,
            )
        except httpx.HTTPError as error:
            raise SmokeError(
                f"{self.base_url} cannot be reached ({type(error).__name__}): is it deployed, and "
                "BASE_URL its address?"
            ) from error
        if answer.is_error:
            scopes = ". SMOKE_TOKEN needs the scopes enqueue:TYPE (of what is sent) and read"
            raise SmokeError(
                f"{method} {path} answered {answer.status_code}: {answer.text[:500]}"
                f"{scopes if answer.status_code in {401, 403} else ''}"
            )
        document: dict[str, Any] = answer.json()
        return document


@dataclass(slots=True)
class Direct:
    """As a producer with the settings does."""

    name: str = "directly (no SMOKE_TOKEN or ADMIN_TOKEN is set)"

    def enqueue(self, job_type: str, payload: Any) -> str:
        return producer.enqueue(find(job_type), payload, {"metadata": METADATA}, None).job_id

    def see(self, job_id: str) -> Seen | None:
        found = search.find(database.connection(), job_id)
        if found is None:
            return None
        return Seen(found.status, found.error, found.published_at is not None, tell(found))


# --- what is looked at


def _ended(seen: Seen | None) -> Seen | None:
    return seen if seen is not None and seen.status in ENDED else None


def _row(seen: Seen | None, seconds: float) -> Step:
    if seen is None:
        return Step("row", passed=False, what="there is none: was POSTGRES_URL of another stage?")
    if seen.status == "completed":
        took = (seen.story[-1].at - seen.story[0].at).total_seconds()
        return Step("row", passed=True, what=f"completed {took:.1f} s after it was enqueued")
    if seen.status in ENDED:
        return Step("row", passed=False, what=f"{seen.status}: {seen.error}")
    why = (
        "not published: see QSTASH_TOKEN, and RelayFunction's log"
        if not seen.published
        else "published, but no attempt has completed: run stashjobs doctor"
    )
    return Step("row", passed=False, what=f"{seen.status} after {seconds:g} s. {why}")


def _log(job_type: str, job_id: str, began: datetime, deadline: float, logs: Path) -> Step:
    function = "".join(part.capitalize() for part in job_type.split("-")) + "Function"
    try:
        client = stack.client("logs")
    except stack.NotHere as reason:
        return _local_log(logs / f"{function}.log", job_id, deadline, str(reason))
    except ModuleNotFoundError as error:
        return Step("log", passed=None, what=f"not checked: {error.name} is not installed")
    from botocore.exceptions import ClientError

    try:
        group = _log_group(stack.function(function))
    except KeyError:
        return Step("log", passed=False, what=f"the stack {stack.name()} has no {function}")
    except ClientError as error:
        return Step("log", passed=False, what=f"the stack {stack.name()} cannot be seen: {error}")
    since = int((began - timedelta(minutes=1)).timestamp() * 1000)

    def there() -> bool:
        pages = client.get_paginator("filter_log_events").paginate(
            logGroupName=group, startTime=since, filterPattern=f'"{job_id}"'
        )
        return any(page["events"] for page in pages)

    if _until(deadline, ASK_AWS_EVERY_SECONDS, there):
        return Step("log", passed=True, what=f"{group} has the job's lines")
    return Step("log", passed=False, what=f"{group} has no line of the job")


def _log_group(function: str) -> str:
    found = stack.client("lambda").get_function_configuration(FunctionName=function)
    group: str = found.get("LoggingConfig", {}).get("LogGroup") or f"/aws/lambda/{function}"
    return group


def _local_log(file: Path, job_id: str, deadline: float, why_not_aws: str) -> Step:
    if not file.parent.exists():
        return Step("log", passed=None, what=f"not checked: {why_not_aws}")

    def there() -> bool:
        return file.exists() and job_id in file.read_text(errors="replace")

    # The line comes after the row, through a pipe; the first one makes the file.
    if _until(deadline, PAUSE_SECONDS, there):
        return Step("log", passed=True, what=f"{file} has the job's lines")
    return Step("log", passed=False, what=f"{file} has no line of the job")


def _metric(began: datetime, deadline: float) -> Step:
    try:
        client = stack.client("cloudwatch")
    except stack.NotHere as reason:
        return Step("metric", passed=None, what=f"not checked: {reason}")
    except ModuleNotFoundError as error:
        return Step("metric", passed=None, what=f"not checked: {error.name} is not installed")

    def there() -> bool:
        answer = client.get_metric_statistics(
            Namespace=NAMESPACE,
            MetricName=METRIC,
            Dimensions=[{"Name": "Stage", "Value": settings.stage()}],
            StartTime=began.replace(second=0, microsecond=0),
            EndTime=datetime.now(UTC) + timedelta(minutes=1),
            Period=60,
            Statistics=["Maximum"],
        )
        return any(each["Maximum"] >= 1 for each in answer["Datapoints"])

    if _until(deadline, ASK_AWS_EVERY_SECONDS, there):
        return Step("metric", passed=True, what=f"{NAMESPACE} {METRIC} has counted it")
    told = f"{NAMESPACE} {METRIC} has counted nothing since: see MonitorFunction's log"
    return Step("metric", passed=False, what=told)


def _until(deadline: float, pause: float, look: Callable[[], Any]) -> Any:
    """What `look` finds, or its last word when the deadline (monotonic) has passed."""
    while True:
        found = look()
        if found or time.monotonic() >= deadline:
            return found
        time.sleep(min(pause, max(0.0, deadline - time.monotonic())))
