"""What `make build` makes is what Lambda can run: `what is zipped is what is tested`.

The artefacts are built by the same rules, for this machine, and run by AWS's own runtime client.
Those for Lambda's arm64 are built too, and looked at.
"""

from __future__ import annotations

import fcntl
import filecmp
import json
import os
import re
import shutil
import subprocess
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from jinja2 import ModuleLoader

from functions.send_email import rendering
from functions.send_email.handler import send_email
from functions.send_email.models import TEMPLATES, Email
from infra.build import report
from infra.local.mailbox import Mailbox
from tests.artefacts import FUNCTIONS, LAYER, ROOT, Artefacts, build, folder_of, machine_of, make
from tests.conftest import CURRENT_KEY, NEXT_KEY
from tests.deliveries import Table, http_event, sign

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUIREMENTS = ROOT / "requirements"
OF_FUNCTIONS = sorted((REQUIREMENTS / "functions").glob("*.txt"))
WITH_PACKAGES = [name for name in FUNCTIONS if folder_of(name) in {f.stem for f in OF_FUNCTIONS}]
SHOW = 'show:;@echo "$(REQUIREMENTS)"'
# What a function answers to a call that nobody signed. To a schedule's, where it has no route.
ANSWERS = {
    "ApiFunction": ("GET", "/livez", 200),
    "WebhooksFunction": ("POST", "/api/webhooks/x", 404),
}


@pytest.fixture(scope="session")
def artefacts(tmp_path_factory: pytest.TempPathFactory) -> Artefacts:
    """Built once, also where several workers share the tests."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    made = Artefacts.for_this_machine(folder / "artefacts")
    with (folder / "artefacts.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (done := folder / "artefacts.done").exists():
            made.build()
            done.touch()
    return made


@pytest.fixture(scope="session")
def arm64_layer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As `make build` makes it."""
    return build(LAYER, tmp_path_factory.mktemp("arm64"))


@pytest.fixture
def settings_of_a_function(database_url: str) -> dict[str, str]:
    return {
        "STAGE": "local",
        "POSTGRES_URL": database_url,
        "QSTASH_URL": "http://127.0.0.1:9",  # the discard port: nobody is there
        "QSTASH_TOKEN": "a-token",
        "QSTASH_CURRENT_SIGNING_KEY": CURRENT_KEY,
        "QSTASH_NEXT_SIGNING_KEY": NEXT_KEY,
        "BASE_URL": "https://jobs.example.test",
    }


@pytest.mark.parametrize("folder", ["shared", "functions"])
def test_a_checkout_may_be_in_a_path_with_spaces(tmp_path: Path, folder: str) -> None:
    checkout = tmp_path / "one of  ours's"
    for name in ("shared/Makefile", "functions/Makefile", "infra/build/artefact.mk"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    done = subprocess.run(
        ["make", "--makefile", checkout / folder / "Makefile", "--eval", SHOW, "show"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == str(checkout / "requirements")


def missing_imports(artefacts: Artefacts, function: str, package: str) -> list[str]:
    """What a package lacks in a function's artefact; nothing may come from the checkout."""
    done = subprocess.run(
        [*artefacts.command, ROOT / "tests/infra/missing_imports.py", package],
        cwd=artefacts.folder / function,
        env=artefacts.environment(function),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    own = [file for file in said["files"] if Path(file).is_relative_to(ROOT)]
    assert own == [str(ROOT / "tests/infra/missing_imports.py")]
    missing: list[str] = said["missing"]
    return missing


# --- what is in them


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_function_has_everything_that_its_own_folder_imports(
    artefacts: Artefacts, function: str
) -> None:
    assert missing_imports(artefacts, function, f"functions.{folder_of(function)}") == []


def test_the_layer_has_everything_that_stashjobs_imports(artefacts: Artefacts) -> None:
    """But for what the API's function brings along (the pool, and CronSim for the dashboard), and
    what a deployer may add (docs/monitoring.md)."""
    missing = missing_imports(artefacts, "RelayFunction", "stashjobs")
    added = (
        ": psycopg_pool",
        "stashjobs.wording: cronsim",
        "stashjobs.observability.tracing: opentelemetry",
        "stashjobs.observability.sentry: sentry_sdk",
    )
    assert [each for each in missing if not any(part in each for part in added)] == []


def test_a_function_repeats_no_package_of_the_layer(artefacts: Artefacts) -> None:
    def packages(folder: Path) -> set[str]:
        return {path.name for path in folder.iterdir()} - {"__pycache__"}

    for function in FUNCTIONS:
        assert packages(artefacts.folder / function) & packages(artefacts.layer) == set(), function


def test_every_function_has_the_code_of_all(artefacts: Artefacts) -> None:
    """Handlers import one another, and the relay all of them."""
    ours = {path.parent.name for path in (ROOT / "functions").glob("*/__init__.py")}
    assert ours >= {folder_of(name) for name in FUNCTIONS}
    for function in FUNCTIONS:
        code = artefacts.folder / function / "functions"
        assert {path.name for path in code.iterdir()} == ours
        assert (code / "send_email/templates/welcome.html").exists()


def test_the_emails_are_compiled_and_read_as_their_templates_do(
    artefacts: Artefacts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No cold start reads a template's source."""
    folder = artefacts.folder / "SendEmailFunction/functions/send_email/compiled_templates"
    emails = [
        Email.model_validate({"to": "ada@example.com", "template": name, "data": model.example()})
        for name, model in TEMPLATES.items()
    ]
    brand = rendering.Brand("Acme", "https://acme.example", "help@acme.example")
    expected = [rendering.render(email, brand) for email in emails]
    compiled = rendering.environment().overlay(loader=ModuleLoader(folder))
    monkeypatch.setattr(rendering, "environment", lambda: compiled)
    assert [rendering.render(email, brand) for email in emails] == expected


def test_all_code_is_compiled_for_good(artefacts: Artefacts) -> None:
    """Lambda's folders are read-only: what is not compiled here is compiled in every cold start.
    And a zip does not keep the times by which Python would know whether bytecode is current."""
    sources = [path for path in artefacts.folder.rglob("*.py") if "runtime" not in path.parts]
    assert sources
    tag = artefacts.version.replace(".", "")
    for source in sources:
        compiled = source.parent / "__pycache__" / f"{source.stem}.cpython-{tag}.pyc"
        assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 0b01, source


def test_two_builds_are_the_same(artefacts: Artefacts, tmp_path: Path) -> None:
    """Otherwise every deploy would replace every function."""
    first = artefacts.folder / "SendEmailFunction"
    again = build("SendEmailFunction", tmp_path, **artefacts.variables)
    assert differences(filecmp.dircmp(first, again)) == []


def differences(compared: filecmp.dircmp[str]) -> list[str]:
    _, mismatch, errors = filecmp.cmpfiles(
        compared.left, compared.right, compared.common_files, shallow=False
    )
    found = [*compared.left_only, *compared.right_only, *mismatch, *errors]
    for inner in compared.subdirs.values():
        found += differences(inner)
    return found


def test_a_function_without_a_folder_is_not_built(tmp_path: Path) -> None:
    done = make("build-NoSuchFunction", tmp_path)
    assert done.returncode
    assert "there is no functions/no_such/handler.py" in done.stderr


# --- what is deployed


def test_the_arm64_layer_is_for_arm64_and_small(arm64_layer: Path) -> None:
    libraries = [path for path in arm64_layer.rglob("*") if ".so" in path.suffixes]
    assert {path.parent.name for path in libraries} >= {"psycopg_binary", "pydantic_core"}
    assert {machine_of(path) for path in libraries} == {"aarch64"}
    assert report.unzipped(arm64_layer) < report.LAYER_GOAL


@pytest.mark.parametrize("function", WITH_PACKAGES)
def test_an_arm64_function_is_for_arm64(arm64_layer: Path, tmp_path: Path, function: str) -> None:
    built = build(function, tmp_path, COMPILER="")
    libraries = [path for path in built.rglob("*") if ".so" in path.suffixes]
    assert {machine_of(path) for path in libraries} <= {"aarch64"}
    assert report.unzipped(built) + report.unzipped(arm64_layer) < report.LIMIT / 2


def pins(path: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", path.read_text(), re.MULTILINE))


@pytest.mark.parametrize("path", [REQUIREMENTS / "layer.txt", *OF_FUNCTIONS], ids=lambda p: p.stem)
def test_what_is_deployed_is_what_the_tests_ran_with(path: Path) -> None:
    assert pins(path).items() <= pins(REQUIREMENTS / "dev.txt").items()


# --- what they do


def event_for(function: str) -> tuple[dict[str, Any], int | None]:
    """An event that does no harm, and the status of the answer; none where there is no HTTP."""
    if not FUNCTIONS[function].routes:
        return {}, None
    own = FUNCTIONS[function].routes[0]
    method, path, status = ANSWERS.get(function, (own.method, own.path, 401))
    event = http_event(b"{}", {}, path=path)
    event["requestContext"]["http"]["method"] = method
    event["requestContext"]["http"]["sourceIp"] = "192.0.2.1"
    event["routeKey"] = f"{method} {path}"
    return event, status


@pytest.mark.parametrize("function", FUNCTIONS)
async def test_every_handler_starts_and_answers(
    artefacts: Artefacts, settings_of_a_function: dict[str, str], function: str
) -> None:
    event, status = event_for(function)
    log: list[str] = []
    async with artefacts.running(function, settings_of_a_function, log.append) as process:
        answer = json.loads(await process.invoke(event))
    assert (answer["statusCode"] if status else None) == status, (answer, log)


@pytest.fixture
def table(database_url: str) -> Iterator[Table]:
    with closing(Table(database_url)) as opened:
        yield opened


async def test_a_job_runs_to_its_end(
    artefacts: Artefacts, settings_of_a_function: dict[str, str], table: Table
) -> None:
    """One email, from QStash's signed call to the mailbox and the row."""
    email = {"to": "ada@example.com", "template": "welcome", "data": TEMPLATES["welcome"].example()}
    job_id = table.add(send_email, email)
    body = json.dumps({"jobId": job_id, "type": "send-email"}).encode()
    path = "/api/jobs/email"
    signature = sign(body, f"https://jobs.example.test{path}", key=CURRENT_KEY)
    log: list[str] = []
    async with Mailbox() as mailbox:
        settings = {
            **settings_of_a_function,
            "RESEND_API_URL": mailbox.url,
            "RESEND_API_KEY": "re_of_the_test",
            "RESEND_FROM_EMAIL": "Acme <hello@acme.example>",
        }
        async with artefacts.running("SendEmailFunction", settings, log.append) as process:
            answer = json.loads(
                await process.invoke(http_event(body, {"upstash-signature": signature}, path=path))
            )
        mails = mailbox.mails
    assert answer["statusCode"] == 200, (answer, log)
    assert table.status(job_id) == "completed"
    assert [mail.to for mail in mails] == [["ada@example.com"]]
