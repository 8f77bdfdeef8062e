"""`python -m infra.local.chaos`: many jobs, everything breaks, nothing may be lost or doubled."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import random
import shutil
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from infra.local import pgbouncer
from infra.local.chaos import archived
from infra.local.chaos.faults import BadNetwork
from infra.local.chaos.job import LEDGERS, clean_up
from infra.local.chaos.lost_answers import LosingAnswers
from infra.local.chaos.producer import Producer
from infra.local.chaos.system import ROOT, System
from infra.local.chaos.verdict import judge, table
from infra.local.s3 import S3
from infra.local.stack import in_thread

TEMPLATE = Path(__file__).with_name("template.yaml")
OUTAGE_SECONDS = 30.0
# From so many jobs on, there is one long outage too.
JOBS_FOR_OUTAGE = 1000
# Statements after which a job is another one, and how many of their answers are lost.
DECISIVE = (
    b"stashjobs.claim",
    b"stashjobs.complete",
    b"stashjobs.fail",
    b"stashjobs.keep_step",
    b"COMMIT",
)
LOST_ANSWERS = 0.02
POOL_SIZE = 10
# An enqueue publishes by itself within this time; after that the relay does.
QUIET_SECONDS = 2.0

COUNT_LEFT = """
SELECT count(*) FROM job_executions WHERE status NOT IN ('completed', 'failed', 'cancelled')
"""


@dataclass(frozen=True, order=True)
class Disturbance:
    """What is broken when so much (0 to 1) has been enqueued."""

    when: float
    what: str
    seconds: float = 0.0
    which: int = 0


def plan(jobs: int, seed: int) -> list[Disturbance]:
    """The disturbances of a run, in order."""
    dice = random.Random(seed)
    disturbances = []
    for _ in range(max(1, jobs // 2000)):
        disturbances += [
            Disturbance(dice.random(), what, dice.uniform(0, 2))
            for what in ("postgres fast", "postgres immediate", "qstash")
        ]
    for _ in range(max(4, jobs // 200)):
        what = dice.choice(["ChaosFunction", "RelayFunction", "CleanUpFunction"])
        disturbances.append(
            Disturbance(dice.random(), f"freeze {what}", dice.uniform(1, 6), dice.randrange(4))
        )
    for _ in range(max(5, jobs // 120)):
        what = dice.choices(["ChaosFunction", "RelayFunction", "CleanUpFunction"], [5, 1, 2])[0]
        disturbances.append(Disturbance(dice.random(), f"kill {what}", which=dice.randrange(4)))
    if jobs >= JOBS_FOR_OUTAGE:
        disturbances.append(Disturbance(0.5, "postgres fast", OUTAGE_SECONDS))
    return sorted(disturbances)


class Run:
    """One run, from an empty system to the verdict."""

    def __init__(self, jobs: int, seed: int, give_up: float) -> None:
        self.network = BadNetwork(seed)
        self.left = -1
        self._jobs = jobs
        self._seed = seed
        self._give_up = give_up
        self._began = time.time()
        self._last_disturbance = ""
        self._dice = random.Random(seed)
        self._exits = contextlib.ExitStack()
        self._frozen: set[asyncio.Task[None]] = set()

    async def run(self, home: Path) -> int:
        with self._exits, (home / "functions.log").open("w", buffering=1) as log:
            system = System(
                home,
                TEMPLATE,
                faults=self.network,
                on_line=lambda name, line: print(name, line, file=log),
            )
            async with system:
                self._add_archive(system, home)
                self._put_between(system, home)
                os.environ.update(system.environment)
                # What the producer says belongs to the functions' lines.
                logging.basicConfig(stream=log, format="Producer %(message)s")
                await in_thread(lambda: _make_ledgers(system.postgres.url))
                return await self._break(system)

    def _put_between(self, system: System, home: Path) -> None:
        """What is between the functions and Postgres: a network that loses answers, and, where
        the program is there, PgBouncer."""
        url = system.postgres.url
        if binary := shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin"):
            (home / "pgbouncer").mkdir()
            pooler = pgbouncer.running(binary, home / "pgbouncer", url, pool_size=POOL_SIZE)
            url = self._exits.enter_context(pooler).url_of(url)
        else:
            print("without a pooler: pgbouncer is missing", flush=True)
        port = urlsplit(url).port or 0
        self.answers = self._exits.enter_context(LosingAnswers(port, self._loses))
        system.runtime.environment["POSTGRES_URL"] = url.replace(
            f":{port}/", f":{self.answers.port}/"
        )

    def _add_archive(self, system: System, home: Path) -> None:
        s3 = S3(ROOT, 0, home / "s3.log")
        self._exits.callback(s3.stop)
        s3.start()
        system.configure(**s3.environment)

    def _loses(self, data: bytes) -> bool:
        """Whether the answer to this is lost: of what decides about a job, one in so many."""
        return any(words in data for words in DECISIVE) and self._dice.random() < LOST_ANSWERS

    async def _break(self, system: System) -> int:
        producer = Producer(self._jobs, self._seed, lambda: system.qstash.pending)
        background = [
            asyncio.create_task(work)
            for work in (
                self._relay(system),
                self._relay(system),  # another one, for when one of them is frozen
                self._show_progress(system, producer),
            )
        ]
        try:
            disturbing = asyncio.create_task(self._disturb(system, producer))
            cleaning = asyncio.create_task(self._clean_up(producer))
            await in_thread(lambda: producer.run(self._give_up))
            await asyncio.gather(disturbing, cleaning)
            await self.network.settle()
            await self._end(system)
        finally:
            for each in background:
                each.cancel()
            await asyncio.gather(*background, return_exceptions=True)
        verdict = await in_thread(
            lambda: judge(system.postgres.url, producer.promises, self.network.first_tries)
        )
        if producer.progress < 1:
            verdict.lost.append(f"only {verdict.enqueued} jobs were enqueued in time")
        print(table(verdict, self.network.sent, time.time() - self._began), flush=True)
        print(f"answers of Postgres that were lost: {self.answers.lost}", flush=True)
        for story in (*verdict.lost, *verdict.doubled, *verdict.ghosts, *verdict.early)[:20]:
            print(story)
        return 0 if verdict.kept else 1

    async def _end(self, system: System) -> None:
        """Until every job has ended, and no clean-up has left something half done."""
        url = system.postgres.url
        while time.time() < self._give_up:
            await asyncio.sleep(0.2)
            if await in_thread(lambda: _count_left(url, -1)) == 0:
                if await in_thread(lambda: archived.count_unfinished(url)) == 0:
                    return
                await in_thread(lambda: clean_up.enqueue({}))

    async def _clean_up(self, producer: Producer) -> None:
        """The schedule of the clean-up, with a day of a second."""
        while producer.progress < 1 and time.time() < self._give_up:
            with contextlib.suppress(psycopg.Error):
                await in_thread(lambda: clean_up.enqueue({}, unique="clean-up"))
            await asyncio.sleep(1)

    async def _relay(self, system: System) -> None:
        """The schedule of functions/relay, with a minute of a second."""
        while True:
            await system.invoke("RelayFunction", {"quiet_seconds": QUIET_SECONDS})
            await asyncio.sleep(1)

    async def _disturb(self, system: System, producer: Producer) -> None:
        for disturbance in plan(self._jobs, self._seed):
            while producer.progress < disturbance.when:
                if time.time() > self._give_up:
                    return
                await asyncio.sleep(0.02)
            self._last_disturbance = disturbance.what
            if disturbance.what.startswith("freeze "):
                self._freeze(system, disturbance)
            else:
                await _do(system, disturbance)
        if self._frozen:
            await asyncio.wait(self._frozen)

    def _freeze(self, system: System, disturbance: Disturbance) -> None:
        """In the background: everything else goes on, and goes wrong, meanwhile."""
        function = disturbance.what.removeprefix("freeze ")
        work = system.freeze_process(function, disturbance.which, disturbance.seconds)
        task = asyncio.create_task(work)
        self._frozen.add(task)
        task.add_done_callback(self._frozen.discard)

    async def _show_progress(self, system: System, producer: Producer) -> None:
        while True:
            self.left = await in_thread(lambda: _count_left(system.postgres.url, self.left))
            if producer.progress < 1:
                self.left = -1
            print(
                f"{time.time() - self._began:5.0f} s  {len(producer.promises.accepted)} enqueued, "
                f"{self.network.sent} delivered, {'?' if self.left < 0 else self.left} left  "
                f"[{self._last_disturbance}]",
                file=sys.stderr,
                flush=True,
            )
            await asyncio.sleep(1 if producer.progress == 1 else 5)


async def _do(system: System, disturbance: Disturbance) -> None:
    kind, _, detail = disturbance.what.partition(" ")
    if kind == "kill":
        system.kill_process(detail, disturbance.which)
    elif kind == "postgres":
        await system.stop_postgres(detail)
        await asyncio.sleep(disturbance.seconds)
        await system.start_postgres()
    else:
        await system.stop_qstash()
        await asyncio.sleep(disturbance.seconds)
        await system.start_qstash()


def _make_ledgers(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(LEDGERS)
        archived.make_ready(connection)


def _count_left(url: str, unknown: int) -> int:
    with (
        contextlib.suppress(psycopg.Error),
        psycopg.connect(url, connect_timeout=2) as connection,
    ):
        return int((connection.execute(COUNT_LEFT).fetchone() or (unknown,))[0])
    return unknown


def main() -> int:
    """Exit code 0 when nothing was lost and nothing doubled."""
    parser = argparse.ArgumentParser(prog="chaos", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=None, help="repeats a run's disturbances")
    parser.add_argument("--seconds", type=float, default=1200, help="give up after")
    parser.add_argument("--home", type=Path, default=None, help="keep the data and the logs here")
    options = parser.parse_args()
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    print(f"chaos: {options.jobs} jobs, --seed {seed}", flush=True)
    run = Run(options.jobs, seed, time.time() + options.seconds)
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as temporary:
        home = options.home or Path(temporary)
        home.mkdir(parents=True, exist_ok=True)
        return asyncio.run(run.run(home))


if __name__ == "__main__":
    sys.exit(main())
