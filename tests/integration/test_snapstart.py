"""Copies of a function that Lambda SnapStart restores share no connection, secret or seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from stashjobs import encryption

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def secrets_manager() -> Iterator[str]:
    moto = ThreadedMotoServer(port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    yield f"http://{host}:{port}"
    moto.stop()


def test_restored_copies_differ_and_have_no_connection_and_no_secret_of_the_snapshot(
    database_url: str, secrets_manager: str, repository: Path
) -> None:
    secrets = {
        "POSTGRES_URL": database_url,
        "QSTASH_TOKEN": "token-that-no-snapshot-has",
        "QSTASH_CURRENT_SIGNING_KEY": "sig_that_no_snapshot_has",
        "QSTASH_NEXT_SIGNING_KEY": "sig_that_comes_next",
        "PAYLOAD_KEYS": encryption.new_entry("snapshot"),
    }
    environment = {
        "AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start",
        "AWS_ACCESS_KEY_ID": "AKID",
        "AWS_SECRET_ACCESS_KEY": "key",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER": secrets_manager,
        "SETTINGS_SECRET": "stashjobs/staging",
        "STAGE": "staging",
    }
    client = boto3.client(
        "secretsmanager",
        endpoint_url=secrets_manager,
        region_name="us-east-1",
        aws_access_key_id="AKID",
        aws_secret_access_key="key",
    )
    client.create_secret(Name="stashjobs/staging", SecretString=json.dumps(secrets))

    functions = [each.parent.name for each in sorted(repository.glob("functions/*/handler.py"))]
    ran = subprocess.run(
        [sys.executable, "-m", "tests.integration.restored_copies", *functions],
        input=json.dumps({name: secret[::-1] for name, secret in secrets.items()}),
        env={name: value for name, value in os.environ.items() if name not in secrets}
        | environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    document: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])

    assert document["initialised"] == {"secrets": [], "connections": 0}
    left, copies = document["left"], document["copies"]
    assert left["secret was known"]
    assert {"POSTGRES_URL", "QSTASH_TOKEN", "PAYLOAD_KEYS"} <= set(left["secrets before"])
    assert (left["secrets"], left["secret is known"]) == ([], False)
    assert (left["connections"], left["keys"]) == (0, 0)
    for name in ("random", "job_id", "backend"):
        assert len({copy[name] for copy in copies}) == len(copies), name
    assert {copy["token"] for copy in copies} == {secrets["QSTASH_TOKEN"]}
