"""A Postgres of one's own that always comes back, and never stays behind."""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from stashjobs.tools.servers.ports import PortTakenError
from stashjobs.tools.servers.postgres import Postgres, PostgresError
from tests.integration.local.conftest import eventually, is_alive

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Postgres]:
    with Postgres(tmp_path_factory.mktemp("shared") / "postgres", durable=False) as server:
        yield server


def ask(postgres: Postgres, query: str) -> object:
    with psycopg.connect(postgres.url) as connection:
        row = connection.execute(query).fetchone()
        return row and row[0]


def remember(postgres: Postgres) -> None:
    with psycopg.connect(postgres.url) as connection:
        connection.execute("DROP TABLE IF EXISTS kept")
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")


def test_it_answers_on_this_machine_only_and_asks_for_a_password(postgres: Postgres) -> None:
    assert int(str(ask(postgres, "SHOW server_version_num"))) >= 150000
    assert ask(postgres, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(postgres, "SELECT current_database()") == "stashjobs"
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(postgres.url.replace("stashjobs:", "stashjobs:x", 1))
    assert (postgres.data_dir / "password").stat().st_mode & 0o777 == 0o600


def test_a_second_start_finds_the_data_and_the_same_url(postgres: Postgres) -> None:
    remember(postgres)
    url = postgres.url

    postgres.restart()

    assert ask(postgres, "SELECT answer FROM kept") == 42
    assert postgres.url == url


def test_after_a_crash_it_recovers(postgres: Postgres) -> None:
    remember(postgres)
    postgres.kill()
    assert (postgres.cluster / "postmaster.pid").exists()

    postgres.start()

    assert ask(postgres, "SELECT answer FROM kept") == 42


def test_a_stale_pid_file_with_the_number_of_a_living_stranger_is_no_obstacle(
    postgres: Postgres,
) -> None:
    postgres.kill()
    pid_file = postgres.cluster / "postmaster.pid"
    # Of the same user as the server: Postgres itself would take this for another server.
    user = pid_file.stat().st_uid if os.geteuid() == 0 else None
    with subprocess.Popen(["sleep", "60"], user=user) as stranger:
        lines = pid_file.read_text().splitlines()
        pid_file.write_text("\n".join([str(stranger.pid), *lines[1:]]) + "\n")

        postgres.start()

        assert ask(postgres, "SELECT 1") == 1
        assert stranger.poll() is None
        stranger.kill()


def test_an_initdb_that_was_cut_short_is_begun_again(tmp_path: Path) -> None:
    leftover = tmp_path / "postgres" / "cluster.unfinished"
    leftover.mkdir(parents=True)
    (leftover / "PG_VERSION").write_text("18")

    with Postgres(tmp_path / "postgres", durable=False) as postgres:
        assert ask(postgres, "SELECT 1") == 1


def test_a_taken_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(PortTakenError, match=f"port {port} is taken"):
            Postgres(tmp_path / "postgres", port, durable=False).start()


def test_two_owners_of_one_folder_are_refused(postgres: Postgres) -> None:
    with pytest.raises(PostgresError, match="in use by another process"):
        Postgres(postgres.data_dir, durable=False).start()

    assert ask(postgres, "SELECT 1") == 1


def test_a_wrong_option_is_told_in_postgres_own_words(tmp_path: Path) -> None:
    with pytest.raises(PostgresError, match="unrecognized configuration parameter"):
        Postgres(tmp_path / "postgres", options={"no_such_setting": "1"}).start()


def test_the_programs_of_the_same_version_are_at_hand(postgres: Postgres) -> None:
    dump = subprocess.run(
        [postgres.bin("pg_dump"), postgres.url], capture_output=True, text=True, check=True
    )

    assert "PostgreSQL database dump complete" in dump.stdout


def test_ctrl_c_in_the_terminal_does_not_reach_it(postgres: Postgres) -> None:
    assert postgres.pid is not None
    assert os.getpgid(postgres.pid) != os.getpgid(0)
    assert os.getsid(postgres.pid) != os.getsid(0)


START = """
    import sys, time
    from pathlib import Path
    from stashjobs.tools.servers.postgres import Postgres
    postgres = Postgres(Path(sys.argv[1]), durable=False).start()
    print(postgres.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_it_does_not_outlive_a_parent_that_ends_without_stopping_it(
    tmp_path: Path, how: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(START), tmp_path / "postgres"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())

        parent.send_signal(how)

    assert eventually(lambda: not is_alive(pid), 5)
    assert eventually(lambda: not (tmp_path / "postgres/cluster/postmaster.pid").exists(), 1)


def test_a_new_start_ends_a_server_that_lost_both_its_parent_and_its_watcher(
    tmp_path: Path,
) -> None:
    first = Postgres(tmp_path / "postgres", durable=False).start()
    orphan = first._server
    assert orphan
    os.close(first._lock or -1)  # what the system does when the owner dies
    first._lock = first._server = None

    with Postgres(tmp_path / "postgres", durable=False) as second:
        assert orphan.process.wait(5) == 0
        assert ask(second, "SELECT 1") == 1
    orphan.release()
