"""`functions.migrate.handler`, and `stashjobs migrate --in-stack`, which invokes it."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest
from psycopg import sql

from functions.migrate import handler as function
from stashjobs.config import settings as config
from stashjobs.errors import MigrationError
from stashjobs.store import migrations
from tests.integration.test_cli import run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from stashjobs.tools.servers.postgres import Postgres

ALL = [each.name for each in migrations.available()]


@pytest.fixture
def empty_url(postgres: Postgres) -> Iterator[str]:
    """A database with nothing in it."""
    name = "migrated_in_stack"
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        database = sql.Identifier(name)
        connection.execute(sql.SQL("CREATE DATABASE {} STRATEGY FILE_COPY").format(database))
        yield postgres.url_of(name)
        connection.execute(sql.SQL("DROP DATABASE {} (FORCE)").format(database))


@pytest.fixture
def owner(empty_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The function's settings: the owner's URL, and a worker's that may do nothing."""
    parts = urlsplit(empty_url)
    worker = urlunsplit(parts._replace(netloc=f"nobody@{parts.netloc.rpartition('@')[2]}"))
    monkeypatch.setenv("POSTGRES_OWNER_URL", empty_url)
    monkeypatch.setenv("POSTGRES_URL", worker)
    yield empty_url
    config.act_as_owner(acts=False)


def applied(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        [history] = connection.execute("SELECT to_regclass('stashjobs_migrations')").fetchone() or [
            None
        ]
        rows = connection.execute("SELECT name FROM stashjobs_migrations ORDER BY 1")
        return [name for (name,) in rows] if history else []


def test_the_function_migrates_as_the_owner(owner: str) -> None:
    names = function.handler({}, None)["names"]
    assert names[: len(ALL)] == ALL == applied(owner)
    assert function.handler({}, None)["names"] == []


def test_a_dry_run_changes_nothing(owner: str) -> None:
    names = function.handler({"dryRun": True, "newest": ALL[-1]}, None)["names"]
    assert names[: len(ALL)] == ALL
    with psycopg.connect(owner) as connection:
        assert connection.execute("SELECT to_regclass('stashjobs_migrations')").fetchone() == (
            None,
        )


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ([{"dryRun": True}], "must be a JSON object"),
        ({"dry_run": True}, "dry_run is no field"),
        ({"dryRun": "yes"}, "dryRun must be a bool"),
        ({"workerRole": 7}, "workerRole must be a str"),
        ({"newest": "9999_of_tomorrow.sql"}, f"up to {ALL[-1]}, and those up to 9999_of_tomorrow"),
    ],
)
def test_an_event_that_makes_no_sense_changes_nothing(owner: str, event: Any, words: str) -> None:
    with pytest.raises(MigrationError, match=words):
        function.handler(event, None)
    with psycopg.connect(owner) as connection:
        assert connection.execute("SELECT to_regclass('stashjobs_migrations')").fetchone() == (
            None,
        )


def test_what_postgres_says_is_told_without_the_password(
    owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = urlsplit(owner)._replace(netloc="somebody:a-secret-word@127.0.0.1:1").geturl()
    monkeypatch.setenv("POSTGRES_OWNER_URL", url)
    with pytest.raises(MigrationError) as error:
        function.handler({}, None)
    assert "a-secret-word" not in str(error.value)
    assert "127.0.0.1" in str(error.value)


@contextmanager
def lambda_running() -> Iterator[tuple[str, list[str]]]:
    """Lambda's Invoke over HTTP, with the one function; moto would want Docker for that."""
    paths: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            paths.append(self.path)
            event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            failed: dict[str, str] = {}
            if "/stashjobs-staging-migrate/" not in self.path:
                self.send_response(404)
                failed = {"x-amzn-errortype": "ResourceNotFoundException"}
                answer: Any = {"Message": "Function not found"}
            else:
                self.send_response(200)
                try:
                    answer = function.handler(event, None)
                except MigrationError as error:
                    failed = {"X-Amz-Function-Error": "Unhandled"}
                    answer = {"errorType": "MigrationError", "errorMessage": str(error)}
            for name, value in failed.items():
                self.send_header(name, value)
            body = json.dumps(answer).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", paths
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def aws(owner: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """A shell with AWS credentials, in a folder without a `.env`. What was invoked."""
    assert owner
    monkeypatch.chdir(tmp_path)
    with lambda_running() as (url, paths):
        for name, value in {
            "AWS_ENDPOINT_URL_LAMBDA": url,
            "AWS_ACCESS_KEY_ID": "of-a-test",
            "AWS_SECRET_ACCESS_KEY": "of-a-test",
            "AWS_REGION": "eu-central-1",
            "AWS_DEFAULT_REGION": "eu-central-1",
        }.items():
            monkeypatch.setenv(name, value)
        yield paths


def test_in_stack_has_the_stages_function_migrate(aws: list[str], owner: str) -> None:
    first = run("migrate", "--stage", "staging", "--in-stack")
    assert first.exit_code == 0, first.output
    assert f"applied {ALL[-1]}" in first.output
    assert applied(owner) == ALL
    again = run("migrate", "--stage", "staging", "--in-stack")
    assert "The database is up to date." in again.output
    assert aws == ["/2015-03-31/functions/stashjobs-staging-migrate/invocations"] * 2


def test_in_stack_says_what_the_function_said(
    aws: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert aws == []
    monkeypatch.setattr(function, "FIELDS", {})
    ended = run("migrate", "--stage", "staging", "--in-stack", "--dry-run")
    assert ended.exit_code == 1
    assert "stashjobs-staging-migrate failed: dryRun is no field" in ended.output


def test_in_stack_without_such_a_function_is_wrong_use(aws: list[str]) -> None:
    ended = run("migrate", "--stage", "production", "--in-stack")
    assert (ended.exit_code, len(aws)) == (2, 1)
    assert "no function stashjobs-production-migrate here; deploy infra/migrate.yaml" in (
        ended.output
    )


def test_the_local_stage_has_no_function(aws: list[str]) -> None:
    ended = run("migrate", "--stage", "local", "--in-stack")
    assert (ended.exit_code, aws) == (2, [])
    assert "the local stage has no stack" in ended.output
