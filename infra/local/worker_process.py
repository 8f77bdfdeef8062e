"""One execution environment of one function: a process that runs AWS's own runtime client.

The process talks to a Runtime API of its own (AWS docs, "Using the Lambda runtime API for custom
runtimes"). The address it is given has no room for a path, so every process gets its own port.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

from infra.local.own_site import website_guard
from stashjobs.tools.servers import guard

VERSION = "/2018-06-01/runtime"
INIT_LIMIT = 10.0  # seconds; AWS docs, "Understanding the Lambda execution environment lifecycle"


@dataclass
class Invocation:
    """One event on its way through a process."""

    request_id: str
    payload: bytes
    timeout: float
    arn: str
    trace_id: str
    answer: asyncio.Future[bytes]
    started: asyncio.Event = field(default_factory=asyncio.Event)

    def fail(self, kind: str, message: str) -> None:
        """Answer with an error in Lambda's own words."""
        self.refuse({"errorType": kind, "errorMessage": f"RequestId: {self.request_id} {message}"})

    def refuse(self, error: object) -> None:
        if not self.answer.done():
            self.answer.set_exception(FunctionFailedError(error))

    def succeed(self, payload: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result(payload)


class FunctionFailedError(Exception):
    """The function answered with an error, or did not answer."""

    def __init__(self, error: object) -> None:
        super().__init__(error)
        self.error = error


class WorkerProcess:
    """A warm process; it handles one invocation at a time.

    Args:
        handler: `package.module.function`.
        code_version: tells the caller whether the process still runs the code of today.
        log: receives every line that the process writes.
        python: the command that starts the Python it runs in.
    """

    def __init__(
        self,
        handler: str,
        *,
        code_version: int,
        log: Callable[[str], None],
        python: Sequence[str] = (sys.executable,),
    ) -> None:
        self.handler = handler
        self.code_version = code_version
        self.idle_since = time.monotonic()
        self.current: Invocation | None = None
        self.exited = asyncio.Event()
        self.usable = True
        self._log = log
        self._python = python
        self._waiting: asyncio.Queue[Invocation] = asyncio.Queue(maxsize=1)
        self._program: guard.Guarded | None = None
        self._runner: web.AppRunner | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int:
        if self._program is None:
            raise RuntimeError("the process was not started")
        return self._program.pid

    @property
    def busy(self) -> bool:
        return self.current is not None

    # --- life

    async def start(self, environment: Mapping[str, str], directory: Path) -> None:
        """Open the Runtime API and start the process."""
        application = web.Application(
            client_max_size=8 * 1024 * 1024, middlewares=[website_guard()]
        )
        application.add_routes(
            [
                web.get(f"{VERSION}/invocation/next", self._next),
                web.post(f"{VERSION}/invocation/{{id}}/response", self._response),
                web.post(f"{VERSION}/invocation/{{id}}/error", self._error),
                web.post(f"{VERSION}/init/error", self._init_error),
            ]
        )
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.01)
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, "127.0.0.1", 0).start()
            host, port = self._runner.addresses[0][:2]
            self._launch({**environment, "AWS_LAMBDA_RUNTIME_API": f"{host}:{port}"}, directory)
        except BaseException:
            self.usable = False
            await self._close()
            raise

    def _launch(self, environment: Mapping[str, str], directory: Path) -> None:
        read_end, write_end = os.pipe()
        try:
            self._program = guard.start(
                [*self._python, "-m", "awslambdaric", self.handler],
                environment=environment,
                directory=directory,
                output=write_end,
            )
        except BaseException:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        self._read_output(read_end)
        self._wait_for_exit(self._program)

    def _read_output(self, read_end: int) -> None:
        """A thread, because it ends by itself with the last writer and needs no loop to close."""

        def read() -> None:
            with os.fdopen(read_end, errors="replace") as lines:
                for line in lines:
                    self._log(line.rstrip("\n"))

        threading.Thread(target=read, daemon=True, name=f"output {self.handler}").start()

    def _wait_for_exit(self, program: guard.Guarded) -> None:
        loop = asyncio.get_running_loop()

        def wait() -> None:
            code = program.process.wait()
            with contextlib.suppress(RuntimeError):  # the loop is closed: no one reads it
                loop.call_soon_threadsafe(self._on_exit, code)

        threading.Thread(target=wait, daemon=True, name=f"exit {self.handler}").start()

    def _on_exit(self, code: int) -> None:
        self.usable = False
        if self.current:
            self.current.fail("Runtime.ExitError", f"Error: {_exit_reason(code)}")
            self.current = None
        self._ending = asyncio.ensure_future(self._close())

    async def _close(self) -> None:
        if self._program:
            self._program.kill()  # what the handler started and left behind
            self._program.release()
        if self._runner:
            await self._runner.cleanup()
        self.exited.set()

    def kill(self) -> None:
        """SIGKILL, to the process and whatever it started."""
        self.usable = False
        if self._program and not self.exited.is_set():
            self._program.kill()

    def freeze(self) -> None:
        """SIGSTOP: it does nothing, and holds what it holds."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT: it goes on where it was, and knows of nothing."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._program and not self.exited.is_set():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._program.pid, number)

    # --- one invocation

    async def run(self, invocation: Invocation) -> bytes:
        """Hand `invocation` to the process and wait for its answer, at most until its deadline."""
        self.current = invocation
        self._waiting.put_nowait(invocation)
        try:
            await self._run_until_deadline(invocation)
            return await invocation.answer
        finally:
            if self.current is invocation:
                self.current = None
            self.idle_since = time.monotonic()

    async def _run_until_deadline(self, invocation: Invocation) -> None:
        started: asyncio.Future[Any] = asyncio.ensure_future(invocation.started.wait())
        either: set[asyncio.Future[Any]] = {started, invocation.answer}
        limit = INIT_LIMIT + invocation.timeout
        await asyncio.wait(either, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
        started.cancel()
        if invocation.started.is_set():
            await asyncio.wait({invocation.answer}, timeout=invocation.timeout)
        if not invocation.answer.done():
            invocation.fail(
                "Sandbox.Timedout", f"Error: Task timed out after {invocation.timeout:.2f} seconds"
            )
            self.kill()

    # --- the Runtime API

    async def _next(self, request: web.Request) -> web.Response:
        invocation = await self._waiting.get()
        if request.transport is None or request.transport.is_closing():
            invocation.fail("Runtime.ExitError", "Error: Runtime exited without providing a reason")
            return web.Response(status=410)
        invocation.started.set()
        deadline = int((time.time() + invocation.timeout) * 1000)
        headers = {
            "Lambda-Runtime-Aws-Request-Id": invocation.request_id,
            "Lambda-Runtime-Deadline-Ms": str(deadline),
            "Lambda-Runtime-Invoked-Function-Arn": invocation.arn,
            "Lambda-Runtime-Trace-Id": invocation.trace_id,
        }
        return web.Response(
            body=invocation.payload, headers=headers, content_type="application/json"
        )

    async def _response(self, request: web.Request) -> web.Response:
        try:
            payload = await request.read()
        except web.HTTPRequestEntityTooLarge:
            payload = None
        if not (invocation := self._answered(request)):
            return _refusal("InvalidRequestID")
        if payload is None or len(payload) > 6 * 1024 * 1024:
            invocation.refuse(
                {
                    "errorType": "Function.ResponseSizeTooLarge",
                    "errorMessage": "Response payload size exceeded maximum allowed payload size "
                    "(6291556 bytes).",
                }
            )
            return _refusal("RequestEntityTooLarge", 413)
        invocation.succeed(payload)
        return web.json_response({"status": "OK"}, status=202)

    async def _error(self, request: web.Request) -> web.Response:
        error = _parse(await request.read())
        if not (invocation := self._answered(request)):
            return _refusal("InvalidRequestID")
        invocation.refuse(error)
        return web.json_response({"status": "OK"}, status=202)

    async def _init_error(self, request: web.Request) -> web.Response:
        self.usable = False  # the client ends after this
        error = _parse(await request.read())
        message = error.get("errorMessage", "") if isinstance(error, dict) else ""
        self._log(f"cannot start: {message}")
        if self.current:
            self.current.refuse(error)
        return web.json_response({"status": "OK"}, status=202)

    def _answered(self, request: web.Request) -> Invocation | None:
        current = self.current
        return current if current and current.request_id == request.match_info["id"] else None


def _refusal(kind: str, status: int = 400) -> web.Response:
    return web.json_response({"errorType": kind, "errorMessage": kind}, status=status)


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return {"errorType": "Unknown", "errorMessage": body.decode(errors="replace")}


def _exit_reason(code: int) -> str:
    """In the words of Lambda's log."""
    if code == 0:
        return "Runtime exited without providing a reason"
    if code < 0:
        word = {signal.SIGKILL: "killed", signal.SIGSEGV: "segmentation fault"}
        name = word.get(signal.Signals(-code), signal.strsignal(-code) or str(-code))
        return f"Runtime exited with error: signal: {name.lower()}"
    return f"Runtime exited with error: exit status {code}"
