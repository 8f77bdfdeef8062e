"""Dumps that can be restored, and the proof that finds those that cannot."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from click.testing import CliRunner
from psycopg import sql

from stashjobs.tools import backup
from stashjobs.tools.backup import programs
from stashjobs.tools.backup.contents import differences, read
from stashjobs.tools.cli import main
from tests.deliveries import probe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stashjobs.tools.servers.postgres import Postgres
    from tests.deliveries import Table


@pytest.fixture
def filled(table: Table) -> Table:
    for number in range(20):
        table.add(probe(), {"number": number, "text": "ä\t\"'\\"})
    return table


@pytest.fixture
def elsewhere(postgres: Postgres) -> Iterator[str]:
    """The URL of a database that does not exist."""
    yield postgres.url_of("elsewhere")
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS elsewhere (FORCE)")


def databases(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute("SELECT datname FROM pg_database")}


def test_a_database_is_proven_restorable_and_nothing_is_left(
    filled: Table, database_url: str
) -> None:
    before = databases(database_url)
    proof = backup.verify(database_url)
    assert proof.differences == []
    assert proof.tables["public.job_executions"] == 20
    assert databases(database_url) == before


def test_jobs_go_on_while_it_is_proven(filled: Table, database_url: str) -> None:
    """Rows that come and change meanwhile are in neither the dump nor the comparison."""
    stop = threading.Event()
    written = 0

    def work() -> None:
        nonlocal written
        with psycopg.connect(database_url, autocommit=True) as connection:
            while not stop.is_set():
                connection.execute(
                    "INSERT INTO job_executions (job_id, job_type, payload, max_attempts) "
                    "VALUES (gen_random_uuid()::text, 'busy', '{}', 1)"
                )
                connection.execute("UPDATE job_executions SET updated_at = clock_timestamp()")
                written += 1

    thread = threading.Thread(target=work)
    thread.start()
    try:
        proof = backup.verify(database_url)
    finally:
        stop.set()
        thread.join()
    assert proof.differences == []
    assert written > 1


@pytest.mark.parametrize(
    ("tampering", "told"),
    [
        (
            "UPDATE job_executions SET payload = '{}' WHERE payload->>'number' = '7'",
            "public.job_executions has other content in its 20 rows",
        ),
        (
            "DELETE FROM job_executions WHERE payload->>'number' = '7'",
            "public.job_executions has 19 rows, not 20",
        ),
        ("DROP TABLE emails", "public.emails is missing"),
        (
            "DROP INDEX idx_job_executions_status",
            "index public.idx_job_executions_status is missing",
        ),
        (
            "DROP TRIGGER job_executions_check_job ON job_executions",
            "trigger job_executions_check_job of public.job_executions is missing",
        ),
        ("CREATE TABLE public.guest ()", "public.guest is new"),
    ],
)
def test_a_restore_that_was_tampered_with_is_found(
    filled: Table, database_url: str, elsewhere: str, tmp_path: Path, tampering: str, told: str
) -> None:
    backup.take(database_url, tmp_path / "dump")
    backup.restore(tmp_path / "dump", elsewhere)
    with psycopg.connect(elsewhere, autocommit=True) as connection:
        connection.execute(tampering.encode())
    assert told in compared(database_url, elsewhere)


def compared(original: str, restored: str) -> list[str]:
    with (
        backup._snapshot(original) as (first, _),
        backup._snapshot(restored) as (second, _),
    ):
        return differences(read(first), read(second))


def test_the_proof_has_an_eye_on_what_pg_restore_did(
    filled: Table, database_url: str, settings: pytest.MonkeyPatch
) -> None:
    real = backup._restore

    def lose_a_row(file: Path, url: str) -> None:
        real(file, url)
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DELETE FROM job_executions WHERE payload->>'number' = '7'")

    settings.setattr(backup, "_restore", lose_a_row)
    assert backup.verify(database_url).differences == ["public.job_executions has 19 rows, not 20"]
    result = CliRunner().invoke(main, ["backup", "verify"])
    assert (result.exit_code, "is not the same" in result.output) == (1, True)


def test_nothing_is_restored_over_a_database_that_exists(
    filled: Table, database_url: str, tmp_path: Path
) -> None:
    with pytest.raises(backup.BackupError, match="exists, and nothing is restored over it"):
        backup.verify(database_url, database_url)
    backup.take(database_url, tmp_path / "dump")
    with pytest.raises(backup.BackupError, match="exists, and nothing is restored over it"):
        backup.restore(tmp_path / "dump", database_url)
    assert len(filled.rows()) == 20


def test_a_file_that_is_no_dump_leaves_no_database_behind(
    table: Table, database_url: str, elsewhere: str, tmp_path: Path
) -> None:
    (tmp_path / "dump").write_text("not one")
    with pytest.raises(backup.BackupError, match="the restore failed: pg_restore"):
        backup.restore(tmp_path / "dump", elsewhere)
    assert "elsewhere" not in databases(database_url)


def test_a_dump_is_its_owners_alone_and_overwrites_nothing(
    table: Table, database_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "dump"
    assert backup.take(database_url, file) == file.stat().st_size > 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    with pytest.raises(backup.BackupError, match="exists"):
        backup.take(database_url, file)


def test_the_password_is_not_among_the_arguments(
    table: Table, database_url: str, tmp_path: Path, settings: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    real = subprocess.run

    def spy(arguments: list[str], **options: Any) -> Any:
        seen.extend(arguments)
        return real(arguments, **options)

    settings.setattr(subprocess, "run", spy)
    backup.take(database_url, tmp_path / "dump")
    password = psycopg.conninfo.conninfo_to_dict(database_url)["password"]
    assert seen
    assert not any(str(password) in argument for argument in seen)


def test_a_program_that_is_older_than_the_server_is_refused() -> None:
    with pytest.raises(programs.ProgramError, match="no pg_dump of version 99 or newer"):
        programs.find("pg_dump", 99)


def test_the_command_says_what_it_compared(
    filled: Table, repository: Path, settings: pytest.MonkeyPatch
) -> None:
    before = dict(os.environ)
    try:
        result = CliRunner().invoke(main, ["backup", "verify", "--json"])
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["tables"]["public.job_executions"] == 20


def test_timeouts_of_the_database_end_no_proof(
    filled: Table, database_url: str, settings: pytest.MonkeyPatch
) -> None:
    name = sql.Identifier(str(psycopg.conninfo.conninfo_to_dict(database_url)["dbname"]))
    timeouts = ("idle_session_timeout", "idle_in_transaction_session_timeout", "statement_timeout")
    for timeout in timeouts:
        for database in (name, sql.Identifier("postgres")):
            filled.connection.execute(
                sql.SQL("ALTER DATABASE {} SET {} = 300").format(database, sql.Identifier(timeout))
            )
    real = backup._restore

    def take_long(file: Path, url: str) -> None:
        time.sleep(1)
        real(file, url)

    settings.setattr(backup, "_restore", take_long)
    before = databases(database_url)
    try:
        assert backup.verify(database_url).differences == []
    finally:
        for database in (name, sql.Identifier("postgres")):
            filled.connection.execute(sql.SQL("ALTER DATABASE {} RESET ALL").format(database))
    assert databases(database_url) == before


VERIFY = """
import sys, time
from stashjobs.tools import backup
def hang(*_):
    print("restoring", flush=True)
    time.sleep(60)
backup._restore = hang
backup.verify(sys.argv[1])
"""


def verify_until_it_restores(url: str, number: int) -> int:
    """The exit code of a verify that gets a signal while it restores."""
    ours = subprocess.Popen(
        [sys.executable, "-c", VERIFY, url],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": "shared"},
    )
    assert ours.stdout is not None
    assert ours.stdout.readline() == b"restoring\n"
    ours.send_signal(number)
    with ours.stdout:
        return ours.wait(60)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_verify_that_is_ended_leaves_no_copy(
    filled: Table, database_url: str, number: signal.Signals
) -> None:
    before = databases(database_url)
    assert verify_until_it_restores(database_url, number) != 0
    assert databases(database_url) == before


def test_what_a_killed_verify_left_is_found_and_offered_for_removal(
    filled: Table, database_url: str
) -> None:
    before = databases(database_url)
    assert verify_until_it_restores(database_url, signal.SIGKILL) == -signal.SIGKILL
    assert databases(database_url) > before

    patience = time.monotonic() + 60
    while True:  # until Postgres has seen that the process is gone
        refused = CliRunner().invoke(main, ["backup", "verify"])
        if "by another run" not in refused.output or time.monotonic() > patience:
            break
    assert refused.exit_code == 1
    assert "is a full copy that a verify left when it was killed" in refused.output
    assert "stashjobs backup verify --drop-leftover" in refused.output
    assert databases(database_url) > before

    assert CliRunner().invoke(main, ["backup", "verify", "--drop-leftover"]).exit_code == 0
    assert databases(database_url) == before


def test_a_database_that_is_no_verify_s_is_never_dropped(
    filled: Table, database_url: str, elsewhere: str
) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute("CREATE DATABASE elsewhere TEMPLATE template0")
    with pytest.raises(backup.BackupError, match="exists, and nothing is restored over it"):
        backup.verify(database_url, elsewhere, drop_leftover=True)
    assert "elsewhere" in databases(database_url)


def test_a_verify_that_goes_on_is_no_leftover(filled: Table, database_url: str) -> None:
    scratch = backup.scratch_beside(database_url)
    with backup._new_database(scratch, keep=False):
        with pytest.raises(backup.BackupError, match="by another run"):
            backup.verify(database_url, drop_leftover=True)
        assert psycopg.conninfo.conninfo_to_dict(scratch)["dbname"] in databases(database_url)
