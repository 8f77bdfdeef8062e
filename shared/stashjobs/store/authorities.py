"""Whom to believe about the server's certificate, where `POSTGRES_URL` asks for that to be checked.

libpq looks for `~/.postgresql/root.crt`, which a Lambda does not have, and the authorities of RDS
are in no system's store. So `verify-ca` and `verify-full` are checked by certifi's list and RDS's
own, unless the URL names a file (`sslrootcert`).
"""

from __future__ import annotations

import atexit
import os
import tempfile
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

CHECKING_MODES = frozenset({"verify-ca", "verify-full"})
OF_RDS = Path(__file__).with_name("rds_authorities.pem")

_written: tuple[int, str] | None = None  # by which process, and the file


def parameters(url: str) -> dict[str, str]:
    """What to add to the connection parameters of a Postgres URL: `sslrootcert` or nothing."""
    asked = conninfo_to_dict(url)
    mode = asked.get("sslmode") or os.environ.get("PGSSLMODE")
    if mode not in CHECKING_MODES:
        return {}
    own = Path(os.environ.get("HOME") or "/", ".postgresql", "root.crt")
    if asked.get("sslrootcert") or os.environ.get("PGSSLROOTCERT") or own.exists():
        return {}
    return {"sslrootcert": _file()}


def _file() -> str:
    """The two lists in the one file that libpq takes: written once in a process, and removed when
    that ends."""
    global _written  # noqa: PLW0603 - this module is its one owner
    if _written is None or _written[0] != os.getpid() or not Path(_written[1]).exists():
        import certifi

        with tempfile.NamedTemporaryFile(
            prefix="stashjobs-authorities-", suffix=".pem", delete=False
        ) as file:
            file.write(Path(certifi.where()).read_bytes() + b"\n" + OF_RDS.read_bytes())
        _written = os.getpid(), file.name
        atexit.register(_remove, *_written)
    return _written[1]


def _remove(process: int, name: str) -> None:
    if process == os.getpid():
        Path(name).unlink(missing_ok=True)
