"""The local system, made to be broken: each part stops and starts while the others run."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Any

from infra.local.gateway import Gateway
from infra.local.lambda_runtime import LambdaRuntime
from infra.local.qstash import Faults, Limits, QStashOptions, QStashServer
from infra.local.qstash.transport import NoFaults
from infra.local.running import Running
from infra.local.stack import WORKER_ROLE, in_thread, make_worker_role
from infra.local.template import read_template
from stashjobs.store.migrations import migrate
from stashjobs.tools.servers.ports import free_port
from stashjobs.tools.servers.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Callable

    from infra.local.worker_process import WorkerProcess

ROOT = Path(__file__).parents[3]
CONCURRENCY = 4


class System(Running):
    """Postgres, QStash, gateway and functions; no schedules, since the relay runs on demand.

    Args:
        home: where the data is.
        template: the functions; their code is in the repository.
        faults: between QStash and the gateway.
        parallelism: deliveries at once.
        on_line: receives each line that a function writes, with the function's name.

    Attributes:
        environment: the settings, for the functions and for a producer in this process.
    """

    def __init__(
        self,
        home: Path,
        template: Path,
        *,
        faults: Faults | None = None,
        parallelism: int = CONCURRENCY,
        on_line: Callable[[str, str], None] | None = None,
    ) -> None:
        super().__init__()
        self.home = home
        self.postgres = Postgres(home / "postgres", durable=False)
        self.environment: dict[str, str] = {}
        self.qstash: QStashServer
        self.runtime: LambdaRuntime
        self._template = template
        self._faults = faults or NoFaults()
        self._parallelism = parallelism
        self._on_line = on_line or (lambda name, line: None)
        self._port = free_port()

    async def _start(self) -> None:
        self._exits.push_async_callback(in_thread, self.postgres.stop)
        await self.start_postgres()
        worker_url = await in_thread(lambda: make_worker_role(self.postgres.url, WORKER_ROLE))
        await in_thread(lambda: migrate(self.postgres.url, role=WORKER_ROLE))
        self._exits.push_async_callback(self.stop_qstash)
        await self.start_qstash()
        self.runtime = LambdaRuntime(
            read_template(self._template),
            self.environment,
            ROOT,
            log=self._on_line,
            concurrency=CONCURRENCY,
        )
        gateway = Gateway(self.runtime)
        self._exits.push_async_callback(self.runtime.stop)
        self._exits.push_async_callback(gateway.stop)
        await gateway.start()
        self.environment.update(STAGE="local", POSTGRES_URL=worker_url, BASE_URL=gateway.url)
        self.configure(RELAY_MESSAGES_PER_SECOND="500")

    def configure(self, **settings: str) -> None:
        """Give these settings to the processes that start from now on."""
        self.environment.update(settings)
        self.runtime.environment.update(self.environment)

    async def invoke(self, function: str, event: object) -> Any:
        """Call a function as a schedule does. None where it failed."""
        return (await self.runtime.invoke(function, event)).payload

    # --- what can be broken

    async def start_postgres(self) -> None:
        await in_thread(self.postgres.start)

    async def stop_postgres(self, mode: str = "fast") -> None:
        await in_thread(lambda: self.postgres.stop(mode))

    async def start_qstash(self) -> None:
        """Its messages, and after the first start its credentials, are remembered."""
        qstash = QStashServer(
            QStashOptions(
                port=self._port,
                state=self.home / "qstash.sqlite",
                faults=self._faults,
                limits=Limits(max_parallelism=self._parallelism),
                shutdown_grace=0,
            )
        )
        self.qstash = await qstash.start()
        self.environment.update(self.qstash.environment)

    async def stop_qstash(self) -> None:
        """What is under way is cut off."""
        await self.qstash.stop()

    def kill_process(self, function: str, which: int = 0) -> bool:
        """SIGKILL one of a function's processes, a busy one where there is one."""
        process = self._choose(function, which)
        if process is None:
            return False
        process.kill()
        return True

    async def freeze_process(self, function: str, which: int, seconds: float) -> None:
        """Stop one of a function's processes for so long, a busy one where there is one."""
        if process := self._choose(function, which):
            process.freeze()
            await asyncio.sleep(seconds)
            process.thaw()

    def _choose(self, function: str, which: int) -> WorkerProcess | None:
        living = self.runtime.processes(function)
        living = [each for each in living if each.busy] or living
        return living[which % len(living)] if living else None
