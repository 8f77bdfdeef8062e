"""`stashjobs dev`, as a developer runs it: one process to start, one to stop."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from dotenv import dotenv_values

from infra.commands.dev import _show_line, _show_urls
from infra.local.stack import Stack, own_qstash
from infra.local.template import read_template
from stashjobs.tools.servers.ports import PortTakenError, ensure_port_is_free, free_port
from tests.clusters import make_ready
from tests.integration.local.conftest import eventually

ROOT = Path(__file__).parents[3]
RUN = "from stashjobs.tools.cli import main; main()"
WITHOUT_THE_CHECKOUT = (
    f"import sys; ours = {(str(ROOT), str(ROOT / 'shared'))}\n"
    "sys.path[:] = [path for path in sys.path if path not in ours]\n"
)
TEMPLATE = """
Globals:
  Function:
    Timeout: 20
Resources:
  StackSecret:
    Type: AWS::SecretsManager::Secret
    Properties:
      SecretString: {"Fn::Sub": ['{"SLOW_URL": "${SlowUrl.FunctionUrl}"}', {}]}
  Job:
    Type: AWS::Serverless::Function
    Properties:
      Handler: functions.job.handler.handler
      Events: {Deliver: {Type: HttpApi, Properties: {Path: /job, Method: POST}}}
  Slow:
    Type: AWS::Serverless::Function
    Properties:
      Handler: functions.job.handler.handler
      FunctionUrlConfig: {AuthType: NONE}
"""
HANDLER = """
    import os, pathlib, time

    def handler(event, context):
        body = event.get("body", "")
        pathlib.Path(os.environ["LAMBDA_TASK_ROOT"], "seen").write_text(body)
        time.sleep(30 if body == "sleep" else 0)
        print("handled", body)
        return {"statusCode": 200, "body": os.environ["POSTGRES_URL"]}
"""


UNDER_WAY = """
INSERT INTO job_executions (job_id, job_type, status, payload, max_attempts, attempt, started_at,
                            lease_expires_at)
VALUES ('j1', 'probe', 'processing', '{}', 1, 1, now(), now() + interval '1 hour')
"""


def read_environment(path: str) -> dict[str, str]:
    """The settings that `stashjobs dev` has written for other shells."""
    return {name: str(value) for name, value in dotenv_values(path).items()}


# Of a developer behind a proxy, with a Postgres elsewhere: none of it is about this machine.
SHELL = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "PGSSLMODE": "require",
    "PGHOSTADDR": "127.0.0.9",
    "PGSERVICE": "no-such-service",
}


class Dev:
    """A running `stashjobs dev`, started from such a shell."""

    def __init__(self, root: Path, *options: str) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "shared"),
            "PYTHONWARNINGS": "error",
            **SHELL,
        }
        asked = any(each.startswith("--port") for each in options)
        free = () if asked else ("--port=0",)
        self.process = subprocess.Popen(
            [sys.executable, "-c", RUN, "dev", *free, *options],
            cwd=root,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def ready(self) -> dict[str, str]:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.process.communicate()[1]
        urls: dict[str, str] = json.loads(line)
        return urls

    def end(self, how: signal.Signals = signal.SIGTERM) -> tuple[int, str]:
        self.process.send_signal(how)
        return self.wait()

    def wait(self) -> tuple[int, str]:
        errors = self.process.communicate(timeout=60)[1]
        return self.process.returncode, errors


def project_in(folder: Path) -> Path:
    """A checkout with two functions, and a database that was made before."""
    (folder / "template.yaml").write_text(TEMPLATE)
    (folder / "infra").symlink_to(ROOT / "infra")
    handler = folder / "functions/job/handler.py"
    handler.parent.mkdir(parents=True)
    handler.write_text(textwrap.dedent(HANDLER))
    make_ready(folder / ".stashjobs" / "postgres")
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return project_in(tmp_path)


@dataclass
class Shared:
    """One that runs for all tests that change nothing about it."""

    root: Path
    first_port: int
    urls: dict[str, str]


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    root = project_in(tmp_path_factory.mktemp("project"))
    first = free_block()
    running = Dev(root, "--json", f"--port={first}")
    try:
        yield Shared(root, first, running.ready())
        assert running.end() == (0, "")
    finally:
        running.process.kill()
        running.process.communicate()


@pytest.fixture
def dev(root: Path) -> Iterator[Callable[..., Dev]]:
    started: list[Dev] = []

    def start(*options: str) -> Dev:
        started.append(Dev(root, *options))
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.process.kill()
        each.process.communicate()


def post(
    url: str, body: str = "", headers: dict[str, str] | None = None, patience: float = 10
) -> str:
    request = urllib.request.Request(  # noqa: S310  (a URL of ours)
        url, body.encode(), {"Content-Type": "text/plain", **(headers or {})}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=patience) as answer:  # noqa: S310
        text: str = answer.read().decode()
        return text


def free_block() -> int:
    """The first of some ports in a row that nothing listens on."""
    while True:
        first = free_port()
        with contextlib.suppress(PortTakenError):
            for port in range(first, first + 11):
                ensure_port_is_free(port)
            return first


def left_behind(root: Path) -> list[str]:
    """Command lines of living processes that belong to the project in `root`."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
            mine = str(root).encode() in command + (process / "environ").read_bytes()
        except OSError:
            continue
        if mine and int(process.name) != os.getpid():
            found.append(command.replace(b"\0", b" ").decode())
    return found


def test_a_message_goes_through_qstash_and_the_gateway_to_the_function(shared: Shared) -> None:
    urls, root = shared.urls, shared.root
    settings = read_environment(urls["environment"])

    post(
        f"{urls['qstash']}/v2/publish/{settings['BASE_URL']}/job",
        "a message",
        {"Authorization": f"Bearer {settings['QSTASH_TOKEN']}"},
    )

    assert eventually((root / "seen").exists)
    assert eventually(lambda: (root / "seen").read_text() == "a message")
    log = root / ".stashjobs/logs/Job.log"
    assert eventually(lambda: log.exists() and "handled a message" in log.read_text())


def test_functions_and_other_shells_find_the_same_database_and_function_urls(
    shared: Shared,
) -> None:
    urls, root = shared.urls, shared.root
    settings = read_environment(urls["environment"])

    assert settings["POSTGRES_URL"] == urls["postgres"]
    assert settings["SLOW_URL"] == urls["Slow"]
    # With a role of their own (docs/security.md, Two roles).
    for answer in (post(f"{urls['app']}/job"), post(urls["Slow"])):
        assert urlsplit(answer).username == "stashjobs_worker"
        assert urlsplit(answer).hostname == "127.0.0.1"
        assert urlsplit(answer).port == urlsplit(urls["postgres"]).port
    with psycopg.connect(urls["postgres"]) as connection:
        connection.execute("SELECT 1 FROM job_executions")
    assert (root / ".stashjobs/dev.env").stat().st_mode & 0o777 == 0o600
    assert (root / ".stashjobs/secrets.json").stat().st_mode & 0o777 == 0o600


def test_one_option_is_for_all_ports(shared: Shared) -> None:
    parts = ("app", "qstash", "mailbox", "postgres", "s3", "stripe", "Slow")
    ports = [urlsplit(shared.urls[part]).port for part in parts]
    first = shared.first_port
    assert ports == [*range(first, first + 6), first + 10]


def test_one_folder_is_for_one_stack_at_a_time(shared: Shared, dev: Callable[..., Dev]) -> None:
    home = shared.root / ".stashjobs"

    code, errors = dev("--json", "--home", str(home)).wait()

    assert code == 2
    assert f"already runs with {home} at {shared.urls['app']}; stop it first" in errors
    assert Path(shared.urls["environment"]).exists()


def test_a_second_start_finds_data_secrets_and_ports(dev: Callable[..., Dev], root: Path) -> None:
    port = free_block()
    first = dev("--json", f"--port={port}")
    before = read_environment(first.ready()["environment"])
    with psycopg.connect(before["POSTGRES_URL"]) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
        connection.execute(UNDER_WAY)
    first.end()
    assert Stack(root, first_port=None).choose_ports().gateway == port

    started = time.monotonic()
    urls = dev("--json").ready()

    assert time.monotonic() - started < 60  # 3 s on a machine with nothing else to do
    after = read_environment(urls["environment"])
    with psycopg.connect(after["POSTGRES_URL"]) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        # The stop gave its lease back, and the attempt does not count.
        [(status, attempt, left, why)] = connection.execute(
            "SELECT status, attempt, max_attempts - attempt, error FROM job_executions"
        )
        assert (status, attempt, left) == ("retrying", 1, 1)
        assert why == "Stopped: the local stack was stopped"
    for name in ("QSTASH_TOKEN", "QSTASH_CURRENT_SIGNING_KEY", "QSTASH_NEXT_SIGNING_KEY"):
        assert before[name] == after[name]


def test_other_users_of_the_machine_can_read_nothing(shared: Shared) -> None:
    post(f"{shared.urls['app']}/job")

    def open_files(folder: Path) -> Iterator[Path]:
        for path in folder.iterdir():
            mode = path.stat().st_mode
            if path.is_dir() and mode & 0o011:
                yield from open_files(path)
            elif not path.is_dir() and mode & 0o044:
                yield path

    home = shared.root / ".stashjobs"
    assert eventually((home / "logs/Job.log").exists)
    assert (home / "qstash.sqlite").exists()
    assert list(open_files(home)) == []


def test_a_terminal_that_closes_stops_everything(dev: Callable[..., Dev], root: Path) -> None:
    running = dev("--json")
    post(f"{running.ready()['app']}/job")

    assert running.end(signal.SIGHUP) == (0, "")

    assert not (root / ".stashjobs/dev.env").exists()
    assert eventually(lambda: not left_behind(root)), left_behind(root)


def test_a_second_ctrl_c_does_not_cut_the_clean_up_short(
    dev: Callable[..., Dev], root: Path
) -> None:
    running = dev("--json")
    url = running.ready()["app"]
    with pytest.raises(TimeoutError):
        post(f"{url}/job", "sleep", patience=1)

    for _ in range(20):
        running.process.send_signal(signal.SIGINT)
        time.sleep(0.02)

    assert running.wait() == (0, "")
    assert not (root / ".stashjobs/dev.env").exists()
    assert eventually(lambda: not left_behind(root)), left_behind(root)


def test_ctrl_c_in_the_first_start_leaves_nothing_behind(
    dev: Callable[..., Dev], root: Path
) -> None:
    shutil.rmtree(root / ".stashjobs")
    running = dev("--json")
    assert eventually((root / ".stashjobs/postgres").exists)

    assert running.end(signal.SIGINT) == (0, "")

    assert eventually(lambda: not left_behind(root)), left_behind(root)


def test_sigkill_leaves_nothing_behind_and_the_next_start_recovers(
    dev: Callable[..., Dev], root: Path
) -> None:
    running = dev("--json")
    post(f"{running.ready()['app']}/job")

    running.end(signal.SIGKILL)

    assert eventually(lambda: not left_behind(root)), left_behind(root)
    assert post(f"{dev('--json').ready()['app']}/job").startswith("postgresql://")


def test_a_taken_port_is_named_with_what_chooses_others(
    dev: Callable[..., Dev], root: Path
) -> None:
    first = free_block()
    with socket.create_server(("127.0.0.1", first + 1)):  # QStash's
        code, errors = dev("--json", f"--port={first}").wait()

    assert code == 2
    assert errors == (
        f"Error: port {first + 1} is taken by another program; choose others with --port, or any "
        "free ones with --port 0\n"
    )
    assert not left_behind(root)
    assert not (root / ".stashjobs/dev.env").exists()


def test_beside_another_stack_it_takes_the_next_free_ports(root: Path) -> None:
    first = Stack(root, first_port=None).choose_ports().gateway
    with socket.create_server(("127.0.0.1", first + 3)):
        second = Stack(root, first_port=None).choose_ports().gateway
    assert second > first
    assert (second - first) % 20 == 0


@pytest.mark.parametrize("command", ["dev", "demo"])
def test_a_template_that_cannot_be_read_is_named(root: Path, command: str) -> None:
    (root / "template.yaml").write_text("Resources: [")
    ended = subprocess.run(
        [sys.executable, "-c", RUN, command],
        cwd=root,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "shared")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith(f"Error: {root / 'template.yaml'}: ")
    assert "Traceback" not in ended.stderr


def test_for_people_it_says_in_three_lines_where_things_are_and_then_every_delivery(
    dev: Callable[..., Dev],
) -> None:
    running = dev()
    assert running.process.stdout
    said = [running.process.stdout.readline().split() for _ in range(3)]
    assert [words[0] for words in said] == ["app", "qstash", "mailbox"]
    post(f"{said[0][1]}/job", "hello")
    assert running.process.stderr
    told = ""
    while "schedules | " not in told:  # it syncs them by itself
        told += running.process.stderr.readline()
    running.process.send_signal(signal.SIGTERM)

    output, errors = running.process.communicate(timeout=60)

    assert output.split()[:3] == ["POST", "/job", "200"]
    assert "Job | handled hello" in told + errors


def test_verbose_says_where_all_of_it_is(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stack = Stack(root, first_port=0)
    stack.template = read_template(root / "template.yaml")
    stack.urls = dict.fromkeys(("Slow", "app", "mailbox", "postgres", "qstash", "s3"), "http://x")
    _show_urls(stack, verbose=True)
    said = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert said == ["app", "qstash", "mailbox", "Slow", "postgres", "s3", "data"]


def test_for_people_it_prints_no_metrics(capsys: pytest.CaptureFixture[str]) -> None:
    _show_line("Job", '{"_aws": {"Timestamp": 1}, "Completed": [1]}')
    _show_line("Job", '{"level": "INFO", "message": "completed", "job_id": "j1"}')
    assert capsys.readouterr().err == "Job | INFO completed j1\n"


def test_qstash_alone_takes_a_token_and_prints_what_an_app_needs(dev: Callable[..., Dev]) -> None:
    running = dev("--only=qstash", "--token=of-a-client")
    assert running.process.stdout
    settings = dict(running.process.stdout.readline().rstrip().split("=", 1) for _ in range(4))

    with urllib.request.urlopen(  # noqa: S310
        urllib.request.Request(  # noqa: S310
            f"{settings['QSTASH_URL']}/v2/keys",
            headers={"Authorization": f"Bearer {settings['QSTASH_TOKEN']}"},
        )
    ) as answer:
        keys = json.load(answer)

    assert settings["QSTASH_TOKEN"] == "of-a-client"
    assert keys["current"] == settings["QSTASH_CURRENT_SIGNING_KEY"]
    assert keys["next"] == settings["QSTASH_NEXT_SIGNING_KEY"]
    assert running.end(signal.SIGINT) == (0, "")


def test_outside_a_checkout_it_says_so(tmp_path: Path) -> None:
    installed = tmp_path / "python" / "site-packages"
    shutil.copytree(ROOT / "shared" / "stashjobs", installed / "stashjobs")

    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_THE_CHECKOUT + RUN, "dev", "--port", "0"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(installed)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 2
    assert "this is not a checkout of stashjobs" in ended.stderr


@pytest.mark.parametrize(
    ("url", "is_own"),
    [
        ("http://127.0.0.1:8080", True),
        ("https://qstash.upstash.io", False),
        ("https://qstash-us-east-1.upstash.io", False),
        ("", False),
    ],
)
def test_the_user_s_own_qstash_is_used_unless_it_is_the_one_in_the_cloud(
    url: str, *, is_own: bool
) -> None:
    keys: dict[str, Any] = {
        "QSTASH_TOKEN": "t",
        "QSTASH_CURRENT_SIGNING_KEY": "c",
        "QSTASH_NEXT_SIGNING_KEY": "n",
    }

    assert bool(own_qstash({**keys, "QSTASH_URL": url})) is is_own
