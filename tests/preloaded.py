"""Programs that start at once: forks of a process that has imported already what they import.

A command takes longer to import what it needs than to do what it is asked for, and the tests run
hundreds. `Preloaded` is a process that waits on a socket; the scripts in its folder `bin` hand it
their arguments, folder, environment and open files, and exit as the fork does that it makes for
them. What a program then does and prints is its own. It gets no signals: what is stopped by one is
to be started as it is.
"""

from __future__ import annotations

import gc
import importlib
import marshal
import os
import pkgutil
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PROGRAMS = {"stashjobs": "stashjobs", "run_python": "tests.docs.run_python"}
"""The module that each script runs."""
# Nothing of `functions`: a page that is run declares some of these types itself.
IMPORTED = (
    "aws_lambda_powertools.logging",
    "boto3",
    "pydantic",
    "pydantic_settings",
    "stashjobs.delivery.handler",
    "stashjobs.operators.search",
    "stashjobs.producer.publish",
    "stashjobs.producer.qstash_client",
    "stashjobs.store.database",
    "stashjobs.testing.deliveries",
)
# With no module but these: it is to start in hundredths of a second.
CLIENT = """
import _socket, marshal, os, sys
address, module, *arguments = sys.argv[1:]
connection = _socket.socket(_socket.AF_UNIX)
connection.connect(address)
request = marshal.dumps((module, arguments, os.getcwd(), dict(os.environ)))
handles = b"".join(handle.to_bytes(4, sys.byteorder) for handle in range(3))
connection.sendmsg(
    [len(request).to_bytes(8, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, handles)]
)
connection.sendall(request)
code = connection.recv(1)
os._exit(code[0] if code else 70)
"""


@contextmanager
def preloaded() -> Iterator[Path]:
    """Start the process. Yields the folder of its scripts, which is to be first in PATH."""
    with tempfile.TemporaryDirectory() as name:  # a socket's path may have a hundred letters
        folder = Path(name)
        client, address = folder / "client.py", folder / "socket"
        client.write_text(CLIENT)
        (folder / "bin").mkdir()
        for program, module in PROGRAMS.items():
            words = [sys.executable, "-I", "-S", str(client), str(address), module]
            script = folder / "bin" / program
            script.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
            script.chmod(0o755)
        with subprocess.Popen(
            [sys.executable, "-m", __name__, address],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            start_new_session=True,
        ) as server:
            try:
                assert server.stdout is not None
                assert server.stdout.readline() == b"ready\n"
                yield folder / "bin"
            finally:
                os.killpg(server.pid, signal.SIGKILL)  # and what has not ended


def serve(address: str) -> None:
    """Fork for each that connects. Returns where it is one of these, after its program's end."""
    from stashjobs.tools import cli

    commands = [each.name for each in pkgutil.iter_modules(cli.__path__, f"{cli.__name__}.")]
    for name in (*IMPORTED, *commands):
        importlib.import_module(name)
    gc.freeze()
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(address)
    listening.listen()
    print("ready", flush=True)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        connection, _ = listening.accept()
        if os.fork() == 0:
            listening.close()
            _run_for(connection)
            return
        connection.close()


def _run_for(connection: socket.socket) -> None:
    """Run what it asks for in one more fork, and say how that ended. Returns in that fork alone."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    length, handles, _, _ = socket.recv_fds(connection, 8, 3)
    request = marshal.loads(_read(connection, int.from_bytes(length, "big")))  # noqa: S302 - ours
    if (program := os.fork()) == 0:
        connection.close()
        _become(handles, *request)
        return
    threading.Thread(target=_end_with, args=(connection, program), daemon=True).start()
    _, status = os.waitpid(program, 0)
    connection.sendall(bytes([os.waitstatus_to_exitcode(status) & 0xFF]))
    os._exit(0)


def _end_with(connection: socket.socket, program: int) -> None:
    """A caller that is killed takes its program along."""
    connection.recv(1)
    os.kill(program, signal.SIGKILL)


def _read(connection: socket.socket, length: int) -> bytes:
    read = b""
    while len(read) < length:
        read += connection.recv(length - len(read))
    return read


def _become(
    handles: list[int], module: str, arguments: list[str], folder: str, environment: dict[str, Any]
) -> None:
    """Be what `python -m MODULE ARGUMENTS ...` is in that folder, with these open files."""
    for number, handle in enumerate(handles):
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    paths = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [folder, *(path for path in paths if path)]
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    serve(sys.argv[1])
