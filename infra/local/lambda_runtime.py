"""Runs functions as Lambda does: in warm processes, one event at a time, up to a deadline.

AWS docs, "Understanding the Lambda execution environment lifecycle" and "Understanding Lambda
function scaling". Code that changed takes effect with the next event.
"""

import asyncio
import contextlib
import importlib.util
import json
import os
import secrets
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.template import ACCOUNT, REGION, Function, Template
from infra.local.worker_process import FunctionFailedError, Invocation, WorkerProcess

PAYLOAD_LIMIT = 6 * 1024 * 1024  # AWS docs, "Lambda quotas": synchronous request and response
# What a process needs of the machine; everything else comes from the template or the stack, as in
# AWS: a function that reads an undeclared variable must fail here too.
INHERITED = ("PATH", "HOME", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True)
class InvocationResult:
    """What Lambda's Invoke answers.

    Attributes:
        status: 200 when the function ran, also where it failed; 429 throttled; 413 too large.
        payload: the function's answer.
        error: `errorType`, `errorMessage`, ... where there is no answer.
    """

    status: int
    payload: Any = None
    error: Any = None

    @property
    def succeeded(self) -> bool:
        return self.status == 200 and self.error is None


class LambdaRuntime:
    """All functions of a template.

    Args:
        template: see `read_template`.
        environment: goes before the template's own variables.
        root: the repository; handlers are imported from here and from `shared/`.
        log: receives every line that a function writes, and its name.
        concurrency: processes per function where the template reserves no number.
        idle_timeout: seconds after which a process that has nothing to do is ended.
    """

    def __init__(
        self,
        template: Template,
        environment: Mapping[str, str],
        root: Path,
        *,
        log: Callable[[str, str], None] | None = None,
        concurrency: int = 4,
        idle_timeout: float = 300,
    ) -> None:
        self.template = template
        self.environment = dict(environment)
        self.root = root.absolute()
        self.log = log or (lambda name, line: print(f"{name} | {line}", file=sys.stderr))
        self._concurrency = concurrency
        self._idle_timeout = idle_timeout
        self._processes: dict[str, list[WorkerProcess]] = {}
        self._code = {name: _Code(self.root, each) for name, each in template.functions.items()}
        self._running: set[asyncio.Task[InvocationResult]] = set()
        self._reaper: asyncio.Task[None] | None = None
        self._stopped = False

    def processes(self, function_name: str) -> list[WorkerProcess]:
        """The processes of a function that can still be given work."""
        return [each for each in self._processes.get(function_name, []) if each.usable]

    async def invoke(self, function_name: str, event: object) -> InvocationResult:
        """Run a function with `event`. A caller that is cancelled does not stop the function."""
        if self._reaper is None:
            self._reaper = asyncio.create_task(self._end_idle_processes())
        task = asyncio.create_task(self._invoke(self.template.functions[function_name], event))
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def stop(self) -> None:
        """End every process."""
        self._stopped = True
        if self._reaper:
            self._reaper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._reaper
        everyone = [each for some in self._processes.values() for each in some]
        for process in everyone:
            process.kill()
        await asyncio.gather(*(each.exited.wait() for each in everyone))
        await asyncio.gather(*self._running, return_exceptions=True)

    # --- one invocation

    async def _invoke(self, function: Function, event: object) -> InvocationResult:
        payload = json.dumps(event).encode()
        if len(payload) > PAYLOAD_LIMIT:
            message = f"Request must be smaller than {PAYLOAD_LIMIT} bytes for the InvokeFunction"
            return InvocationResult(
                413, error={"errorType": "RequestTooLargeException", "errorMessage": message}
            )
        process, is_new = self._choose(function)
        if process is None:
            self.log(function.name, "throttled: every process is busy")
            return InvocationResult(
                429,
                error={
                    "errorType": "TooManyRequestsException",
                    "errorMessage": "Rate Exceeded.",
                },
            )
        invocation = _invocation(function, payload)
        process.current = invocation  # taken, before anything else can run
        try:
            if is_new:
                await process.start(self._environment_of(function), self.root)
            answer = await process.run(invocation)
            return InvocationResult(200, payload=json.loads(answer) if answer else None)
        except FunctionFailedError as failure:
            self._report(function, failure.error)
            return InvocationResult(200, error=failure.error)
        finally:
            if process.code_version != self._code[function.name].version:
                process.kill()

    def _choose(self, function: Function) -> tuple[WorkerProcess | None, bool]:
        """An idle process with today's code, else a new one, else none."""
        version = self._code[function.name].current_version()
        living = self.processes(function.name)
        idle = [each for each in living if not each.busy]
        for each in idle:
            if each.code_version != version:
                each.kill()
                living.remove(each)
        # The one that was used last: the others may then become idle enough to end.
        fresh = [each for each in idle if each.code_version == version]
        if fresh:
            return max(fresh, key=lambda each: each.idle_since), False
        limit = self._concurrency if function.concurrency is None else function.concurrency
        if self._stopped or len(living) >= limit:
            return None, False
        process = WorkerProcess(
            function.handler,
            code_version=version,
            log=lambda line: self.log(function.name, line),
        )
        known = self._processes.get(function.name, [])
        self._processes[function.name] = [
            *(each for each in known if not each.exited.is_set()),
            process,
        ]
        return process, True

    def _report(self, function: Function, error: object) -> None:
        if isinstance(error, dict):
            self.log(function.name, f"{error.get('errorType')}: {error.get('errorMessage')}")
        else:
            self.log(function.name, str(error))

    async def _end_idle_processes(self) -> None:
        while True:
            await asyncio.sleep(min(self._idle_timeout / 2, 10))
            for name in self._processes:
                for process in self.processes(name):
                    idle_for = time.monotonic() - process.idle_since
                    if not process.busy and idle_for > self._idle_timeout:
                        process.kill()

    # --- what a process sees

    def _environment_of(self, function: Function) -> dict[str, str]:
        """AWS docs, "Working with Lambda environment variables": the reserved ones."""
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        paths = (self.root, self.root / function.code, self.root / "shared")
        inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
        return {
            "LANG": "en_US.UTF-8",
            "PYTHONUTF8": "1",
            "TZ": ":UTC",
            **inherited,
            **function.environment,
            **self.environment,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_EXECUTION_ENV": f"AWS_Lambda_python{version}",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(function.memory),
            "AWS_LAMBDA_FUNCTION_NAME": function.name,
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
            "AWS_LAMBDA_LOG_FORMAT": function.log_format,
            "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function.name}",
            "AWS_LAMBDA_LOG_STREAM_NAME": f"local/[$LATEST]{secrets.token_hex(16)}",
            "AWS_REGION": REGION,
            "LAMBDA_TASK_ROOT": str(self.root),
            "PYTHONPATH": os.pathsep.join(str(path) for path in dict.fromkeys(paths)),
            "_HANDLER": function.handler,
        }


def _invocation(function: Function, payload: bytes) -> Invocation:
    return Invocation(
        request_id=str(uuid.uuid4()),
        payload=payload,
        timeout=function.timeout,
        arn=f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function.name}",
        trace_id=new_trace_id(),
        answer=asyncio.get_running_loop().create_future(),
    )


def new_trace_id() -> str:
    """AWS docs, "AWS X-Ray tracing header"."""
    root = f"1-{int(time.time()):08x}-{secrets.token_hex(12)}"
    return f"Root={root};Parent={secrets.token_hex(8)};Sampled=0"


class _Code:
    """The files that a function is made of; knows when one of them has changed.

    These are the function's own folder, the modules beside it, and the layer.
    """

    def __init__(self, root: Path, function: Function) -> None:
        module = function.handler.rpartition(".")[0].replace(".", "/")
        found = [
            folder
            for folder in (root / module, root / function.code / module)
            if folder.with_suffix(".py").exists()
        ]
        own = (found[0] if found else root / function.code / module).parent
        self._trees = (own, root / "shared")
        self._flat = own.parent if own.parent.is_relative_to(root) else own
        self._seen: dict[str, tuple[int, int]] = {}
        self.version = 0

    def current_version(self) -> int:
        """A number that grows with every change."""
        now = dict(self._files())
        if now != self._seen:
            changed = {path for path, _ in now.items() ^ self._seen.items()}
            if self._seen:
                for path in changed:
                    _forget_bytecode(path)
            self._seen = now
            self.version += 1
        return self.version

    def _files(self) -> Iterator[tuple[str, tuple[int, int]]]:
        yield from _scan(self._flat, deep=False)
        for tree in self._trees:
            yield from _scan(tree, deep=True)


def _scan(folder: Path | str, *, deep: bool) -> Iterator[tuple[str, tuple[int, int]]]:
    try:
        entries = list(os.scandir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return
    for entry in entries:
        if entry.is_dir():
            if deep and entry.name != "__pycache__":
                yield from _scan(entry.path, deep=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                status = entry.stat()
                yield entry.path, (status.st_mtime_ns, status.st_size)


def _forget_bytecode(path: str) -> None:
    """Python compares whole seconds and the size: a quick edit of equal length would be missed."""
    if path.endswith(".py"):
        Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)
