"""Cold starts: from the start of a process to its first answered delivery.

    python -m benchmarks.cold_start [--runs 15] [--only send_email] [--quick]

AWS's own runtime client runs each function, against a Runtime API on this machine, from what `make
build` makes, built for this machine. Beside them run an empty handler, one that does with bare
psycopg what every delivery must, and the usual way: FastAPI, Mangum, qstash's Receiver, psycopg and
the provider's SDK in one function. They take turns. Every process starts with no bytecode missing
and the files in the machine's cache: reading them from Lambda's disk, and starting its virtual
machine, come on top for all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
from psycopg.types.json import Jsonb

from benchmarks import measuring
from benchmarks.contenders import deliveries
from infra.local.lambda_runtime import new_trace_id
from infra.local.stack import Stack
from infra.local.worker_process import FunctionFailedError, Invocation, WorkerProcess
from tests.artefacts import ENVIRONMENT, FUNCTIONS, Artefacts

if TYPE_CHECKING:
    from collections.abc import Sequence

EMPTY, BARE, USUAL = "empty handler", "bare psycopg", "FastAPI + Mangum + Receiver + Resend"
USUAL_SAME = "the same, with send-email's template and Powertools' logger"
OURS_EMPTY = "stashjobs, a job with an empty body"
JOBS = {
    "send_email": "send-email",
    "create_notification": "create-notification",
    "process_webhook": "process-webhook",
    "process_stripe_webhook": "process-stripe-webhook",
    "export_data": "export-data",
    "generate_report": "generate-report",
    "cleanup_old_data": "cleanup-old-data",
}
HERE = Path(__file__).parent / "contenders" / "cold"
USUAL_PACKAGES = (
    *("fastapi", "mangum", "qstash", "psycopg[binary]", "resend"),
    *("aws-lambda-powertools", "jinja2"),
)
EMAIL = {
    "to": "ada@example.com",
    "template": "welcome",
    "data": {"name": "Ada", "getStartedUrl": "https://app.example.com/start"},
}


@dataclass
class Contender:
    """A function to start, and the delivery that it answers first."""

    name: str
    handler: str
    paths: tuple[Path, ...]
    route: str
    job_type: str
    payload: Any = field(default_factory=dict)
    carries_payload: bool = False
    measured: list[Measured] = field(default_factory=list)


def contenders(artefacts: Artefacts, usual: Path, only: str | None) -> list[Contender]:
    """All of them, those to compare with first."""
    runtime, layer = artefacts.folder / "runtime", artefacts.layer

    def any_job(name: str, handler: str, *paths: Path) -> Contender:
        return Contender(name, handler, (HERE, *paths), deliveries.PATH, deliveries.JOB_TYPE)

    found = [
        any_job(EMPTY, "empty.handler", runtime),
        any_job(BARE, "bare.handler", layer, runtime),
        *(
            Contender(
                name,
                f"{module}.handler",
                (HERE, usual, runtime),
                "/api/jobs/email",
                "send-email",
                EMAIL,
                carries_payload=True,
            )
            for name, module in ((USUAL, "usual"), (USUAL_SAME, "usual_same"))
        ),
        any_job(OURS_EMPTY, "empty_job.handler", layer, runtime),
    ]
    for folder, job_type in JOBS.items():
        if only not in {None, folder}:
            continue
        name = "".join(part.capitalize() for part in folder.split("_")) + "Function"
        route = next(iter(FUNCTIONS[name].routes)).path if FUNCTIONS[name].routes else ""
        found.append(
            Contender(
                job_type,
                FUNCTIONS[name].handler,
                (artefacts.folder / name, layer, runtime),
                route=route or f"/api/jobs/{folder}",
                job_type=job_type,
                payload=payload_of(job_type),
            )
        )
    return found


def payload_of(job_type: str) -> Any:
    """The job's own example: what each does is then what it is for."""
    from stashjobs.job_type import find, load

    load()
    return EMAIL if job_type == "send-email" else find(job_type).example()


@dataclass(frozen=True)
class Measured:
    """One cold start: seconds by the clock, seconds of CPU, and the process's largest size."""

    seconds: float
    cpu: float
    megabytes: float


def event_for(contender: Contender, connection: psycopg.Connection[Any], key: str) -> Any:
    """A delivery of a job that was just recorded."""
    job_id = str(uuid.uuid4())
    connection.execute(
        "INSERT INTO job_executions (job_id, job_type, payload, max_attempts, published_at)"
        " VALUES (%s, %s, %s, 4, now())",
        [job_id, contender.job_type, Jsonb(contender.payload)],
    )
    message: dict[str, Any] = {"jobId": job_id, "type": contender.job_type}
    if contender.carries_payload:
        message["payload"] = contender.payload
    return deliveries.event(message, key, contender.route)


async def start_once(
    contender: Contender, python: Sequence[str], environment: dict[str, str], event: Any
) -> Measured:
    """Start the function's process, have it answer, and end it.

    Raises:
        SystemExit: It did not answer 200.
    """
    lines: list[str] = []
    process = WorkerProcess(contender.handler, code_version=0, log=lines.append, python=python)
    invocation = Invocation(
        request_id=str(uuid.uuid4()),
        payload=json.dumps(event).encode(),
        timeout=60,
        arn="arn:aws:lambda:us-east-1:123456789012:function:measured",
        trace_id=new_trace_id(),
        answer=asyncio.get_running_loop().create_future(),
    )
    began = time.perf_counter()
    await process.start(environment, contender.paths[0])
    try:
        answer = json.loads(await process.run(invocation))
        seconds = time.perf_counter() - began
        measured = Measured(seconds, cpu_seconds(process.pid), peak_megabytes(process.pid))
    except FunctionFailedError as error:
        raise SystemExit(f"{contender.name}: {error}\n" + "\n".join(lines)) from None
    finally:
        process.kill()
        await process.exited.wait()
    if answer["statusCode"] != 200:
        raise SystemExit(f"{contender.name}: {answer}\n" + "\n".join(lines))
    return measured


def cpu_seconds(process: int) -> float:
    """What it has used, its ended threads too: those of now to the nanosecond (proc(5),
    "schedstat"), all of them in ticks of ten milliseconds ("stat")."""
    threads = Path(f"/proc/{process}/task").iterdir()
    now = sum(int((each / "schedstat").read_text().split()[0]) for each in threads) / 1e9
    after_name = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    ever = (int(after_name[11]) + int(after_name[12])) / os.sysconf("SC_CLK_TCK")
    # Where they differ by more than a tick there were threads that have ended.
    return max(now, ever - 1 / os.sysconf("SC_CLK_TCK"))


def peak_megabytes(process: int) -> float:
    """The process's own; ru_maxrss would begin with what its parent had."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def build_usual(artefacts: Artefacts) -> Path:
    """The usual way's packages, for the same Python, compiled as ours are."""
    folder = artefacts.folder / "usual"
    if not folder.exists():
        subprocess.run(
            [
                *("uv", "pip", "install", "--quiet", "--system-certs", "--only-binary", ":all:"),
                *("--target", folder, "--python-version", artefacts.version),
                *("--python-platform", artefacts.variables["PLATFORM"]),
                *("--constraint", measuring.ROOT / "requirements/bench.txt", *USUAL_PACKAGES),
            ],
            env=ENVIRONMENT,
            check=True,
        )
    for each in (folder, artefacts.folder / "runtime", HERE):
        subprocess.run(
            [
                *(artefacts.python, "-m", "compileall", "-q", "-f"),
                *("--invalidation-mode", "unchecked-hash", each),
            ],
            check=True,
            stdout=sys.stderr,
        )
    return folder


async def measure(artefacts: Artefacts, runs: int, only: str | None) -> list[Contender]:
    """Have them all started, in turns; the first turn, which finds cold files, is not counted."""
    usual = build_usual(artefacts)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        async with Stack(measuring.ROOT, Path(folder), durable=False) as stack:
            # What needs them waits for them once, here.
            found = contenders(artefacts, usual, only)
            with psycopg.connect(stack.environment["POSTGRES_URL"], autocommit=True) as connection:
                for turn in range(runs + 1):
                    measuring.progress(f"cold_start: turn {turn} of {runs}")
                    for each in found:
                        environment = {
                            **artefacts.environment("SendEmailFunction"),
                            **stack.environment,
                            "PYTHONPATH": os.pathsep.join(map(str, each.paths)),
                            "_HANDLER": each.handler,
                            "TEMPLATES": str(measuring.ROOT / "functions/send_email/templates"),
                        }
                        key = stack.environment["QSTASH_CURRENT_SIGNING_KEY"]
                        event = event_for(each, connection, key)
                        one = await start_once(each, artefacts.command, environment, event)
                        if turn:
                            each.measured.append(one)
    return found


def report(found: Sequence[Contender]) -> str:
    """The table."""
    by_name = {each.name: each for each in found}
    bare, usual, same = (by_name[name].measured for name in (BARE, USUAL, USUAL_SAME))
    rows = []
    for each in found:
        cpu = [one.cpu for one in each.measured]
        rows.append(
            [
                each.name,
                f"{statistics.median(one.seconds for one in each.measured) * 1000:,.0f}",
                f"{statistics.median(cpu) * 1000:,.0f}",
                f"{measuring.paired_ratio([one.cpu for one in bare], cpu):.2f}",
                f"{measuring.paired_ratio(cpu, [one.cpu for one in usual]):.2f}",
                f"{measuring.paired_ratio(cpu, [one.cpu for one in same]):.2f}",
                f"{statistics.median(one.megabytes for one in each.measured):.0f}",
            ]
        )
    headers = ["", "ms", "CPU ms", "x bare psycopg", "faster than the usual way"]
    headers += ["than the same work", "peak MB"]
    return measuring.table(headers, rows)


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="benchmarks.cold_start", description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--only", choices=sorted(JOBS), help="of our jobs")
    parser.add_argument("--artefacts", type=Path, help="keep what is built here, and use it again")
    parser.add_argument("--quick", action="store_true", help="2 runs, send_email alone")
    options = parser.parse_args(argv)
    runs, only = (2, "send_email") if options.quick else (options.runs, options.only)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        artefacts = Artefacts.for_this_machine(options.artefacts or Path(folder))
        if not artefacts.layer.exists():
            measuring.progress("cold_start: building the layer and the functions")
            artefacts.build()
        found = asyncio.run(measure(artefacts, runs, only))
    print(report(found))
    print(
        f"\n{runs} runs, in turns; the ratios are of CPU time. {measuring.machine()}, "
        f"functions on Python {artefacts.version}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
