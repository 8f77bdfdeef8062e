"""The real local system, each part of which a test can stop, start and kill."""

from __future__ import annotations

import asyncio
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest_asyncio
from psycopg.rows import dict_row

from infra.local.chaos.system import System
from infra.local.qstash import DeliveryError, DeliveryRequest, DeliveryResponse, Send
from stashjobs.producer import qstash_client
from stashjobs.recovery import dead_letters, relay
from stashjobs.store import database
from tests.clusters import make_ready
from tests.faults.jobs import LEDGERS, faulty

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import pytest

TEMPLATE = Path(__file__).with_name("template.yaml")
PATIENCE_SECONDS = 120.0
ENDED = {"completed", "failed", "cancelled"}
FAR = 3600.0

Row = dict[str, Any]


class Network:
    """Between QStash and the functions. `answer` decides; None lets a request through."""

    def __init__(self) -> None:
        self.requests: list[DeliveryRequest] = []
        self.answers: list[int] = []
        self.answer: Callable[[DeliveryRequest], DeliveryResponse | Exception | None] = (
            lambda _request: None
        )

    async def deliver(self, send: Send, request: DeliveryRequest) -> DeliveryResponse:
        self.requests.append(request)
        decided = self.answer(request)
        if isinstance(decided, Exception):
            raise decided
        response = decided or await send(request)
        self.answers.append(response.status)
        return response

    def lose_callbacks(self) -> None:
        """Failure callbacks never arrive."""
        self.answer = lambda request: (
            DeliveryError("lost") if request.url.endswith("/delivery-failed") else None
        )


class Faults:
    """The system, and what tests ask of it."""

    def __init__(self, system: System, network: Network, crashes: Path) -> None:
        self.system = system
        self.network = network
        self.crashes = crashes

    async def enqueue(self, count: int = 1, /, **payload: Any) -> list[str]:
        """Jobs as an app enqueues them, and their ids."""
        enqueued = await asyncio.to_thread(faulty.enqueue_many, [payload] * count)
        return [one.job_id for one in enqueued]

    async def relay(self) -> relay.Report:
        """One run of the relay, which takes also what was enqueued a moment ago."""
        return await asyncio.to_thread(relay.run, time.time() + 30, quiet_seconds=0)

    async def query(self, statement: str, *parameters: Any) -> list[Row]:
        def run() -> list[Row]:
            with psycopg.connect(
                self.system.postgres.url, row_factory=dict_row, autocommit=True
            ) as connection:
                cursor = connection.execute(statement.encode(), parameters)
                return cursor.fetchall() if cursor.description else []

        return await asyncio.to_thread(run)

    async def row(self, job_id: str) -> Row:
        [row] = await self.query("SELECT * FROM job_executions WHERE job_id = %s", job_id)
        return row

    async def rows(self) -> list[Row]:
        return await self.query("SELECT * FROM job_executions ORDER BY job_id")

    async def ended(self, *, relaying: bool = True) -> list[Row]:
        """Every job's row, once all have come to an end."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while True:
                if relaying:
                    await self.relay()
                rows = await self.rows()
                if all(row["status"] in ENDED for row in rows):
                    return rows
                await asyncio.sleep(0.1)

    async def until(self, condition: Callable[[], object]) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not condition():  # noqa: ASYNC110 - it is about rows and files
                await asyncio.sleep(0.02)

    async def effects(self) -> dict[str, int]:
        """How often each job had its effect, by id."""
        rows = await self.query("SELECT job_id, count(*) AS times FROM effects GROUP BY job_id")
        return {row["job_id"]: row["times"] for row in rows}


class Shared:
    """A system for the tests of a module, one after the other: to start one, and its functions,
    takes longer than most of these tests."""

    def __init__(self, system: System, network: Network, crashes: Path) -> None:
        self.faults = Faults(system, network, crashes)
        self._state = system.home / "qstash.sqlite"
        self._empty = system.home / "qstash.empty"

    async def prepare(self) -> None:
        """Keep what QStash knows when it knows of no message: its keys and its token."""
        system = self.faults.system
        await system.stop_qstash()
        shutil.copy(self._state, self._empty)
        await system.start_qstash()
        await self.faults.query(LEDGERS)

    async def empty(self) -> None:
        """Forget whatever the test before has left behind or broken."""
        faults = self.faults
        system, network = faults.system, faults.network
        await system.stop_qstash()
        for leftover in system.home.glob(f"{self._state.name}*"):
            leftover.unlink()
        shutil.copy(self._empty, self._state)
        for order in faults.crashes.iterdir():
            order.unlink()
        await system.start_postgres()
        functions = system.runtime.template.functions
        await faults.until(
            lambda: (
                not any(each.busy for name in functions for each in system.runtime.processes(name))
            )
        )
        await faults.query("TRUNCATE job_executions, effects, external_effects CASCADE")
        known = dict(system.environment)
        await system.start_qstash()
        if system.environment != known:  # which the processes that run do not know
            system.configure()
            for name in functions:
                while system.kill_process(name):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
        network.requests.clear()
        network.answers.clear()
        network.answer = lambda _request: None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shared]:
    folder, network = tmp_path_factory.mktemp("faults"), Network()
    crashes = folder / "crashes"
    crashes.mkdir()
    make_ready(folder / "home" / "postgres")
    async with System(folder / "home", TEMPLATE, faults=network) as system:
        system.configure(CRASHES=str(crashes))
        shared = Shared(system, network, crashes)
        await shared.prepare()
        yield shared


@pytest_asyncio.fixture(loop_scope="module")
async def faults(shared: Shared, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Faults]:
    """A running system with an empty table."""
    await shared.empty()
    monkeypatch.setattr(dead_letters, "_looked_at", None)
    for name, value in shared.faults.system.environment.items():
        monkeypatch.setenv(name, value)
    yield shared.faults
    database.close()
    qstash_client.close()
