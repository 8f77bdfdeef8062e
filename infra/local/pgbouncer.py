"""The real PgBouncer, in front of a local Postgres."""

from __future__ import annotations

import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from stashjobs.tools.servers import guard
from stashjobs.tools.servers.ports import free_port
from stashjobs.tools.servers.postgres_binaries import account_for

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@dataclass
class PgBouncer:
    """A running one. Its own users are the roles of the URLs that it was started with."""

    port: int
    process: guard.Guarded

    def url_of(self, url: str) -> str:
        """The same database, through PgBouncer."""
        parts = urlsplit(url)
        netloc = parts.netloc.replace(f":{parts.port}", f":{self.port}")
        return urlunsplit(parts._replace(netloc=netloc))


@contextmanager
def running(
    binary: str,
    directory: Path,
    *urls: str,
    pool_size: int = 1,
    ignore_startup_parameters: str = "",
    port: int = 0,
) -> Iterator[PgBouncer]:
    """PgBouncer in transaction mode.

    Args:
        binary: The program.
        directory: For its files.
        urls: Databases of one server; their roles may connect.
        pool_size: Connections to the server per role and database.
        ignore_startup_parameters: As in its configuration.
        port: 0 chooses a free one.

    Raises:
        RuntimeError: It did not start; with its log.
    """
    port = port or free_port()
    server = urlsplit(urls[0])
    users = {f'"{parts.username}" "{parts.password}"' for parts in map(urlsplit, urls)}
    (directory / "users.txt").write_text("\n".join(sorted(users)) + "\n")
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": str(port),
        "unix_socket_dir": "",
        "auth_type": "scram-sha-256",
        "auth_file": str(directory / "users.txt"),
        "pool_mode": "transaction",
        "default_pool_size": str(pool_size),
        # A client that waits for longer found a mistake in the test; the default is two minutes.
        "query_wait_timeout": "20",
        # After a failed login, to a Postgres that restarts, say; the default is 15 seconds.
        "server_login_retry": "1",
        "ignore_startup_parameters": ignore_startup_parameters,
    }
    lines = [f"{name} = {value}" for name, value in settings.items()]
    configuration = directory / "pgbouncer.ini"
    configuration.write_text(
        f"[databases]\n* = host={server.hostname} port={server.port}\n\n[pgbouncer]\n"
        + "\n".join(lines)
        + "\n"
    )
    log = directory / "pgbouncer.log"
    # It refuses to run as root, as Postgres does; and it dies with the test.
    with log.open("wb") as output:
        process = guard.start(
            [binary, configuration], output=output, account=account_for(configuration)
        )
    try:
        _wait_until_it_listens(process, port, log)
        yield PgBouncer(port, process)
    finally:
        process.kill()  # since 1.23 it would wait on SIGTERM for its clients to leave
        process.process.wait()
        process.release()


def _wait_until_it_listens(process: guard.Guarded, port: int, log: Path) -> None:
    give_up = time.monotonic() + 60
    while process.process.poll() is None and time.monotonic() < give_up:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except ConnectionRefusedError:
            time.sleep(0.01)
        else:
            return
    raise RuntimeError(f"PgBouncer did not start:\n{log.read_text()}")
