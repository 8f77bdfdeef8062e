"""Nothing waits for ever: not a connect, not a statement, not a lock."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psycopg
import pytest

from stashjobs.store import database
from tests.deliveries import Table, deliver, probe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.buckets import Bucket


@pytest.fixture
def black_hole() -> Iterator[str]:
    """The URL of a server that lets one connect and then says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"postgresql://user:password@127.0.0.1:{listening.getsockname()[1]}/database"


def test_a_server_that_does_not_answer_is_given_up_after_two_seconds(black_hole: str) -> None:
    began = time.monotonic()
    with pytest.raises(psycopg.errors.ConnectionTimeout):
        database.connect(black_hole)
    # A busy machine may take longer; libpq left alone would wait for ever.
    assert 1.9 < time.monotonic() - began < 60


def test_a_delivery_that_finds_no_answer_is_503_and_does_not_run(
    table: Table, settings: pytest.MonkeyPatch, black_hole: str
) -> None:
    ran: list[object] = []
    job = probe(lambda payload, _context: ran.append(payload))
    job_id = table.add(job)
    settings.setenv("POSTGRES_URL", black_hole)
    answer = deliver(job, job_id)
    assert (answer.status, answer.retry_after) == (503, 20)
    assert ran == []
    assert table.status(job_id) == "pending"


def test_a_connection_has_both_timeouts(database_url: str) -> None:
    with database.connect(database_url) as connection:
        shown = [
            connection.execute(statement).fetchall()
            for statement in ("SHOW statement_timeout", "SHOW lock_timeout")
        ]
    assert shown == [[("30s",)], [("5s",)]]


def test_a_peer_that_vanished_is_given_up_after_ten_seconds(database_url: str) -> None:
    """A Lambda that was frozen for long may find that a firewall has forgotten its connection, and
    drops what it sends without a word."""
    with (
        database.connect(database_url) as connection,
        socket.socket(fileno=os.dup(connection.fileno())) as tcp,
    ):
        assert tcp.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 10_000


def test_a_statement_is_cancelled_at_its_timeout(database_url: str) -> None:
    with (
        database.connect(database_url, statement_timeout_seconds=0.1) as connection,
        pytest.raises(psycopg.errors.QueryCanceled, match="statement timeout"),
    ):
        connection.execute("SELECT pg_sleep(60)")


def test_a_locked_row_is_503_with_retry_after_and_the_job_does_not_run(
    table: Table, settings: pytest.MonkeyPatch, database_url: str
) -> None:
    ran: list[object] = []
    job = probe(lambda payload, _context: ran.append(payload))
    job_id = table.add(job)
    settings.setenv("POSTGRES_URL", database_url + "&options=-c%20lock_timeout%3D100")
    with psycopg.connect(database_url) as operator:
        operator.execute("SELECT 1 FROM job_executions WHERE job_id = %s FOR UPDATE", [job_id])
        answer = deliver(job, job_id)
    assert (answer.status, answer.retry_after) == (503, 20)
    assert "lock timeout" in answer.document["error"]
    assert ran == []
    assert deliver(job, job_id).status == 200


# ------------------------------------------------------------------ processes that are stopped

# Each stops itself in its transaction, where it would wait for QStash or S3.
STOPPED_RELAY = """
import os, signal, time
from stashjobs.producer import publish
from stashjobs.recovery import relay
from tests.deliveries import probe
relay.declared = lambda: [probe()]
relay.IDLE_SECONDS = 2
publish.send = lambda _batch: os.kill(os.getpid(), signal.SIGSTOP) or {}
relay.publish_unpublished(relay.Report(), time.time() + 600, quiet_seconds=0)
"""
STOPPED_CLEANUP = """
import os, signal
from datetime import UTC, datetime, timedelta
from functions.cleanup_old_data import archive, cleaner
from functions.cleanup_old_data.handler import cleanup_old_data
from functions.cleanup_old_data.models import Cleanup
from stashjobs import Context
Context.progress = lambda *_, **__: None
cleaner.IDLE_SECONDS = 2
archive.open_bucket = lambda: None
archive.write = lambda *_: os.kill(os.getpid(), signal.SIGSTOP) or 0
context = Context(job_id="c", job_type="cleanup-old-data", attempt=1, max_attempts=2,
                  deadline=datetime.now(UTC) + timedelta(seconds=600))
cleanup_old_data(Cleanup(retention=1), context)
"""
FIND_FREE = "SELECT job_id FROM job_executions FOR UPDATE SKIP LOCKED"


@pytest.mark.parametrize("program", [STOPPED_RELAY, STOPPED_CLEANUP], ids=["relay", "clean-up"])
def test_a_process_that_is_stopped_in_its_transaction_frees_its_rows(
    table: Table, bucket: Bucket, repository: Path, program: str
) -> None:
    job_id = table.add(probe())
    if program == STOPPED_CLEANUP:
        table.run(
            "UPDATE job_executions SET status = 'cancelled', created_at = now() - interval '9 d',"
            " completed_at = now() - interval '9 d'"
        )
    before = table.row(job_id)
    path = os.pathsep.join(str(repository / folder) for folder in ("shared", "."))
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        cwd=repository,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        give_up = time.monotonic() + 60
        while not table.run(FIND_FREE) and time.monotonic() < give_up:
            time.sleep(0.05)
        assert table.run(FIND_FREE)
    finally:
        process.send_signal(signal.SIGCONT)
        _, said = process.communicate(timeout=60)
    assert "idle-in-transaction timeout" in said
    assert process.returncode == 1
    assert table.row(job_id) == before


# ------------------------------------------------------------------ poolers that take no options


@contextmanager
def refusing(words: str) -> Iterator[tuple[str, list[bytes]]]:
    """A server that refuses startup options with these words, and everything else with others.
    Gives its URL and the startup messages that it was sent."""
    asked: list[bytes] = []

    def serve(listening: socket.socket) -> None:
        while True:
            try:
                client, _ = listening.accept()
            except OSError:
                return
            with client:
                size = struct.unpack("!i", client.recv(4))[0]
                asked.append(client.recv(size - 4))
                said = words if b"\0options\0" in asked[-1] else "nobody is at home"
                fields = f"SFATAL\0VFATAL\0C08P01\0M{said}\0\0".encode()
                client.sendall(b"E" + struct.pack("!i", len(fields) + 4) + fields)

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=serve, args=(listening,))
        server.start()
        port = listening.getsockname()[1]
        url = f"postgresql://user:password@127.0.0.1:{port}/database"
        yield f"{url}?sslmode=disable&gssencmode=disable", asked
        listening.shutdown(socket.SHUT_RDWR)
        server.join()


@pytest.mark.parametrize(
    "words",
    [
        "unsupported startup parameter: options",  # PgBouncer before 1.20
        "unsupported startup parameter in options: statement_timeout",  # PgBouncer since, and Neon
        "Feature not supported: RDS Proxy currently doesn’t support command-line options.",
    ],
)
def test_options_that_a_pooler_refuses_are_left_out(words: str) -> None:
    with (
        refusing(words) as (url, asked),
        pytest.raises(psycopg.OperationalError, match="nobody is at home"),
    ):
        database.connect(url)
    assert [b"\0options\0" in each for each in asked] == [True, False]


def test_another_refusal_is_not_asked_twice() -> None:
    with (
        refusing("password authentication failed") as (url, asked),
        pytest.raises(psycopg.OperationalError, match="password authentication failed"),
    ):
        database.connect(url)
    assert len(asked) == 1
