"""A real Postgres for one machine, from the binaries of a wheel; nothing to install.

It listens on 127.0.0.1 only, with a generated password, and stops when the process that started it
ends, however that ends (see guard.py).
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import psycopg
from psycopg import sql

from stashjobs.tools.servers import guard, surroundings
from stashjobs.tools.servers.ports import ensure_port_is_free, free_port
from stashjobs.tools.servers.postgres_binaries import (
    PostgresError,
    account_for,
    find_binaries,
    version_of,
    within_reach,
)

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Postgres", "PostgresError"]

NAME = "stashjobs"  # of the role and of the database
STOP_SIGNALS = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
# A commit still survives a crash of Postgres itself (synchronous_commit stays on): only a crash of
# the machine may lose it.
NOT_DURABLE = {
    "fsync": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    "autovacuum_naptime": "10min",
}


class Postgres:
    """One server with its data in `data_dir`.

    Args:
        data_dir: kept between runs. Holds `cluster/`, `password` (0600), `postgres.log`, `lock`.
        port: 0 chooses a free one.
        durable: False for tests: a crash of the machine loses data, a commit costs no fsync.
        options: further settings of postgresql.conf.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int = 0,
        *,
        durable: bool = True,
        options: dict[str, str] | None = None,
    ) -> None:
        self.data_dir = data_dir.absolute()
        self.cluster = self.data_dir / "cluster"
        self.log_file = self.data_dir / "postgres.log"
        self.port = port
        self.options = {**({} if durable else NOT_DURABLE), **(options or {})}
        self._account = account_for(self.data_dir)
        found = find_binaries()
        self._binaries = within_reach(found) if self._account else found
        self._server: guard.Guarded | None = None
        self._lock: int | None = None

    # --- what it is

    @property
    def url(self) -> str:
        """Of the database `stashjobs`, as its owner."""
        return self.url_of(NAME)

    def url_of(self, database: str) -> str:
        """The URL of another database in the same server. Without TLS, whatever PGSSLMODE says: it
        never leaves this machine."""
        server = f"postgresql://{NAME}:{self._password()}@127.0.0.1:{self.port}"
        return f"{server}/{database}?sslmode=disable"

    @property
    def pid(self) -> int | None:
        """Of the server's main process; None while it is stopped."""
        return self._server.pid if self._server else None

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._server is not None and self._server.process.poll() is None

    def bin(self, name: str) -> Path:
        """A program of the same version: psql, pg_dump, pg_restore, ..."""
        return self._binaries / name

    # --- starting and stopping

    def start(self) -> Self:
        """Make the cluster where there is none, start the server and wait until it answers."""
        if self.running:
            return self
        self.data_dir.mkdir(parents=True, exist_ok=True)
        if self._account:
            # The server's user passes through; what is secret in here has its own mode.
            self.data_dir.chmod(0o711)
        self._take_lock()
        self.log_file.touch(mode=0o600)
        try:
            self._end_leftover()
            if not (self.cluster / "PG_VERSION").exists():
                self._initdb()
            self._launch()
            with surroundings.kept_away():
                self._ensure_database()
        except BaseException:
            self.stop("immediate")
            raise
        return self

    def stop(self, mode: str = "fast") -> None:
        """Stop the server: "smart" waits for clients, "fast" ends them, "immediate" is a crash."""
        if self._server:
            process = self._server.process
            if process.poll() is None:
                process.send_signal(STOP_SIGNALS[mode])
                try:
                    process.wait(timeout=30)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            self._server.release()
            self._server = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def kill(self) -> None:
        """SIGKILL, as if the machine had gone; `start` recovers."""
        if self._server:
            self._server.process.kill()
            self._server.process.wait()
        self.stop()

    def restart(self, mode: str = "fast") -> None:
        """Stop and start on the same port."""
        self.stop(mode)
        self.start()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: "TracebackType | None",
    ) -> None:
        self.stop()

    # --- the steps

    def _take_lock(self) -> None:
        """One owner at a time: who holds the lock may end a server that it finds there."""
        lock = os.open(self.data_dir / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        give_up = time.monotonic() + 0.5
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                if time.monotonic() > give_up:
                    os.close(lock)
                    raise PostgresError(f"{self.data_dir} is in use by another process") from None
                time.sleep(0.05)
            else:
                self._lock = lock
                return

    def _password(self) -> str:
        path = self.data_dir / "password"
        if not path.exists():
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_urlsafe(24))
        return path.read_text()

    def _initdb(self) -> None:
        # Made under another name and renamed at the end: what an interrupted initdb leaves behind
        # is never taken for a cluster.
        unfinished = self.data_dir / "cluster.unfinished"
        for leftover in (unfinished, self.cluster):
            shutil.rmtree(leftover, ignore_errors=True)
        unfinished.mkdir(mode=0o700)
        handle, name = tempfile.mkstemp(dir=self.data_dir)
        with os.fdopen(handle, "w") as file:
            file.write(self._password())
        if self._account:
            for path in (unfinished, Path(name)):
                os.chown(path, self._account.uid, self._account.gid)
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync"]
        if version_of(self._binaries) >= 16:
            # Iterations slow down guessing; 24 random bytes cannot be guessed, and
            # each of a test run's thousands of connections would pay for them.
            options.append("--set=scram_iterations=1")
        try:
            self._run(
                [self.bin("initdb"), "-U", NAME, "-D", unfinished, f"--pwfile={name}", *options]
            )
        finally:
            Path(name).unlink()
        unfinished.rename(self.cluster)

    def _run(self, command: list[str | Path]) -> None:
        """Run one of Postgres's programs to its end, as the server's user."""
        with self.log_file.open("ab") as log:
            started = log.tell()
            program = guard.start(
                command,
                output=log,
                environment=_environment(),
                directory=Path("/"),
                account=self._account,
            )
            try:
                code = program.process.wait(timeout=120)
            finally:
                program.kill()
                program.release()
        if code:
            raise PostgresError(f"{command[0]} failed:\n{self._log_since(started)}")

    def _launch(self) -> None:
        wanted = self.port
        for _ in range(5):  # another program may take a free port before Postgres does
            self.port = wanted or free_port()
            if wanted:
                ensure_port_is_free(wanted)
            started = self.log_file.stat().st_size if self.log_file.exists() else 0
            self._server = self._spawn()
            if self._wait_until_ready():
                return
            said = self._log_since(started)
            self._discard()
            if "could not bind" not in said or wanted:
                raise PostgresError(f"Postgres did not start:\n{said}")
        raise PostgresError("no free port found for Postgres")

    def _discard(self) -> None:
        """Forget a server that ended by itself, or kill one that never became ready."""
        if self._server:
            self._server.process.kill()
            self._server.process.wait()
            self._server.release()
            self._server = None

    def _spawn(self) -> guard.Guarded:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_timezone": "UTC",
            **self.options,
        }
        flags = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self.log_file.open("ab") as log:
            return guard.start(
                [self.bin("postgres"), "-D", self.cluster, *flags],
                output=log,
                environment=_environment(),
                directory=Path("/"),
                stop_signal=STOP_SIGNALS["fast"],
                grace=15,
                account=self._account,
            )

    def _wait_until_ready(self) -> bool:
        """The last line of postmaster.pid is the server's own word on its state."""
        give_up = time.monotonic() + 60  # crash recovery may take its time
        while self._server and self._server.process.poll() is None:
            lines = _read_lines(self.cluster / "postmaster.pid")
            if len(lines) > 7 and lines[0] == str(self._server.pid) and "ready" in lines[7]:
                return True
            if time.monotonic() > give_up:
                return False
            time.sleep(0.01)
        return False

    def _ensure_database(self) -> None:
        with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
            # The role is called as the functions' schema is, in which its own tables would go.
            connection.execute(
                sql.SQL("ALTER ROLE {} SET search_path = public").format(sql.Identifier(NAME))
            )
        try:
            psycopg.connect(self.url, connect_timeout=5).close()
        except psycopg.OperationalError as error:
            if "does not exist" not in str(error):
                raise PostgresError(f"Postgres at port {self.port}: {error}") from error
            with psycopg.connect(self.url_of("postgres"), autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(NAME)))

    def _end_leftover(self) -> None:
        """End a server that lost its owner, and remove the pid file of one that is gone.

        The lock is ours, so no living process owns a server in here. Postgres itself refuses to
        start when the number in a stale file belongs to any other process of the same user.
        """
        pid_file = self.cluster / "postmaster.pid"
        lines = _read_lines(pid_file)
        if not lines or not lines[0].isdigit():
            return
        pid = int(lines[0])
        if self._is_our_server(pid):
            for stop_signal, patience in ((signal.SIGINT, 15.0), (signal.SIGKILL, 5.0)):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, stop_signal)
                give_up = time.monotonic() + patience
                while self._is_our_server(pid) and time.monotonic() < give_up:
                    time.sleep(0.02)
        pid_file.unlink(missing_ok=True)

    def _is_our_server(self, pid: int) -> bool:
        command = _command_of(pid)
        return "postgres" in command and str(self.cluster) in command

    def _log_since(self, offset: int) -> str:
        with self.log_file.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace").strip() or f"(see {self.log_file})"


def _environment() -> dict[str, str]:
    """No PG* variable of the caller may reach the server."""
    return {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": "UTC"}


def _read_lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []


def _command_of(pid: int) -> str:
    """The command line of a process; empty when there is none."""
    if Path("/proc/self").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
        except OSError:
            return ""
    listing = ["ps", "-ww", "-o", "command=", "-p", str(pid)]
    return subprocess.run(listing, capture_output=True, text=True, check=False).stdout
