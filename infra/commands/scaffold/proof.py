"""Proof that what is about to be written does what it is to do: the templates are read back, and
the new handler is imported beside all the others, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from stashjobs.errors import StashjobsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from infra.commands.scaffold.wanted import Wanted
    from infra.local.template import Template

LOAD = """
import json, sys
job_type, *folders = sys.argv[1:]
sys.path[:0] = folders
from stashjobs.producer import schedules
from stashjobs.job_type import (find, load)
load()
made = find(job_type)
made.read_payload(made.example())
clocks = [[each.cron, each.timezone] for each in schedules.declared() if each.job is made]
own = [made.endpoint, made.retries, made.timeout, made.encrypted, made.parallelism]
print(json.dumps([*own, clocks]))
"""


class Misfit(StashjobsError):
    """A file does not look as expected. The message names it, and what was looked for."""


def read(path: Path) -> Template:
    """The template there.

    Raises:
        Misfit: It cannot be read.
    """
    from infra.local.template import read_template

    try:
        return read_template(path)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise Misfit(f"{path.name} cannot be read: {' '.join(str(error).split())}") from error


def prove(root: Path, texts: Mapping[str, str], wanted: Wanted) -> None:
    """Put the texts (by their paths) into a folder of their own and look at what they do there.

    Raises:
        Misfit: They do something else than was meant.
    """
    with tempfile.TemporaryDirectory() as name:
        _prove_the_templates(Path(name), texts, wanted)
        _prove_the_handler(Path(name), root, wanted)


def prove_templates(texts: Mapping[str, str], wanted: Wanted) -> None:
    """The same of a type whose code is there already.

    Raises:
        Misfit: As `prove`.
    """
    with tempfile.TemporaryDirectory() as name:
        _prove_the_templates(Path(name), texts, wanted)


def _prove_the_templates(folder: Path, texts: Mapping[str, str], wanted: Wanted) -> None:
    for path, text in texts.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    for path in texts:
        if path.endswith(".yaml"):
            read(folder / path)
    _prove_the_function(folder, wanted)


def _prove_the_function(folder: Path, wanted: Wanted) -> None:
    from infra.local.template import Route

    found = read(folder / "template.yaml").functions.get(f"{wanted.logical}Function")
    if found is None or found.routes != (Route("POST", wanted.endpoint),) or not found.concurrency:
        raise Misfit(
            f"template.yaml: {wanted.logical}Function would not be read back as it was meant"
        )


def _prove_the_handler(folder: Path, root: Path, wanted: Wanted) -> None:
    command = [sys.executable, "-B", "-c", LOAD, wanted.type]
    done = subprocess.run(
        [*command, str(folder), str(root), str(root / "shared")],
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise Misfit(f"functions/{wanted.folder}/handler.py could not be imported: {reason}")
    clocks = [] if wanted.schedule is None else [[wanted.schedule, wanted.timezone]]
    meant = [
        wanted.endpoint,
        wanted.retries,
        wanted.timeout,
        wanted.encrypted,
        wanted.parallelism,
        clocks,
    ]
    if json.loads(done.stdout.splitlines()[-1]) != meant:
        raise Misfit(f"functions/{wanted.folder}/handler.py would not be read back as it was meant")
