"""An app that enqueues in every way there is, and knows what it was promised."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import psycopg

from infra.local.chaos.job import chaos
from stashjobs import batch
from stashjobs.config import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from stashjobs.producer.enqueue import Enqueued

When = Literal["completed", "ended"]
WHEN: list[When] = ["completed", "ended"]


@dataclass
class Promises:
    """What the app may rely on.

    Attributes:
        accepted: number by job id: `enqueue` returned, or the transaction was committed.
        withdrawn: numbers whose transaction was rolled back: no such job.
        unknown: numbers whose enqueue raised: there may be a job, as Postgres went away in between.
        permanent: numbers that are to fail for good.
    """

    accepted: dict[str, int] = field(default_factory=dict)
    withdrawn: set[int] = field(default_factory=set)
    unknown: set[int] = field(default_factory=set)
    permanent: set[int] = field(default_factory=set)


class Producer:
    """Enqueues until so many jobs were accepted."""

    def __init__(self, jobs: int, seed: int, backlog: Callable[[], int]) -> None:
        self.promises = Promises()
        self._jobs = jobs
        self._random = random.Random(seed)
        self._backlog = backlog
        self._last = 0

    @property
    def progress(self) -> float:
        """From 0 to 1."""
        return min(1.0, len(self.promises.accepted) / self._jobs)

    def run(self, give_up: float) -> None:
        """Until the jobs are enqueued, or it is `give_up` (Unix seconds). Waits while there is
        enough to do, so that a retry does not queue behind thousands of first deliveries."""
        ways = [self._many, self._one, self._same_twice, self._in_a_transaction, self._graph]
        while time.time() < give_up:
            left = self._jobs - len(self.promises.accepted)
            if left <= 0:
                return
            if self._backlog() > 300:
                time.sleep(0.02)
                continue
            [way] = self._random.choices(ways, [6, 3, 1, 3, 3])
            numbers = self._numbers(min(left, self._random.randint(1, 50)))
            self.promises.unknown.update(numbers)
            try:
                way(numbers)
            except psycopg.Error:
                time.sleep(0.3)  # Postgres is away; an app would answer 503

    # --- the ways

    def _many(self, numbers: list[int]) -> None:
        self._accept(chaos.enqueue_many([self._payload(one) for one in numbers]), numbers)

    def _one(self, numbers: list[int]) -> None:
        delay = self._random.choice([None, None, 1])
        self._accept([chaos.enqueue(self._payload(numbers[0]), delay=delay)], numbers[:1])

    def _same_twice(self, numbers: list[int]) -> None:
        key = f"key:{numbers[0]}"
        payload = self._payload(numbers[0])
        first = chaos.enqueue(payload, idempotency_key=key)
        self._accept([first], numbers[:1])
        again = chaos.enqueue(payload, idempotency_key=key)
        if again.created or again.job_id != first.job_id:
            raise RuntimeError(f"two jobs have the idempotency key {key}")

    def _in_a_transaction(self, numbers: list[int]) -> None:
        """Committed or rolled back; after a commit the app publishes, or dies before it can."""
        commits, publishes = self._random.random() < 0.6, self._random.random() < 0.5
        with psycopg.connect(settings.postgres_url(), connect_timeout=2) as connection:
            payloads = [self._payload(one) for one in numbers]
            enqueued = chaos.enqueue_many(payloads, connection=connection)
            if not commits:
                connection.rollback()
                self.promises.withdrawn.update(numbers)
                self.promises.unknown.difference_update(numbers)
                return
            connection.commit()
            self._accept(enqueued, numbers)
        if publishes:
            for one in enqueued:
                one.publish()

    def _graph(self, numbers: list[int]) -> None:
        """A batch: one, others that wait for it, others that do not, and the one at the end."""
        if len(numbers) < 4:
            return self._many(numbers)
        last, first, *rest = numbers
        at_the_end = self._payload(last, parents=[first, *rest], when="ended")
        with batch("chaos", on_ended=chaos, payload=at_the_end) as made:
            parent = made.enqueue(chaos, self._payload(first))
            children = [
                made.enqueue(
                    chaos, self._payload(one, parents=[first], when=when), after=[parent], when=when
                )
                for one in rest[::2]
                for when in [self._random.choice(WHEN)]
            ]
            others = made.enqueue_many(chaos, [self._payload(one) for one in rest[1::2]])
        ends = [made.on_ended] if made.on_ended else []
        self._accept([*ends, parent, *children, *others], [last, first, *rest[::2], *rest[1::2]])
        return None

    # --- bookkeeping

    def _numbers(self, count: int) -> list[int]:
        first = self._last + 1
        self._last += count
        return list(range(first, first + count))

    def _payload(
        self, number: int, parents: Sequence[int] = (), when: When = "completed"
    ) -> dict[str, Any]:
        permanent = self._random.random() < 0.01
        if permanent:
            self.promises.permanent.add(number)
        return {
            "number": number,
            "failures": self._random.choices([0, 1, 2], [92, 6, 2])[0],
            "permanent": permanent,
            "seconds": self._random.choice([0, 0, 0, 0.02]),
            "steps": self._random.choice([0, 0, 0, 1, 3]),
            "parents": list(parents),
            "when": when,
        }

    def _accept(self, enqueued: Sequence[Enqueued], numbers: Sequence[int]) -> None:
        for one, number in zip(enqueued, numbers, strict=True):
            self.promises.accepted[one.job_id] = number
            self.promises.unknown.discard(number)
