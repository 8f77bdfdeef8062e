"""What every benchmark shares: progress, ratios of interleaved rounds, a table, a Postgres.

Times on a shared machine drift, so contenders take turns, round by round, and what is compared is
the median of the ratios within a round. CPU time drifts least.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from stashjobs.tools.servers.postgres import Postgres

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
# The comparators' own environment (requirements/bench.txt).
BENCH_PYTHON = ROOT / ".venv-bench" / "bin" / "python"
SIGNING_KEY = "sig_benchmarks_only_current_0000"
SETTINGS = {
    "QSTASH_CURRENT_SIGNING_KEY": SIGNING_KEY,
    "QSTASH_NEXT_SIGNING_KEY": "sig_benchmarks_only_next_0000000",
    "QSTASH_TOKEN": "benchmarks-only",
    "BASE_URL": "https://jobs.example.test",
    "STAGE": "local",
    "RESEND_API_KEY": "re_benchmarks_only",
    "RESEND_FROM_EMAIL": "Benchmarks <jobs@example.com>",
}


def progress(text: str) -> None:
    """One line on standard error, in place of the last one where that is a terminal."""
    end = "\r" if sys.stderr.isatty() else "\n"
    print(f"  {text:<76}", end=end, file=sys.stderr, flush=True)


def table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table: the first column left, the others right."""
    lines = [headers, ["---", *["---:"] * (len(headers) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def paired_ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """The median of theirs / ours, round by round."""
    return statistics.median(b / a for a, b in zip(ours, theirs, strict=True))


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that `percent` per cent of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def machine() -> str:
    """One line for the end of a table."""
    processors = Path("/proc/cpuinfo")
    lines = processors.read_text().splitlines() if processors.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.processor()
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}"
    )


@contextlib.contextmanager
def postgres(*, migrated: bool = True, **options: str) -> Iterator[Postgres]:
    """A fresh Postgres with our tables, not durable: a commit waits for no disk, so what is left to
    compare is work."""
    from stashjobs.store import migrations

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings = {"shared_buffers": "256MB", **options}
        with Postgres(Path(folder) / "postgres", durable=False, options=settings) as server:
            if migrated:
                migrations.migrate(server.url)
            yield server


def require_comparators() -> None:
    """Stop, with what to do, where the comparators are not installed."""
    if not BENCH_PYTHON.exists():
        raise SystemExit("the comparators are not installed; run this as `make bench NAME=...`")


class Contender:
    """A process of the comparators' environment that does rounds of work when it is told to
    (`contenders.rounds`).

    Args:
        module: below `benchmarks.contenders`.
        environment: its settings.
        arguments: of its command line.
    """

    def __init__(self, module: str, environment: Mapping[str, str], *arguments: str) -> None:
        self.name = module
        paths = os.pathsep.join([str(ROOT), str(ROOT / "shared")])
        inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": paths}
        self._process = subprocess.Popen(
            [BENCH_PYTHON, "-m", f"benchmarks.contenders.{module}", *arguments],
            cwd=ROOT,
            env={**inherited, **SETTINGS, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def ask(self, **question: Any) -> Any:
        """Have it do one round, and wait for what it measured."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None  # noqa: S101 - both are pipes
        assert stdout is not None  # noqa: S101
        stdin.write(json.dumps(question) + "\n")
        stdin.flush()
        line = stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} ended with code {self._process.wait()}; see above")
        return json.loads(line)
