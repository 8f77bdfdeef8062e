"""The signed call of Secrets Manager: botocore is the oracle for the signature."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from stashjobs.config import secrets_manager
from stashjobs.errors import SecretUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOMENT = "20261124T083000Z"
WORDS = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


class _AtMoment(SigV4Auth):  # type: ignore[misc]
    """botocore's signer without its clock."""

    def add_auth(self, request: AWSRequest) -> None:
        request.context["timestamp"] = MOMENT
        self._modify_request_before_signing(request)
        canonical = self.canonical_request(request)
        signature = self.signature(self.string_to_sign(request, canonical), request)
        self._inject_signature_to_request(request, signature)


@given(key_id=WORDS, key=WORDS, token=st.none() | WORDS, body=st.binary(max_size=200))
def test_the_signature_is_botocores(key_id: str, key: str, token: str | None, body: bytes) -> None:
    headers = {
        "content-type": secrets_manager.CONTENT_TYPE,
        "host": "secretsmanager.eu-south-1.amazonaws.com",
        "x-amz-date": MOMENT,
        "x-amz-target": secrets_manager.TARGET,
    }
    if token is not None:
        headers["x-amz-security-token"] = token
    request = AWSRequest("POST", f"https://{headers['host']}/", data=body, headers=headers)
    _AtMoment(Credentials(key_id, key, token), "secretsmanager", "eu-south-1").add_auth(request)
    signed = secrets_manager.sign(headers, body, region="eu-south-1", key_id=key_id, key=key)
    assert signed == request.headers["Authorization"]


@pytest.mark.parametrize(
    ("secret_id", "host"),
    [
        ("arn:aws:secretsmanager:eu-south-1:1:secret:s", "secretsmanager.eu-south-1.amazonaws.com"),
        (
            "arn:aws-cn:secretsmanager:cn-north-1:1:secret:s",
            "secretsmanager.cn-north-1.amazonaws.com.cn",
        ),
        ("stashjobs/staging", "secretsmanager.us-west-2.amazonaws.com"),
    ],
)
def test_the_endpoint_is_that_of_the_secrets_own_region(
    monkeypatch: pytest.MonkeyPatch, secret_id: str, host: str
) -> None:
    called: list[tuple[str, str]] = []

    def post(scheme: str, host: str, *_: object) -> tuple[int, dict[str, str]]:
        called.append((scheme, host))
        return 200, {"SecretString": "{}"}

    monkeypatch.setattr(secrets_manager, "_post", post)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.delenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", raising=False)
    assert secrets_manager.read(secret_id) == "{}"
    assert called == [("https", host)]


def test_a_server_that_hangs_up_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", f"http://{address}")
    with pytest.raises(SecretUnreadable, match=f"{address} cannot be reached"):
        secrets_manager.read("stashjobs/staging")


@contextmanager
def answering(monkeypatch: pytest.MonkeyPatch, *answers: tuple[int, object]) -> Iterator[list[str]]:
    """A server in Secrets Manager's place, and what it was asked for; the settings lead there."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status, document = answers[len(asked)]
            asked.append(self.headers["x-amz-target"])
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(document).encode())

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKID")
        monkeypatch.setenv("AWS_REGION", "us-west-2")
        url = f"http://127.0.0.1:{server.server_address[1]}"
        monkeypatch.setenv("AWS_ENDPOINT_URL_SECRETS_MANAGER", url)
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()


def test_a_busy_secrets_manager_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    busy = (400, {"__type": "x#ThrottlingException"})
    with answering(monkeypatch, busy, (200, {"SecretString": "second"})) as asked:
        assert secrets_manager.read("stashjobs/staging") == "second"
    assert asked == ["secretsmanager.GetSecretValue"] * 2


def test_a_binary_secret_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    binary = (200, {"SecretBinary": "eA=="})
    with (
        answering(monkeypatch, binary),
        pytest.raises(SecretUnreadable, match="must be text"),
    ):
        secrets_manager.read("stashjobs/staging")


PROGRAM = """
import json, sys
from stashjobs.config import secrets_manager
from stashjobs.errors import SecretUnreadable
try:
    secrets_manager.read("stashjobs/staging")
except SecretUnreadable:
    pass
print(json.dumps(list(sys.modules)))
"""


def test_boto3_is_not_imported_for_it(repository: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        capture_output=True,
        text=True,
        check=True,
        env={
            "PYTHONPATH": str(repository / "shared"),
            "PATH": os.environ["PATH"],
            "AWS_ACCESS_KEY_ID": "AKID",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL_SECRETS_MANAGER": "http://127.0.0.1:1",
        },
    )
    assert {"boto3", "botocore"}.isdisjoint(json.loads(ran.stdout))
