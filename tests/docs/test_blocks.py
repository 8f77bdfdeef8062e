"""Every code block of the README and the guides does what it says.

Shell and Python run as a reader would run them, beside a running `make dev`; SQL runs in its
database; data is parsed, and read by what reads it. Commands for a system in AWS, `make` and
benchmarks are not run: it is only looked at whether they exist.
"""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
import shlex
import subprocess
from typing import TYPE_CHECKING

import botocore.session
import psycopg
import pytest
from click.testing import CliRunner
from dotenv import dotenv_values
from playwright._impl._driver import compute_driver_executable

from functions.send_email.models import Email
from functions.webhooks import custom_sources
from stashjobs import sealing
from stashjobs.cli import main
from stashjobs.sealing import Place
from tests.docs.blocks import ROOT, Block, blocks
from tests.docs.reader import Reader
from tests.docs.surroundings import ELSEWHERE, PYTHON_BEFORE, SERVERS, WITHOUT_CODE
from tests.stacks import stack_in_a_thread

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TRIED = {"sh", "python", "js", "sql", "json", "dotenv"} | {"ts"}  # `ts`: in test_producers.py


NODE = str(compute_driver_executable()[0])
"""The one that Playwright brings along."""


def every(language: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", blocks(language), ids=str)


def test_every_block_is_of_a_language_that_is_tried() -> None:
    assert {each.language for each in blocks()} <= TRIED | WITHOUT_CODE


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with stack_in_a_thread(tmp_path_factory.mktemp("stack")) as stack:
        yield Reader(stack, tmp_path_factory.mktemp("reader"))


@every("sh")
def test_shell(block: Block, reader: Reader) -> None:
    lines = block.text.replace("\\\n", " ").splitlines()
    if any(mark in block.text for mark in ELSEWHERE):
        for line in lines:
            assert_that_it_exists(line.split(" #")[0])
        return
    to_run = []
    for line in lines:
        if line.startswith("make "):
            subprocess.run(["make", "--dry-run", line.split()[1]], cwd=ROOT, check=True)
        elif line.startswith(SERVERS):
            reader.serve(line)
        elif line.startswith("python benchmarks/"):  # takes minutes
            assert (ROOT / line.split()[1]).exists()
        else:
            to_run.append(line)
    reader.run(reader.here("\n".join(to_run)))


def assert_that_it_exists(line: str) -> None:
    """A command for a system in AWS: there is one of that name, with these options."""
    words = [word for word in shlex.split(line) if not re.match(r"[A-Z_]+=", word)]
    match words:
        case ["stashjobs", *arguments]:
            result = CliRunner().invoke(main, [*arguments, "--help"])
            assert result.exit_code == 0, result.output
        case ["aws", service, operation, *options]:
            model = botocore.session.get_session().get_service_model(service)
            name = operation.title().replace("-", "")
            members = model.operation_model(name).input_shape.members
            named = {word[2:].title().replace("-", "") for word in options if word[:2] == "--"}
            assert named <= members.keys() | {"Query", "Output"}
        case [] | ["shred", *_]:
            pass
        case _:
            pytest.fail(f"nothing knows how to check: {line}")


@pytest.mark.parametrize("page", sorted({each.page for each in blocks("python")}))
def test_python(page: str, reader: Reader) -> None:
    """A page's blocks, one after the other: each may use what those before it have defined."""
    texts = [each.text for each in blocks("python") if each.page == page]
    source = "\n".join([PYTHON_BEFORE.get(page, ""), *texts])
    reader.run("python -m tests.docs.run_python", reader.here(source))


def test_a_payload_that_another_language_has_sealed_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [block] = blocks("js")
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    given = {"keyText": key, "kid": "k1", "type": "say-hello", "jobId": "job_1"}
    script = tmp_path / "seal.cjs"
    script.write_text(
        'const crypto = require("crypto");\n'
        f"const {{keyText, kid, type, jobId}} = {json.dumps(given)};\n"
        f"const payload = {{name: 'Ada'}};\n{block.text}\nconsole.log(JSON.stringify(sealed));\n"
    )
    sealed = json.loads(subprocess.check_output([NODE, script]))
    monkeypatch.setenv("PAYLOAD_KEYS", f"k1:{key}")
    assert sealing.unseal(sealed, Place("job_1", "say-hello", "payload")) == {"name": "Ada"}


@every("sql")
def test_sql(block: Block, reader: Reader) -> None:
    with psycopg.connect(reader.environment["POSTGRES_URL"]) as connection:
        connection.execute(block.text.encode())
        connection.rollback()


@every("json")
def test_json(block: Block) -> None:
    document = json.loads(block.text)
    if block.page == "docs/email.md":
        Email.model_validate(document)


@every("dotenv")
def test_settings(block: Block) -> None:
    values = dotenv_values(stream=io.StringIO(block.text))
    for source in custom_sources.read(values.get("WEBHOOK_SOURCES") or "{}").values():
        assert source.secret_setting in values
