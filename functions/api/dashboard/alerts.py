"""The conditions that the alarms watch (functions/monitor, docs/monitoring.md), as they are just
now: what is measured, from where on it is too much, and what to do then."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

import psycopg

from stashjobs import wording
from stashjobs.job_type import declared
from stashjobs.observability import redaction
from stashjobs.observability.log import logger
from stashjobs.operators import dead_letters as operator
from stashjobs.operators import health, statistics

if TYPE_CHECKING:
    from stashjobs.operators.statistics import Recent, Waiting
    from stashjobs.store.database import Connection

# For so long every page has the same badge, so that a page costs no more than before.
FRESH_SECONDS = 5.0
DEAD_LETTERS_SECONDS = 60.0
FIRING, OK, UNKNOWN = "firing", "ok", "unknown"
# As in docs/monitoring.md, which also says for how long each must last before the alarm rings.
MAX_DEPTH = 1_000
MAX_WAIT_SECONDS = 900
TIMEOUT_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition.

    Attributes:
        state: `firing`, `ok` or `unknown`.
        now: What is measured, in words.
        limit: From where on it fires, in words.
        advice: What to do when it fires.
        link: Where to look, within the dashboard.
    """

    key: str
    name: str
    state: str
    now: str
    limit: str
    advice: str
    link: str


@dataclass(slots=True)
class _Badge:
    """What this process knows of the alerts, and since when."""

    at: float = float("-inf")
    firing: int = 0
    asked_at: float = float("-inf")
    dead_letters: str = ""


_badge = _Badge()


def from_jobs(everything: Recent | None, types: list[Recent], waiting: Waiting) -> list[Condition]:
    """The conditions that the rows alone tell."""
    return [
        _failing(everything),
        _stuck(waiting),
        _standstill(waiting),
        _depth(waiting),
        _oldest(waiting),
        _slow(types),
        _unpublished(waiting),
    ]


def read(connection: Connection) -> list[Condition]:
    """All but the one for which QStash is asked."""
    recent = statistics.read_recent(connection, timedelta(hours=1))
    waiting = statistics.read_waiting(connection, health.stuck_seconds())
    everything, types = (recent[0] if recent else None), recent[1:]
    return from_jobs(everything, types, waiting)


def firing_now(connection: Connection) -> int:
    """How many conditions fire, for the badge of every page: of the last seconds, and QStash's dead
    letters as they were when it was last asked."""
    known = _badge.firing
    if time.monotonic() - _badge.at > FRESH_SECONDS:
        try:
            known = sum(one.state == FIRING for one in read(connection))
        except psycopg.Error as error:  # a page is worth having without its badge
            logger().warning("the alerts could not be read", error=redaction.one_line(error))
        _badge.at, _badge.firing = time.monotonic(), known
    return known + (_badge.dead_letters == FIRING)


def ask_for_dead_letters(*, in_background: bool) -> None:
    """Have `firing_now` know of dead letters. A page asks QStash only where nothing is known yet;
    the questions by which an open page keeps itself up to date, for which nobody waits, once in
    a while. Holding no connection."""
    age = time.monotonic() - _badge.asked_at
    if not _badge.dead_letters or (in_background and age > DEAD_LETTERS_SECONDS):
        dead_letters()


def forget() -> None:
    """Have the next page read the alerts anew; QStash is asked again in a while."""
    _badge.at = float("-inf")
    _badge.asked_at, _badge.dead_letters = time.monotonic(), UNKNOWN


def in_order(conditions: list[Condition]) -> list[Condition]:
    """Those that fire first."""
    order = {FIRING: 0, UNKNOWN: 1, OK: 2}
    return sorted(conditions, key=lambda one: order[one.state])


def _failing(everything: Recent | None) -> Condition:
    percent = health.failure_percent()
    rate = everything.failure_rate if everything else None
    return Condition(
        "failing",
        "Jobs fail",
        _when(rate is not None and rate * 100 > percent),
        "no job has ended in the last hour"
        if rate is None
        else f"{wording.percent(rate)} of the jobs of the last hour",
        f"over {percent} %",
        "Look at the kinds of errors on the overview: one kind in many jobs is a bug or an outage "
        "of a service they call. Fix that first, then retry the failed jobs together.",
        "/admin/jobs?status=failed&period=1h",
    )


def _stuck(waiting: Waiting) -> Condition:
    limit = wording.duration(health.stuck_seconds())
    return Condition(
        "stuck",
        "Attempts are stuck",
        _when(waiting.stuck > 0),
        f"{wording.plural(waiting.stuck, 'attempt')} of "
        f"{wording.number(waiting.running)} under way",
        f"any that runs for over {limit}",
        "Check in the function's log what it waits for. When its lease expires, the relay hands "
        "the job to another attempt by itself; a job that is always stuck needs a timeout.",
        "/admin/jobs?status=processing",
    )


def _standstill(waiting: Waiting) -> Condition:
    return Condition(
        "standstill",
        "Nothing is processed",
        _when(not waiting.moving and waiting.oldest_seconds > MAX_WAIT_SECONDS),
        "jobs have ended in the last hour"
        if waiting.moving
        else "no job has ended in the last hour",
        "none in an hour, although jobs are due",
        "Check whether QStash delivers (its console and the gateway's log) and what the functions "
        "answer. 429 or 500: all their processes are busy; 401: the signing keys or BASE_URL are "
        "not the ones QStash uses.",
        "/admin/jobs?status=pending",
    )


def _depth(waiting: Waiting) -> Condition:
    more = " or more" if waiting.capped else ""
    return Condition(
        "depth",
        "The queue is deep",
        _when(waiting.depth > MAX_DEPTH),
        f"{wording.plural(waiting.depth, 'job')}{more} due and waiting",
        f"over {wording.number(MAX_DEPTH)}",
        "If jobs fail, fix that first. If they arrive faster than they finish, raise the reserved "
        "concurrency or the type's rate and parallelism; or cancel jobs that are no longer needed.",
        "/admin/jobs?status=pending",
    )


def _oldest(waiting: Waiting) -> Condition:
    return Condition(
        "oldest",
        "Jobs wait long",
        _when(waiting.oldest_seconds > MAX_WAIT_SECONDS),
        f"the oldest has been due for {wording.duration(waiting.oldest_seconds)}"
        if waiting.depth
        else "none is due",
        f"over {wording.duration(MAX_WAIT_SECONDS)}",
        "Open the oldest. One that was never published waits for the relay. One that was published "
        "usually waits because its function is busy: all its processes run jobs, so deliveries are "
        "turned away (429 or 500) until one is free. Give the type a larger share, or parallelism "
        "no higher than its share. Otherwise compare its message id with QStash's log.",
        "/admin/jobs?status=pending",
    )


def _slow(types: list[Recent]) -> Condition:
    timeouts = {job.type: job.timeout for job in declared()}
    slow = [
        f"{one.job_type} {wording.duration(one.average_seconds)} "
        f"of {wording.duration(timeouts[str(one.job_type)])}"
        for one in types
        if one.average_seconds is not None
        and one.average_seconds > timeouts.get(str(one.job_type), float("inf")) * TIMEOUT_SHARE
    ]
    return Condition(
        "slow",
        "Jobs are slow",
        _when(bool(slow)),
        f"on average: {', '.join(slow)}" if slow else "every type is well within its timeout",
        "an average over half of a type's timeout",
        "Find the slow step; give the type a longer timeout or smaller jobs before attempts "
        "start to time out.",
        "/admin/types",
    )


def _unpublished(waiting: Waiting) -> Condition:
    more = " or more" if waiting.unpublished >= statistics.CAP else ""
    return Condition(
        "unpublished",
        "The relay does not publish",
        _when(waiting.unpublished > 0),
        f"{wording.plural(waiting.unpublished, 'job')}{more} not yet published to QStash",
        "any that is 3 minutes late",
        "Check that RelayFunction runs every minute, and its log; a refused "
        "QSTASH_TOKEN or QStash's daily limit are the usual reasons. Nothing is lost: it is "
        "published as soon as QStash accepts it.",
        "/admin/jobs?status=pending",
    )


def dead_letters() -> Condition:
    """Whether QStash's dead-letter queue has messages. Asks QStash, holding no connection."""
    state, now = UNKNOWN, ""
    try:
        letters = operator.list_all()
        state = _when(bool(letters))
        now = operator.summary(letters)
    except Exception as error:  # noqa: BLE001 - the other conditions are worth having alone
        logger().warning("QStash could not be asked", error=redaction.one_line(error))
        now = "QStash could not be asked; the log says why"
    _badge.asked_at, _badge.dead_letters = time.monotonic(), state
    return Condition(
        "dead-letters",
        "QStash has dead letters",
        state,
        now,
        "any of this stage",
        "Each failed job has the error of its last attempt. Retry the jobs: that sends a new "
        "message and deletes the dead letter. Delete what is left when nothing is to be done about "
        "it; the jobs stay as they are.",
        "/admin/jobs?status=failed",
    )


def _when(fires: bool) -> str:
    return FIRING if fires else OK
