"""Every code block of the README and the guides does what it says.

Shell and Python run as a reader would run them, beside a running `make dev`; SQL runs in its
database; data is parsed, and read by what reads it. Commands for a system in AWS are not run, but
parsed with their options and values; of `make` and benchmarks it is only looked at whether they
exist. What has no language is a picture, a query or an output, and is compared with nothing but
where `surroundings.COMPARED` says so.
"""

from __future__ import annotations

import base64
import io
import json
import re
import secrets
import shlex
import subprocess
import tomllib
from typing import TYPE_CHECKING, Any

import botocore.session
import click
import psycopg
import pytest
from dotenv import dotenv_values
from playwright._impl._driver import compute_driver_executable

from functions.send_email.models import Email
from functions.webhooks import custom_sources
from stashjobs import encryption
from stashjobs.encryption import Place
from stashjobs.tools.cli import main
from tests.docs import run_python
from tests.docs.blocks import ROOT, Block, blocks
from tests.docs.reader import Reader
from tests.docs.surroundings import (
    COMPARED,
    ELSEWHERE,
    NOT_CALLED,
    NOT_COMPARED,
    PYTHON_AFTER,
    PYTHON_BEFORE,
    RUN_ELSEWHERE,
    SERVERS,
    WITHOUT_CODE,
)
from tests.preloaded import preloaded
from tests.stacks import stack_in_a_thread

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from stashjobs.testing import Jobs

TRIED = {"sh", "python", "js", "sql", "json", "dotenv"} | {"ts"}  # `ts`: in test_producers.py


NODE = str(compute_driver_executable()[0])
"""The one that Playwright brings along."""


def every(language: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("block", blocks(language), ids=str)


def test_every_block_is_of_a_language_that_is_tried() -> None:
    assert {each.language for each in blocks()} <= TRIED | WITHOUT_CODE


def test_it_is_known_of_every_block_without_a_language_what_it_is() -> None:
    pages = {each.page for each in blocks("")}
    assert pages == NOT_COMPARED.keys() | COMPARED.keys()


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    with stack_in_a_thread(tmp_path_factory.mktemp("stack")) as stack, preloaded() as programs_at:
        yield Reader(stack, tmp_path_factory.mktemp("reader"), programs_at)


@every("sh")
def test_shell(block: Block, reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = block.text.replace("\\\n", " ").splitlines()
    if any(mark in block.text for mark in ELSEWHERE):
        monkeypatch.chdir(reader.folder)
        for line in lines:
            assert_that_it_exists(line)
        return
    to_run = []
    for line in lines:
        if line.startswith("make "):
            command = ["make", "--dry-run", *shlex.split(line, comments=True)[1:]]
            subprocess.run(command, cwd=ROOT, check=True)
        elif line.startswith(SERVERS):
            reader.serve(line)
        elif line.startswith("python benchmarks/"):  # takes minutes
            assert (ROOT / line.split()[1]).exists()
        else:
            to_run.append(line)
    reader.run(reader.here("\n".join(to_run)))


def assert_that_it_exists(line: str) -> None:
    """A command for a system in AWS: there is one of that name, with these options, and they take
    these values."""
    words = shlex.split(line, comments=True)
    words = [word for word in words if not re.match(r"[A-Z_]+=", word)]
    match words:
        case ["stashjobs", *arguments]:
            parse(arguments)
        case ["aws", "cloudformation", "deploy", *options]:
            at = options.index("--parameter-overrides")
            assert_parameters(options[options.index("--template-file") + 1], options[at + 1 :])
        case ["aws", service, operation, *options]:
            model = botocore.session.get_session().get_service_model(service)
            name = operation.title().replace("-", "")
            members = model.operation_model(name).input_shape.members
            named = {word[2:].title().replace("-", "") for word in options if word[:2] == "--"}
            assert named <= members.keys() | {"Query", "Output"}
        case ["sam" | ".venv-deploy/bin/sam", "deploy", "--config-env", stage, *options]:
            assert stage in tomllib.loads((ROOT / "samconfig.toml").read_text())
            assert options[:1] in ([], ["--parameter-overrides"])
            assert_parameters("template.yaml", options[1:])
        case ["make", *targets]:
            subprocess.run(["make", "--dry-run", *targets], cwd=ROOT, check=True)
        case ["gh", "variable", "set", _, "--body", _] | [
            "gh",
            "variable",
            "set",
            _,
            "--env",
            ("staging" | "production"),
            "--body",
            _,
        ]:
            workflows = (ROOT / ".github" / "workflows").glob("*.yml")
            assert any(f"vars.{words[3]}" in each.read_text() for each in workflows)
        case ["git", "checkout", _, "--", *paths]:
            assert all((ROOT / path).exists() for path in paths)
        case [] | ["git" | "shred" | "export" | "pytest" | "${EDITOR:-vi}", *_]:
            pass
        case _:
            pytest.fail(f"nothing knows how to check: {line}")


def assert_parameters(template: str, overrides: Sequence[str]) -> None:
    text = (ROOT / template).read_text()
    for override in overrides:
        assert f"\n  {override.partition('=')[0]}:\n    Type: " in text


def parse(arguments: Sequence[str]) -> None:
    """What `stashjobs` makes of its arguments before it does anything.

    Raises:
        click.UsageError: It makes nothing of them.
    """
    command: click.Command = main
    context = main.make_context("stashjobs", list(arguments))
    while isinstance(command, click.Group):
        rest = [*context._protected_args, *context.args]
        name, found, rest = command.resolve_command(context, rest)
        assert found is not None
        command, context = found, found.make_context(name, rest, parent=context)


@pytest.mark.parametrize(
    "line",
    [
        "migrate --stage bogus",
        "smoke nonsense more",
        "cost --jobs-per-month x",
        "cost",
        "schedules sink --stage staging",
        "list --status fallen --stage staging",
        "no-such-command",
    ],
)
def test_a_command_that_would_be_refused_is_found(line: str) -> None:
    with pytest.raises(click.UsageError):
        assert_that_it_exists(f"stashjobs {line}")


@pytest.mark.parametrize(
    "page", sorted({each.page for each in blocks("python")} - RUN_ELSEWHERE.keys())
)
def test_python(page: str, reader: Reader) -> None:
    """A page's blocks, one after the other: each may use what those before it have defined. Every
    function of them is called, a job's as where its Lambda is invoked."""
    texts = [each.text for each in blocks("python") if each.page == page]
    source = "\n".join([PYTHON_BEFORE.get(page, ""), *texts, PYTHON_AFTER.get(page, "")])
    uncalled = " ".join(NOT_CALLED.get(page, {}))
    reader.run(f"run_python {uncalled}", reader.here(source))


def test_a_function_that_nothing_calls_is_found() -> None:
    run_python.run("def one(): ...\none()", set())
    with pytest.raises(AssertionError, match=r"not called: .'two'"):
        run_python.run("def one(): ...\ndef two(): ...\none()", set())


def test_output(jobs: Jobs) -> None:
    """What the guide to testing shows of a test that fails; ids and times are other ones."""
    [output] = [each for each in blocks("") if each.page == "docs/testing.md"]
    app, *_ = [each.text for each in blocks("python") if each.page == output.page]
    names: dict[str, Any] = {}
    exec(app, names)  # noqa: S102 - a guide of this repository
    names["sign_up"]("bob@example.com")
    with pytest.raises(AssertionError) as failed:
        jobs.assert_enqueued(names["welcome"], {"to": "ada@example.com"})
    assert masked(f"AssertionError: {failed.value}") == masked(output.text.rstrip())


def masked(text: str) -> str:
    """Without ids, of which a page shows the beginning, and without times."""
    text = re.sub(r"^  \S+ (?=pending)", "  ID ", text, flags=re.MULTILINE)
    return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+\+00:00", "TIME", text)


def test_a_payload_that_another_language_has_encrypted_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [block] = blocks("js")
    key = base64.b64encode(secrets.token_bytes(32)).decode()
    given = {"keyText": key, "kid": "k1", "type": "say-hello", "jobId": "job_1"}
    script = tmp_path / "encrypt.cjs"
    script.write_text(
        'const crypto = require("crypto");\n'
        f"const {{keyText, kid, type, jobId}} = {json.dumps(given)};\n"
        f"const payload = {{name: 'Ada'}};\n{block.text}\nconsole.log(JSON.stringify(encrypted));\n"
    )
    encrypted = json.loads(subprocess.check_output([NODE, script]))
    monkeypatch.setenv("PAYLOAD_KEYS", f"k1:{key}")
    assert encryption.decrypt(encrypted, Place("job_1", "say-hello", "payload")) == {"name": "Ada"}


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
