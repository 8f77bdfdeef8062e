"""The promise of design 1.1 under every order of events: a model of the table and of QStash, random
interleavings, and real Postgres, compared after each step.

QStash is part of the model, because what matters here is what it may do, rightly or not: deliver
again, late, after the dead letter, never; remember a deduplication id; be away. The statements are
the product's own. That the stand-in and the worker put them together in this way is tests/faults.
"""

from __future__ import annotations

import itertools
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from psycopg.rows import dict_row

from stashjobs import Context, job
from stashjobs.errors import NotPossible
from stashjobs.ids import new_job_id
from stashjobs.operators import retry_and_cancel
from stashjobs.producer import message as messages
from stashjobs.producer import publish, qstash_client
from stashjobs.recovery import dead_letters, relay
from stashjobs.store import batches, database, executions, job_types
from stashjobs.store import steps as kept_steps
from stashjobs.store.executions import Lease, NewJob
from stashjobs.store.outbox import DeadLetter, Unpublished
from tests.examples import examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stashjobs.testing.databases import Server

Choice = TypeVar("Choice")

ENDED = {"completed", "failed", "cancelled"}
EXPIRED = "LeaseExpired"
JOBS = 2
# Types that nobody publishes: what becomes of their jobs is the statements' doing alone.
CHILD, KIND, FOLLOWER = "lifecycle-child", "lifecycle-kind", "lifecycle-follower"
ANY = st.integers(0, 7)
LEGAL = {
    "pending": {"processing", "cancelled", "failed"},
    "processing": {"completed", "retrying", "failed", "cancelled"},
    "retrying": {"processing", "failed", "cancelled"},
    "completed": {"pending"},
    "failed": {"pending"},
    "cancelled": {"pending"},
}


@job("lifecycle", endpoint="/api/jobs/lifecycle", retries=2)
def lifecycle(_payload: Any, _context: Context) -> None:
    """Never called: the machine says how its attempts end."""


@dataclass
class Row:
    """What the row of a job must say."""

    job_id: str
    max_attempts: int
    status: str = "pending"
    attempt: int = 0
    run: int = 1
    before_run: int = 0
    errors: list[tuple[int, str]] = field(default_factory=list)
    published: bool = False
    message_id: str | None = None
    dlq_id: str | None = None
    lease_expired: bool = False
    overdue: bool = False
    claimed_late: bool = False
    asked_to_stop: bool = False
    completed_runs: list[int] = field(default_factory=list)
    steps: int = 0
    step_effects: int = 0
    failures: int = 0
    has_failed: bool = False

    @property
    def waits(self) -> bool:
        return self.status in {"pending", "retrying"}


@dataclass
class Message:
    """A message of QStash's. `alive`: it will be delivered again."""

    message_id: str
    job_id: str
    deliveries_left: int
    alive: bool = True


@dataclass
class Attempt:
    """A worker that holds a job, or believes so."""

    job_id: str
    attempt: int
    run: int
    message: Message


class QStash:
    """As much of QStash as the producer uses, in memory."""

    def __init__(self) -> None:
        self.reachable = True
        self.messages: dict[str, Message] = {}
        self.letters: list[DeadLetter] = []
        self._remembered: dict[str, str] = {}
        self._numbers = itertools.count(1)
        self.message = self  # `qstash_client.qstash().message.cancel`

    def send(self, batch: Sequence[Unpublished]) -> dict[str, str | None]:
        """In place of `publish.send`."""
        if not self.reachable:
            raise ConnectionError("QStash is away")
        return {each.job_id: self._publish(each) for each in batch}

    def _publish(self, each: Unpublished) -> str:
        key = messages.deduplication_id(each)
        if key not in self._remembered:
            message_id = f"msg_{next(self._numbers)}"
            left = max(1, each.max_attempts - each.attempt)
            self.messages[message_id] = Message(message_id, each.job_id, left)
            self._remembered[key] = message_id
        return self._remembered[key]

    def alive(self) -> list[Message]:
        return [each for each in self.messages.values() if each.alive]

    def cancel(self, message_id: str) -> None:
        if not self.reachable:
            raise ConnectionError("QStash is away")
        self.messages[message_id].alive = False

    def get(self, message_id: str) -> Message:
        if not self.messages[message_id].alive:
            raise RuntimeError("Request failed with status: 404")
        return self.messages[message_id]

    def forget(self) -> None:
        """Ten minutes pass."""
        self._remembered.clear()

    def hear(self, message: Message, status: int) -> None:
        """The answer to a delivery."""
        message.deliveries_left -= 1
        if status == 200:
            message.alive = False
        elif (status == 489 or message.deliveries_left <= 0) and message.alive:
            message.alive = False
            self.letters.append(
                dead_letters.letter(
                    message.job_id,
                    message.message_id,
                    f"dlq-{next(self._numbers)}",
                    status=status,
                    retries=3,
                )
            )


class Lifecycle(RuleBasedStateMachine):
    """Rules are what can happen; each is told to Postgres and to the model."""

    url = ""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, Row] = {}
        self.seen: dict[str, str] = {}
        self.children: dict[str, str] = {}
        self.waiting_of_a_kind: str | None = None
        self.running_of_a_kind: list[tuple[str, int]] = []
        self.attempts: list[Attempt] = []
        self.qstash = QStash()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(publish, "send", self.qstash.send)
        self.patch.setattr(qstash_client, "qstash", lambda: self.qstash)
        self.db: psycopg.Connection[dict[str, Any]] = psycopg.connect(
            self.url, autocommit=True, row_factory=dict_row
        )
        self.db.execute("TRUNCATE job_executions, job_dependencies, job_batches, job_steps")
        self.db.execute("DELETE FROM effects")
        self.db.execute("DELETE FROM step_effects")

    # --- an app

    # Few jobs, so that much happens to each.
    @initialize(
        retries=st.tuples(*[st.integers(0, 2)] * JOBS),
        dies=st.tuples(
            *[st.sampled_from(["before it is published", "before it is confirmed", "not"])] * JOBS
        ),
    )
    def enqueue(self, retries: tuple[int, ...], dies: tuple[str, ...]) -> None:
        for one in zip(retries, dies, strict=True):
            self._enqueue(*one)
        self._enqueue_children()

    def _enqueue_children(self) -> None:
        """One that waits until all have completed, and one that runs at the end of their batch."""
        own = database.connection()
        batches.create(own, "end", "a batch")
        self.db.execute("UPDATE job_executions SET batch_id = 'end'")
        for child, when in (("then", "completed"), ("end", "ended")):
            after = {"ids": list(self.rows), "when": when}
            executions.record_new_jobs(own, [NewJob(child, CHILD, {}, 1, after=after)])
            self.children[child] = "waiting"
        job_types.declare_followers(own, {lifecycle.type: (FOLLOWER, 1)})

    def _enqueue(self, retries: int, dies: str) -> None:
        new = NewJob(new_job_id(), lifecycle.type, {}, retries + 1)
        executions.record_new_jobs(database.connection(), [new])
        row = self.rows[new.job_id] = Row(new.job_id, retries + 1)
        if dies == "before it is published":
            return
        unpublished = Unpublished(new.job_id, new.job_type, 1, 0, retries + 1, None, {})
        if dies == "before it is confirmed":
            if self.qstash.reachable:
                self.qstash.send([unpublished])
            return
        told = publish.publish([unpublished])
        if told:
            self._confirmed(row, told[new.job_id])

    # --- deliveries: many rules, since Hypothesis takes each of them as often as any other

    @precondition(lambda self: self.qstash.alive())
    @rule(which=ANY)
    def deliver(self, which: int) -> None:
        self._deliver(_pick(self.qstash.alive(), which), counts=True)

    @precondition(lambda self: self.qstash.alive())
    @rule(which=ANY)
    def deliver_twice(self, which: int) -> None:
        """QStash counts on one answer only."""
        message = _pick(self.qstash.alive(), which)
        self._deliver(message, counts=False)
        self._deliver(message, counts=True)

    @precondition(lambda self: self.qstash.messages)
    @rule(which=ANY)
    def deliver_late(self, which: int) -> None:
        """Also dead letters, and messages that were answered."""
        self._deliver(_pick(list(self.qstash.messages.values()), which), counts=False)

    @precondition(lambda self: self.attempts)
    @rule(which=ANY)
    def complete(self, which: int) -> None:
        self._end(which, "completed", "not")

    @precondition(lambda self: self.attempts)
    @rule(which=ANY, how=st.sampled_from(["retrying", "retrying", "failed", "cancelled"]))
    def fail(self, which: int, how: str) -> None:
        self._end(which, how, "not")

    @precondition(lambda self: self.attempts)
    @rule(
        which=ANY,
        how=st.sampled_from(["completed", "retrying"]),
        dies=st.sampled_from(["before the record", "before the commit", "after it"]),
    )
    def die(self, which: int, how: str, dies: str) -> None:
        self._end(which, how, dies)

    def _end(self, which: int, how: str, dies: str) -> None:
        attempt = self.attempts.pop(which % len(self.attempts))
        status = self._finish(attempt, how, dies)
        self.qstash.hear(attempt.message, status if dies == "not" else 500)

    @precondition(lambda self: self._running())
    @rule(which=ANY, redelivered=st.booleans())
    def lease_runs_out(self, which: int, redelivered: bool) -> None:
        row = _pick(self._running(), which)
        self._expire(row)
        messages = [each for each in self.qstash.alive() if each.job_id == row.job_id]
        if redelivered and messages:
            self._deliver(messages[0], counts=True)

    def _running(self) -> list[Row]:
        return [row for row in self.rows.values() if row.status == "processing"]

    @precondition(lambda self: self.attempts)
    @rule(which=ANY)
    def snooze(self, which: int) -> None:
        self._end(which, "snoozed", "not")

    @precondition(lambda self: self.attempts)
    @rule(which=ANY, dies=st.booleans())
    def keep_a_step(self, which: int, dies: bool) -> None:
        """Its write and its mark commit together, if the attempt still holds the job."""
        attempt = _pick(self.attempts, which)
        row = self.rows[attempt.job_id]
        holds = row.status == "processing" and row.attempt == attempt.attempt
        context = Context(attempt.job_id, lifecycle.type, attempt.attempt, 9, run=attempt.run)
        context.connection.execute("INSERT INTO step_effects VALUES (%s)", [attempt.job_id])
        held, cancelled_by = kept_steps.keep(
            context.connection,
            job_id=attempt.job_id,
            attempt=attempt.attempt,
            position=row.steps + 1,
            name="step",
            result=None,
            seconds=0,
            lease_seconds=60,
        )
        assert (held, cancelled_by is not None) == (holds, holds and row.asked_to_stop)
        if not held or dies:
            context.rollback()
            return
        context.commit()
        row.steps, row.step_effects, row.lease_expired = row.steps + 1, row.step_effects + 1, False

    # --- the batch

    @precondition(lambda self: len(self.rows) == JOBS)
    @rule()
    def add_to_the_batch(self) -> None:
        new = NewJob(new_job_id(), lifecycle.type, {}, 2, batch_id="end")
        if self.children["end"] != "waiting":
            with pytest.raises(psycopg.errors.InvalidParameterValue, match="takes no more"):
                executions.record_new_jobs(database.connection(), [new])
            return
        executions.record_new_jobs(database.connection(), [new])
        self.rows[new.job_id] = Row(new.job_id, 2)

    # --- jobs that are one of a kind

    @rule(does=st.sampled_from(["is enqueued", "is claimed", "tries again", "completes"]))
    def one_of_a_kind(self, does: str) -> None:
        own = database.connection()
        if does == "is enqueued":
            kind = {"key": "k", "running": False, "replace": False, "maxWait": None}
            new = NewJob(new_job_id(), KIND, {}, 3, uniqueness=kind)
            [found] = executions.record_new_jobs(own, [new])
            assert found.due == (self.waiting_of_a_kind is None)
            self.waiting_of_a_kind = self.waiting_of_a_kind or found.job_id
            assert found.job_id == self.waiting_of_a_kind
        elif does == "is claimed" and self.waiting_of_a_kind is not None:
            job_id, self.waiting_of_a_kind = self.waiting_of_a_kind, None
            claim = executions.claim(
                own, job_id=job_id, job_type=KIND, lease=Lease(3600, None, None)
            )
            assert claim is not None
            if claim.held:
                self.running_of_a_kind.append((job_id, claim.attempt))
        elif self.running_of_a_kind:
            job_id, attempt = self.running_of_a_kind.pop()
            if does == "tries again":
                executions.record_not_completed(
                    own, job_id=job_id, attempt=attempt, status="retrying", details={}
                )
                # Where another one took its key meanwhile, it waits beside that one, without it.
                self.waiting_of_a_kind = self.waiting_of_a_kind or job_id
            else:
                executions.record_completed(own, job_id=job_id, attempt=attempt, result=None)

    # --- operators

    @rule(which=ANY, retries=st.booleans())
    def operate(self, which: int, retries: bool) -> None:
        row = _pick(list(self.rows.values()), which)
        if retries:
            self._retry(row)
        else:
            self._cancel(row)

    def _cancel(self, row: Row) -> None:
        if row.status == "processing":
            retry_and_cancel.cancel(row.job_id, actor="ada")
            row.asked_to_stop = True
            return
        if not row.waits:
            with pytest.raises(NotPossible):
                retry_and_cancel.cancel(row.job_id, actor="ada")
            return
        retry_and_cancel.cancel(row.job_id, actor="ada")
        row.status = "cancelled"

    def _retry(self, row: Row) -> None:
        if row.status not in ENDED:
            with pytest.raises(NotPossible):
                retry_and_cancel.retry(row.job_id, actor="ada")
            return
        retry_and_cancel.retry(row.job_id, actor="ada")
        row.steps = 0 if row.status == "completed" else row.steps
        row.max_attempts = row.attempt + row.max_attempts - row.before_run
        row.before_run = row.attempt
        row.run += 1
        row.status, row.published, row.message_id, row.dlq_id = "pending", False, None, None
        row.overdue = row.asked_to_stop = False
        self._told(row)

    # --- the relay

    @rule(does=st.sampled_from(["frees", "publishes", "both"]))
    def relay_runs(self, does: str) -> None:
        if does != "publishes":
            self.relay_frees_leases()
        if does != "frees":
            self.relay_publishes()

    def relay_frees_leases(self) -> None:
        relay.free_leases(relay.Report(), time.time() + 60)
        for row in self.rows.values():
            if row.status == "processing" and row.lease_expired:
                row.errors.append((row.attempt, EXPIRED))
                row.status = "failed" if row.attempt >= row.max_attempts else "retrying"
                if row.asked_to_stop:
                    row.status = "cancelled"
                row.published = False

    def relay_publishes(self) -> None:
        relay.publish_unpublished(relay.Report(), time.time() + 60, quiet_seconds=0)
        for row in self.rows.values():
            if row.waits and not row.published:
                self._told(row)

    @precondition(lambda self: self.qstash.letters)
    @rule(which=ANY)
    def hear_of_a_dead_letter(self, which: int) -> None:
        """From the callback or from the relay; also again, and late."""
        self._hear_of(_pick(self.qstash.letters, which))

    # --- time, and QStash

    @rule(
        what=st.sampled_from(["an hour passes", "ten minutes pass", "QStash goes", "QStash comes"])
    )
    def the_world_goes_on(self, what: str) -> None:
        if what == "an hour passes":
            self.an_hour_of_silence()
        elif what == "ten minutes pass":
            self.qstash.forget()
        else:
            self.qstash.reachable = what == "QStash comes"

    def an_hour_of_silence(self) -> None:
        for row in self.rows.values():
            row.overdue = True
        self.db.execute(
            "UPDATE job_executions SET published_at = published_at - interval '2 h',"
            " updated_at = now() - interval '2 h', available_at = now() - interval '2 h'"
        )
        relay.find_vanished(relay.Report(), time.time() + 60)
        for row in self.rows.values():
            if row.waits and row.published and row.message_id is not None:
                row.published = self.qstash.messages[row.message_id].alive

    # --- what must hold after each step

    @invariant()
    def rows_say_what_happened(self) -> None:
        effects = {row["job_id"]: row["runs"] for row in self.db.execute(READ_EFFECTS)}
        found = self.db.execute("SELECT * FROM job_executions").fetchall()
        of_type = [row for row in found if row["job_type"] == lifecycle.type]
        assert {row["job_id"] for row in of_type} == set(self.rows)
        self._children_run_exactly_if_their_condition_holds(found)
        self._one_of_a_kind_waits(found)
        self._each_failure_is_followed_once(found)
        self._steps_are_kept_with_what_they_wrote()
        for row in of_type:
            model = self.rows[row["job_id"]]
            errors = [(error["attempt"], error["type"]) for error in row["errors"]]
            assert (row["status"], row["attempt"], row["max_attempts"], row["run"]) == (
                model.status,
                model.attempt,
                model.max_attempts,
                model.run,
            )
            assert errors == model.errors
            assert (row["published_at"] is not None, row["message_id"], row["dlq_id"]) == (
                model.published,
                model.message_id,
                model.dlq_id,
            )
            assert row["retry_count"] == max(0, row["attempt"] - 1)
            assert effects.get(row["job_id"], []) == model.completed_runs

    def _children_run_exactly_if_their_condition_holds(self, found: list[dict[str, Any]]) -> None:
        statuses = [row.status for row in self.rows.values()]
        for child, status in self.children.items():
            if status != "waiting":  # whatever becomes of its parents now
                continue
            # Who was added to the batch is no parent of the other one.
            parents = set(statuses[:JOBS] if child == "then" else statuses)
            if child == "then" and parents & {"failed", "cancelled"}:
                self.children[child] = "cancelled"
            elif parents <= ENDED:
                self.children[child] = "pending"
        children = {row["job_id"]: row["status"] for row in found if row["job_type"] == CHILD}
        assert children == self.children

    def _one_of_a_kind_waits(self, found: list[dict[str, Any]]) -> None:
        kinds = [row for row in found if row["job_type"] == KIND and row["unique_key"] is not None]
        waiting = [row["job_id"] for row in kinds if row["status"] in {"pending", "retrying"}]
        assert waiting == [self.waiting_of_a_kind] * bool(self.waiting_of_a_kind)

    def _each_failure_is_followed_once(self, found: list[dict[str, Any]]) -> None:
        for row in self.rows.values():
            row.failures += row.status == "failed" and not row.has_failed
            row.has_failed = row.status == "failed"
        followed = Counter(row["payload"]["jobId"] for row in found if row["job_type"] == FOLLOWER)
        assert followed == Counter({row.job_id: row.failures for row in self.rows.values()})

    def _steps_are_kept_with_what_they_wrote(self) -> None:
        found = {row["job_id"]: row for row in self.db.execute(READ_STEPS)}
        for row in self.rows.values():
            steps = found[row.job_id]
            assert (steps["positions"], steps["effects"]) == (
                list(range(1, row.steps + 1)),
                row.step_effects,
            )

    @invariant()
    def a_run_completes_at_most_once(self) -> None:
        for row in self.rows.values():
            assert len(row.completed_runs) == len(set(row.completed_runs))
            assert row.attempt - row.before_run <= row.max_attempts - row.before_run

    @invariant()
    def jobs_go_only_legal_ways(self) -> None:
        """One step of the machine is at most one transition of a job."""
        for row in self.rows.values():
            before = self.seen.get(row.job_id, row.status)
            assert before == row.status or row.status in LEGAL[before]
            self.seen[row.job_id] = row.status

    @invariant()
    def no_job_is_forgotten(self) -> None:
        """Somebody will come back to every job that has not ended."""
        for row in self.rows.values():
            if row.status in ENDED or row.status == "processing" or not row.published:
                continue  # nothing to do; the lease runs out; the relay publishes
            if any(message.job_id == row.job_id for message in self.qstash.alive()):
                continue  # QStash delivers
            if row.claimed_late:
                # The one thing left that can hide a dead letter; QStash is asked after an hour.
                assert row.message_id is not None
                continue
            assert any(
                row.message_id in {None, letter.message_id} and row.dlq_id != letter.dlq_id
                for letter in self.qstash.letters
                if letter.job_id == row.job_id
            ), "no message, and no dead letter that would be heard of"

    def teardown(self) -> None:
        """Left alone, everything comes to an end."""
        database.close()  # a step that failed may have left a transaction open
        try:
            self._drain()
        finally:
            self.patch.undo()
            self.db.close()

    def _drain(self) -> None:
        self.qstash.reachable = True
        self.attempts.clear()
        for _ in range(12):
            if all(row.status in ENDED for row in self.rows.values()):
                self.rows_say_what_happened()
                assert "waiting" not in self.children.values()
                return
            for row in self.rows.values():
                if row.status == "processing":
                    self._expire(row)
            self.relay_frees_leases()
            self.relay_publishes()
            for message in self.qstash.alive():
                self._deliver(message, counts=True)
                while self.attempts:
                    attempt = self.attempts.pop()
                    self.qstash.hear(message, self._finish(attempt, "completed", "not"))
            for letter in list(self.qstash.letters):
                self._hear_of(letter)
            self.an_hour_of_silence()
            self.qstash.forget()
            self.rows_say_what_happened()
        raise AssertionError("these jobs never ended: " + str(self.rows))

    # --- the model's half of a step

    def _deliver(self, message: Message, *, counts: bool) -> None:
        row = self.rows[message.job_id]
        claim = executions.claim(
            database.connection(),
            job_id=row.job_id,
            job_type=lifecycle.type,
            lease=Lease(60, message.message_id, None),
        )
        assert claim is not None
        # What is to be cancelled is the relay's.
        abandoned = row.status == "processing" and row.lease_expired and not row.asked_to_stop
        taken = row.waits or abandoned
        if taken:
            if row.status == "processing":
                row.errors.append((row.attempt, EXPIRED))
            if message.message_id != row.message_id and row.message_id is not None:
                row.dlq_id = None
            row.message_id, row.published = message.message_id, True
            row.claimed_late |= not message.alive
            if row.attempt >= row.max_attempts:
                row.status = "failed"
            else:
                row.status, row.attempt, row.lease_expired = "processing", row.attempt + 1, False
        held = taken and row.status == "processing"
        assert (claim.held, claim.status, claim.attempt) == (held, row.status, row.attempt)
        if held:
            self.attempts.append(Attempt(row.job_id, row.attempt, row.run, message))
        elif counts:
            self.qstash.hear(message, _answer(row.status))

    def _finish(self, attempt: Attempt, how: str, dies: str) -> int:
        """Returns the answer's status."""
        row = self.rows[attempt.job_id]
        if dies == "before the record":
            return 500
        if how == "retrying" and attempt.attempt >= row.max_attempts:
            how = "failed"
        holds = row.status == "processing" and row.attempt == attempt.attempt
        if how == "completed":
            self._complete(attempt, holds=holds, commits=dies != "before the commit")
            if dies == "before the commit":
                return 500
        else:
            self._fail(attempt, how, holds=holds)
        if not holds:
            return _answer(row.status)
        if how == "completed":
            row.status = how
            row.completed_runs.append(row.run)
            return 200
        row.errors.append((row.attempt, "OSError"))
        if how == "snoozed":
            row.max_attempts, row.before_run = row.max_attempts + 1, row.before_run + 1
            row.published = False
            row.status = "cancelled" if row.asked_to_stop else "retrying"
            return 200
        if how == "retrying" and row.dlq_id is not None:
            row.published = False
        row.status = how = "cancelled" if row.asked_to_stop else how
        return {"retrying": 500, "failed": 489, "cancelled": 200}[how]

    def _complete(self, attempt: Attempt, *, holds: bool, commits: bool) -> None:
        """As the worker does it: the job's own writes, the record, the commit."""
        context = Context(attempt.job_id, lifecycle.type, attempt.attempt, 9, run=attempt.run)
        context.connection.execute(
            "INSERT INTO effects VALUES (%s, %s)", [attempt.job_id, attempt.run]
        )
        recorded = executions.record_completed(
            context.connection, job_id=attempt.job_id, attempt=attempt.attempt, result=None
        )
        assert recorded is not None
        assert recorded.held == holds
        if holds and commits:
            context.commit()
        else:
            context.rollback()

    def _fail(self, attempt: Attempt, how: Any, *, holds: bool) -> None:
        recorded = executions.record_not_completed(
            database.connection(),
            job_id=attempt.job_id,
            attempt=attempt.attempt,
            status="retrying" if how == "snoozed" else how,
            details={"type": "OSError", "message": "m"},
            counted=how != "snoozed",
            snoozed=how == "snoozed",
        )
        assert recorded is not None
        assert recorded.held == holds

    def _expire(self, row: Row) -> None:
        self.db.execute(
            "UPDATE job_executions SET lease_expires_at = now() - interval '1 s' WHERE job_id = %s",
            [row.job_id],
        )
        row.lease_expired = True

    def _told(self, row: Row) -> None:
        """A job was published, if it could be: QStash has the message that it remembers."""
        if not self.qstash.reachable:
            return
        unpublished = Unpublished(
            row.job_id, lifecycle.type, row.run, row.attempt, row.max_attempts, None, {}, row.dlq_id
        )
        self._confirmed(row, self.qstash.send([unpublished])[row.job_id])

    def _confirmed(self, row: Row, message_id: str | None) -> None:
        row.published, row.message_id, row.dlq_id = True, message_id, None

    def _hear_of(self, letter: DeadLetter) -> None:
        changed = dead_letters.record([letter])
        row = self.rows[letter.job_id]
        speaks = row.message_id == letter.message_id or (row.message_id is None and row.run == 1)
        if row.status in {"completed", "cancelled"} or not speaks or row.dlq_id == letter.dlq_id:
            assert changed == 0
            return
        assert changed == 1
        row.dlq_id = letter.dlq_id
        if not row.waits:
            return
        # After two hours there is only patience with "not now".
        if letter.patience > (7200 if row.overdue else 0) and row.attempt < row.max_attempts:
            row.published = False
        else:
            row.status = "failed"


READ_STEPS = """
SELECT job_id,
       ARRAY(SELECT position FROM job_steps AS step WHERE step.job_id = job.job_id
              ORDER BY position) AS positions,
       (SELECT count(*) FROM step_effects AS effect WHERE effect.job_id = job.job_id) AS effects
  FROM job_executions AS job
"""
READ_EFFECTS = "SELECT job_id, array_agg(run ORDER BY run) AS runs FROM effects GROUP BY job_id"


def _pick(choices: Sequence[Choice], which: int) -> Choice:
    return choices[which % len(choices)]


def _answer(status: str) -> int:
    """How the worker answers a delivery that runs nothing."""
    return {"completed": 200, "cancelled": 200, "failed": 489}.get(status, 409)


def test_nothing_is_lost_or_doubled_whatever_the_order_of_events(
    settings: pytest.MonkeyPatch,
    database_url: str,
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        # No key: a second effect of the same run would be seen.
        connection.execute("CREATE TABLE effects (job_id text NOT NULL, run integer NOT NULL)")
        connection.execute("CREATE TABLE step_effects (job_id text NOT NULL)")
    Lifecycle.url = database_url
    run_state_machine_as_test(Lifecycle, settings=EXAMPLES)


EXAMPLES = settings(
    max_examples=examples(8),
    stateful_step_count=50,
    deadline=None,
    phases=(Phase.generate,),  # shrinking would take minutes; the steps are printed all the same
    # Other orders in each run; what fails is printed as code that repeats it.
    derandomize=False,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


Status = Literal["pending", "processing", "retrying", "completed", "failed", "cancelled"]
PAIRS = [(old, new) for old in LEGAL for new in LEGAL if old != new and new not in LEGAL[old]]


@pytest.mark.parametrize(("old", "new"), PAIRS, ids=[f"{old}-{new}" for old, new in PAIRS])
def test_the_database_refuses_every_way_that_does_not_exist(
    migrated_connection: psycopg.Connection[Any], old: Status, new: Status
) -> None:
    connection = migrated_connection
    with connection.transaction(force_rollback=True):
        connection.execute(
            "INSERT INTO job_executions (job_id, job_type, payload, max_attempts, status,"
            " lease_expires_at, completed_at) VALUES ('j', 'probe', '{}', 1, %s, %s, %s)",
            [old, *_columns_of(old)],
        )
        with pytest.raises(psycopg.errors.CheckViolation, match=f"from {old} to {new}"):
            connection.execute(
                "UPDATE job_executions SET status = %s, lease_expires_at = %s, completed_at = %s",
                [new, *_columns_of(new)],
            )


def _columns_of(status: str) -> tuple[str | None, str | None]:
    """`lease_expires_at` and `completed_at`, as the table's checks want them."""
    return ("now" if status == "processing" else None, "now" if status in ENDED else None)


@pytest.fixture(scope="module")
def migrated_connection(stashjobs_server: Server, stashjobs_template: str) -> Any:
    url = stashjobs_server.create("transitions", template=stashjobs_template)
    with psycopg.connect(url, autocommit=True) as connection:
        yield connection
