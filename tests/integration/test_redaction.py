"""No secret in a log line, an answer or a row."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

import stashjobs
from stashjobs import Context
from stashjobs.observability.redaction import SECRET_SETTINGS, describe_error
from stashjobs.testing.qstash import serving
from tests.deliveries import Table, deliver, probe

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Log


@stashjobs.job("secrets-probe", endpoint="/api/jobs/probe")
def secrets_probe(payload: Any, _context: Context) -> None:
    """Something to enqueue."""


@pytest.mark.parametrize("name", SECRET_SETTINGS)
def test_a_secret_in_an_error_is_replaced_by_its_name(
    table: Table, settings: pytest.MonkeyPatch, log: Log, name: str
) -> None:
    if name not in os.environ:
        settings.setenv(name, f"secret-value-of-{name.lower()}")
    secret = os.environ[name]
    for other in SECRET_SETTINGS:  # the keys of a region are two, or none
        if "_QSTASH_" in name and other[:9] == name[:9] and other not in os.environ:
            settings.setenv(other, f"secret-value-of-{other.lower()}")

    def fail(_payload: Any, _context: Context) -> None:
        try:
            raise ValueError(f"inner {secret}")
        except ValueError as error:
            raise OSError(f"cannot use {secret}!") from error

    job = probe(fail)
    job_id = table.add(job)
    answer = deliver(job, job_id)
    row = table.row(job_id)
    assert row["error"] == f"OSError: cannot use [{name}]!"
    assert answer.document["error"] == row["error"]
    for place in (str(row), str(answer), log.text):
        assert secret not in place
    assert f"inner [{name}]" in row["errors"][0]["traceback"]


def test_the_password_alone_is_a_secret_too(table: Table, log: Log) -> None:
    password = urlsplit(os.environ["POSTGRES_URL"]).password
    assert password

    def fail(_payload: Any, _context: Context) -> None:
        raise OSError(f"login with {password} failed")

    job = probe(fail)
    job_id = table.add(job)
    answer = deliver(job, job_id)
    for place in (str(table.row(job_id)), str(answer), log.text):
        assert password not in place


def test_a_secret_at_the_edge_of_what_is_kept_is_gone_too(
    table: Table, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("RESEND_API_KEY", "re_" + "s" * 40)

    def fail(_payload: Any, _context: Context) -> None:
        raise OSError("x" * 1_980 + "re_" + "s" * 40)

    job = probe(fail)
    job_id = table.add(job)
    deliver(job, job_id)
    assert "ssss" not in str(table.row(job_id))


def test_a_message_is_cut_between_words_so_that_no_key_is_cut() -> None:
    for padding in range(1_960, 2_000):
        error = describe_error(OSError("x" * padding + " sk_live_abcdefghijklmnopqrstuvwx was bad"))
        message = error["message"]
        assert "sk_live" not in message or "sk_live_abcdefghijklmnopqrstuvwx" in message
        assert len(message) <= 2_000


@pytest.mark.parametrize("token", ["token-with-\x01-never-shown", "token-never-shown"])
def test_a_token_that_qstash_or_http_refuses_is_not_in_the_log(
    table: Table, use_qstash: Callable[[str, str], None], log: Log, token: str
) -> None:
    with serving() as server:
        server.status = 401
        use_qstash(server.url, token)
        assert secrets_probe.enqueue({}).published is False
    assert "could not be published" in log.text
    assert "never-shown" not in log.text


PROGRAM = """
import os, sys
from stashjobs.delivery import handler as worker
from tests.deliveries import delivery, handle, probe

def fail(payload, context):
    raise OSError(os.environ["POSTGRES_URL"] + " and " + os.environ["QSTASH_NEXT_SIGNING_KEY"])

message = {"jobId": "node-1", "type": "probe", "payload": {"private": "payload-text"}}
handle(probe(fail), delivery(message))
"""


def test_what_lambda_writes_to_cloudwatch_has_no_secret_and_no_payload(
    table: Table, repository: Path
) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        cwd=repository,
        env={**os.environ, "PYTHONPATH": f"{repository}:{repository / 'shared'}"},
    )
    assert ran.stderr == ""
    assert "retrying" in ran.stdout
    for secret in (os.environ["POSTGRES_URL"], os.environ["QSTASH_NEXT_SIGNING_KEY"]):
        assert secret not in ran.stdout
    assert "payload-text" not in ran.stdout
