"""A Postgres of one's own that always comes back, and never stays behind."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from stashjobs.tools.servers import postgres_binaries
from stashjobs.tools.servers.ports import PortTakenError
from stashjobs.tools.servers.postgres import Postgres, PostgresError
from stashjobs.tools.servers.postgres_binaries import WHEEL, find_binaries, within_reach
from tests.clusters import make_ready
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
    ready = make_ready(tmp_path / "postgres")
    with pytest.raises(PostgresError, match="unrecognized configuration parameter"):
        Postgres(ready, options={"no_such_setting": "1"}).start()


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of copies; pytest's own temporary folders are closed to other accounts."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        monkeypatch.setattr(postgres_binaries, "COPIES", Path(folder) / "cache")
        yield Path(folder) / "cache"


@pytest.fixture(scope="module")
def closed_binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel in a folder of mode 0700, its files for their owner alone, as after umask 077."""
    bundled = find_binaries()
    if bundled.parents[1].name != WHEEL:
        pytest.skip("there is no wheel for this machine")
    closed = tmp_path_factory.mktemp("with a space")
    for each in bundled.parents[2].glob(f"{bundled.parents[1].name}*"):
        shutil.copytree(each, closed / each.name, symlinks=True)
    subprocess.run(["chmod", "-R", "go-rwx", closed], check=True)
    return closed / bundled.relative_to(bundled.parents[2])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs Postgres as another account")
def test_root_runs_it_from_an_environment_that_no_other_account_can_enter(
    closed_binaries: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stashjobs.tools.servers.postgres.find_binaries", lambda: closed_binaries)
    for _ in range(2):
        with Postgres(tmp_path / "postgres", durable=False) as postgres:
            assert ask(postgres, "SELECT 1") == 1
            assert postgres.bin("psql").is_relative_to(cache)
    [copy] = cache.iterdir()
    assert copy.stat().st_mode & 0o777 == 0o755


def test_what_everybody_can_enter_is_not_copied(cache: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        assert within_reach(Path(folder)) == Path(folder)
    assert not cache.exists()


def test_programs_that_cannot_be_copied_are_told_in_one_sentence(
    closed_binaries: Path, cache: Path
) -> None:
    cache.touch()
    with pytest.raises(PostgresError, match=r"which may not enter .* Move the checkout"):
        within_reach(closed_binaries)


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
        [sys.executable, "-c", textwrap.dedent(START), make_ready(tmp_path / "postgres")],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())

        parent.send_signal(how)

    assert eventually(lambda: not is_alive(pid))
    assert eventually(lambda: not (tmp_path / "postgres/cluster/postmaster.pid").exists())


def test_a_new_start_ends_a_server_that_lost_both_its_parent_and_its_watcher(
    tmp_path: Path,
) -> None:
    first = Postgres(make_ready(tmp_path / "postgres"), durable=False).start()
    orphan = first._server
    assert orphan
    os.close(first._lock or -1)  # what the system does when the owner dies
    first._lock = first._server = None

    with Postgres(tmp_path / "postgres", durable=False) as second:
        assert orphan.process.wait(5) == 0
        assert ask(second, "SELECT 1") == 1
    orphan.release()
