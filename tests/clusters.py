"""A Postgres that starts in a tenth of a second: a copy of one that was made and migrated before.

`initdb` takes longer than many a test that needs a server of its own. A server that finds a cluster
in its folder goes on with that, as after any restart.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
from typing import TYPE_CHECKING

from stashjobs.store.migrations import migrate
from stashjobs.tools.servers.postgres import Postgres

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

_folder: list[Path] = []


def keep_in(factory: pytest.TempPathFactory) -> None:
    """Where the one that is copied is to be, once somebody needs it: one for all workers."""
    own = factory.getbasetemp()
    _folder[:] = [own.parent if "PYTEST_XDIST_WORKER" in os.environ else own]


def make_ready(data_dir: Path) -> Path:
    """Put a stopped server with a migrated database into a folder that does not exist yet."""
    [folder] = _folder
    ready, done = folder / "ready", folder / "ready.done"
    with (folder / "ready.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            with Postgres(ready, durable=False) as server:
                migrate(server.url)
            done.touch()
    data_dir.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    # As shutil does not, it keeps the files' owner, which is not us where we are root.
    subprocess.run(["cp", "-a", ready, data_dir], check=True)
    return data_dir
