"""Starts a program that cannot outlive the process that asked for it.

A parent that is killed with SIGKILL runs no clean-up, so the clean-up lives elsewhere: beside each
program sits a watcher that waits on a pipe whose other end only the parent holds. The kernel closes
that end however the parent dies, and the watcher then stops the program.

Run as a script (`python -I -S guard.py SIGNAL SECONDS UID:GID CAPABILITY PROGRAM ...`), this file
forks the watcher and then *becomes* the program, so the parent sees the program's own process id
and exit status. The program leads a session of its own: Ctrl-C in the terminal does not reach it.

The watcher is in the program's process group, and the system does not reuse a process id while a
group carries it: the watcher can never signal a stranger.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CAP_DAC_OVERRIDE = 1  # capabilities(7): bypass read, write and search permission checks


@dataclass(frozen=True)
class Account:
    """The user a program runs as, and whether it may pass directories closed to that user."""

    uid: int
    gid: int
    pass_closed_directories: bool = False


@dataclass
class Guarded:
    """A running program and the pipe that keeps it alive."""

    process: subprocess.Popen[bytes]
    leash: int

    @property
    def pid(self) -> int:
        return self.process.pid

    def kill(self) -> None:
        """SIGKILL to the program and to whatever it started (and to the watcher)."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def release(self) -> None:
        """Let go of the leash; a program that still runs is stopped by its watcher."""
        if self.leash >= 0:
            os.close(self.leash)
            self.leash = -1


def start(
    command: "Sequence[str | Path]",
    *,
    environment: "Mapping[str, str] | None" = None,
    directory: Path | None = None,
    output: "int | IO[bytes] | None" = None,
    stop_signal: signal.Signals = signal.SIGKILL,
    grace: float = 0.0,
    account: Account | None = None,
    pass_handles: "Sequence[int]" = (),
) -> Guarded:
    """Start `command`. If this process dies, it gets `stop_signal`, and SIGKILL `grace` s later.

    The program has the open files `pass_handles` under the same numbers.
    """
    read_end, write_end = os.pipe()
    who = f"{account.uid}:{account.gid}" if account else "-"
    capability = "dac" if account and account.pass_closed_directories else "-"
    arguments = [str(int(stop_signal)), str(grace), who, capability, *map(str, command)]
    try:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, *arguments],
            stdin=read_end,
            stdout=output,
            stderr=output,
            env=dict(environment) if environment is not None else None,
            cwd=directory,
            pass_fds=pass_handles,
            start_new_session=True,
        )
    except BaseException:
        os.close(write_end)
        raise
    finally:
        os.close(read_end)
    return Guarded(process, write_end)


# --- from here on: the child


def _watch(program: int, stop_signal: int, grace: float) -> None:
    """Wait until the parent lets go of stdin, then stop `program` and its group."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(each, signal.SIG_IGN)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 1)  # otherwise a reader of the program's output would wait for the watcher too
    os.dup2(null, 2)
    os.closerange(3, 4096)  # and a client of its port for an answer
    while os.read(0, 1):
        pass
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(program, stop_signal)
        give_up = time.monotonic() + grace
        while time.monotonic() < give_up:
            os.kill(program, 0)
            time.sleep(0.02)
    os.killpg(0, signal.SIGKILL)  # the rest of the group, and the watcher itself


def _keep_capability(capability: int) -> None:
    """Give one capability back after setuid(), and let it survive exec (Linux, capabilities(7))."""
    libc = ctypes.CDLL(None, use_errno=True)
    bit = 1 << capability
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # _LINUX_CAPABILITY_VERSION_3, this process
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable
    pr_cap_ambient, pr_cap_ambient_raise = 47, 2
    if libc.capset(header, sets) or libc.prctl(
        pr_cap_ambient, pr_cap_ambient_raise, capability, 0, 0
    ):
        error = ctypes.get_errno()
        raise OSError(error, f"cannot keep capability {capability}: {os.strerror(error)}")


def _become(who: str, capability: str) -> None:
    """Change to user:group `who`."""
    uid, gid = map(int, who.split(":"))
    if capability == "dac":
        pr_set_keepcaps = 8
        ctypes.CDLL(None).prctl(pr_set_keepcaps, 1, 0, 0, 0)
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)
    if capability == "dac":
        _keep_capability(CAP_DAC_OVERRIDE)


def _main(stop_signal: str, grace: str, who: str, capability: str, *command: str) -> None:
    program = os.getpid()
    if (child := os.fork()) == 0:
        # Twice, so that the watcher is no child of the program: a program may wait for all of its.
        if os.fork() == 0:
            try:
                _watch(program, int(stop_signal), float(grace))
            finally:
                os._exit(0)
        os._exit(0)
    os.waitpid(child, 0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    if who != "-":
        _become(who, capability)
    try:
        os.execv(command[0], command)  # noqa: S606  (no shell is the point)
    except OSError as error:
        print(f"cannot start {command[0]}: {error}", file=sys.stderr)
        os._exit(127)


if __name__ == "__main__":
    _main(*sys.argv[1:])
