"""Every job over the whole local system: enqueued, delivered by QStash, run by its function,
recorded. One system for all: to start one takes longer than most of these tests."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psycopg
import pypdf
import pytest
import stripe
from dotenv import dotenv_values

from functions.cleanup_old_data.handler import cleanup_old_data
from functions.create_notification import notifications
from functions.create_notification.handler import create_notification
from functions.export_data.handler import export_data
from functions.generate_report.handler import generate_report
from functions.process_stripe_webhook.handler import process_stripe_webhook
from functions.send_email.handler import send_email
from functions.send_email.models import Welcome
from infra.local.gateway import Delivery
from infra.local.stack import Stack
from stashjobs import files
from stashjobs.job_type import declared, load
from stashjobs.operators import search
from stashjobs.producer import qstash_client
from stashjobs.store import database
from stashjobs.tools import smoke
from tests import programs
from tests.buckets import Bucket
from tests.integration.local.conftest import eventually
from tests.preloaded import preloaded
from tests.stacks import ROOT, stack_in_a_thread
from tests.stripe_server import event, subscription

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stashjobs.operators.search import JobExecution

PATIENCE_SECONDS = 120.0
BURST = 60
WRONG = {"red", "yellow"}
WEBHOOKS = (ROOT / "docs" / "webhooks.md").read_text()
[SETTINGS] = re.findall(r"```dotenv\n(.*?)```", WEBHOOKS, re.DOTALL)
COMMANDS = re.findall(r"```sh\n(.*?)```", WEBHOOKS, re.DOTALL)
WELCOME = {
    "to": "ada@example.com",
    "template": "welcome",
    "data": {"name": "Ada", "getStartedUrl": "https://app.example.com/start"},
}
OLD = """
INSERT INTO job_executions (job_id, job_type, status, payload, max_attempts, created_at,
                            completed_at)
VALUES ('old', 'send-email', 'completed', '{}', 1, now() - interval '31 d', now() - interval '31 d')
"""
OPEN = """
SELECT count(*) FROM job_executions WHERE status NOT IN ('completed', 'failed', 'cancelled')
"""


@dataclass
class Local:
    """The system, what its gateway answered in this test, and how to use it as an app does."""

    stack: Stack
    programs_at: Path
    deliveries: list[Delivery] = field(default_factory=list)

    def busy(self) -> bool:
        """Whether a function runs."""
        runtime = self.stack.runtime
        names = self.stack.template.functions
        return any(each.busy for name in names for each in runtime.processes(name))

    def ended(self, job_id: str) -> JobExecution:
        """The job once it has ended."""
        found = None

        def is_so() -> bool:
            nonlocal found
            found = search.find(database.connection(), job_id)
            return found is not None and found.completed_at is not None

        assert eventually(is_so, PATIENCE_SECONDS), found
        assert found is not None
        return found

    def completed(self, job_id: str) -> JobExecution:
        """The job, which completed at once."""
        done = self.ended(job_id)
        assert (done.status, done.attempt) == ("completed", 1), done.error
        return done

    def ids(self, job_type: str, *, count: int = 1) -> list[str]:
        """The jobs of a type, the oldest first, once there are so many."""
        statement = "SELECT job_id FROM job_executions WHERE job_type = %s ORDER BY created_at"
        found: list[tuple[str]] = []

        def are_so_many() -> bool:
            found[:] = database.connection().execute(statement, [job_type]).fetchall()
            return len(found) >= count

        assert eventually(are_so_many, PATIENCE_SECONDS), found
        return [job_id for (job_id,) in found]

    def run(self, *command: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run a program beside `.stashjobs`, as an operator does."""
        return subprocess.run(
            command,
            cwd=self.stack.home.parent,
            env={
                **os.environ,
                "PATH": f"{self.programs_at}{os.pathsep}{os.environ['PATH']}",
                **variables,
            },
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Local]:
    own = {name: value or "" for name, value in dotenv_values(stream=io.StringIO(SETTINGS)).items()}
    deliveries: list[Delivery] = []
    home = tmp_path_factory.mktemp("stack") / ".stashjobs"
    with (
        preloaded() as programs_at,
        stack_in_a_thread(home, settings=own, on_delivery=deliveries.append) as stack,
    ):
        yield Local(stack, programs_at, deliveries)


@pytest.fixture
def local(running: Local, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Local]:
    """The system with nothing in it, and its settings in the environment, as a producer has
    them."""
    with psycopg.connect(running.stack.urls["postgres"], autocommit=True) as connection:
        assert eventually(lambda: connection.execute(OPEN).fetchone() == (0,), PATIENCE_SECONDS)
        assert eventually(lambda: not running.busy())
        connection.execute("TRUNCATE job_executions, notifications, emails, customers CASCADE")
    running.stack.mailbox.clear()
    running.deliveries.clear()
    # The settings that a `make dev` left in this checkout are not those of this system.
    (tmp_path / "dev.env").touch()
    monkeypatch.setenv("STASHJOBS_HOME", str(tmp_path))
    for name, value in running.stack.environment.items():
        monkeypatch.setenv(name, value)
    yield running
    database.close()
    qstash_client.close()
    files.close()


def download(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - a link of the stack's own
        content: bytes = answer.read()
        return content


def test_a_job_goes_from_a_request_to_its_end(local: Local) -> None:
    token = local.stack.environment["ADMIN_TOKEN"]
    app = local.stack.urls["app"]
    request = {
        "type": "create-notification",
        "payload": {"userId": "u_1", "type": "news", "title": "Hello", "message": "you"},
    }
    with httpx.Client(
        base_url=app, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE_SECONDS
    ) as client:
        answer = client.post("/api/jobs", json=request)
        assert answer.status_code == 202
        accepted = answer.json()
        assert accepted["published"] is True
        assert local.ended(accepted["jobId"]).status == "completed"
        assert client.get(f"/api/jobs/{accepted['jobId']}").json()["status"] == "completed"
        shown = client.get("/api/users/u_1/notifications").json()
        assert [one["title"] for one in shown["notifications"]] == ["Hello"]
        assert client.get("/api/admin/job-health").json()["health"] == "healthy"
        assert client.get("/api/admin/schedules").status_code == 200
        client.headers["Authorization"] = ""
        assert "/api/jobs" in client.get("/openapi.json").json()["paths"]
        assert client.get("/readyz").status_code == 200
        assert client.get("/api/jobs").status_code == 401


def test_an_email_goes_from_enqueue_to_the_mailbox_and_fails_once_on_the_way(local: Local) -> None:
    local.stack.mailbox.fail_next(429, headers={"Retry-After": "0"})
    enqueued = send_email.enqueue(WELCOME, user_id="u_1")
    assert enqueued.published

    job = local.ended(enqueued.job_id)

    assert (job.status, job.attempt, job.user_id) == ("completed", 2, "u_1")
    [mail] = local.stack.mailbox.mails
    assert (mail.id, mail.to) == (job.result["emailId"], ["ada@example.com"])
    assert Welcome.__name__.lower() in mail.subject.lower()


def test_a_notification_is_enqueued_delivered_and_listed(local: Local) -> None:
    enqueued = create_notification.enqueue(create_notification.example(), organization_id="o_1")
    done = local.completed(enqueued.job_id)
    assert done.result == {"recipients": 2, "created": 2}
    page = notifications.list_for_user(database.connection(), "u_2", unread_only=True)
    [shown] = page.notifications
    assert (shown.title, shown.organization_id) == ("Exports are here", "o_1")


def test_a_burst_is_held_back_and_none_of_it_is_turned_away(local: Local) -> None:
    """Fifteen times as many as the function has processes (docs/usage.md, "Many at once")."""
    hello = create_notification.example()
    for one in create_notification.enqueue_many([hello] * BURST):
        local.completed(one.job_id)
    # The last answers may be on their way when their jobs have completed.
    path = create_notification.endpoint
    assert eventually(lambda: sum(each.path == path for each in local.deliveries) >= BURST)
    assert {each.status for each in local.deliveries if each.path == path} == {200}


def test_the_example_of_cleanup_old_data_archives_and_deletes(local: Local) -> None:
    database.connection().execute(OLD)
    enqueued = cleanup_old_data.enqueue(cleanup_old_data.example())
    done = local.completed(enqueued.job_id)
    assert (done.result["deleted"], done.result["finished"]) == (1, True)
    assert [row["job_id"] for row in Bucket().archived()] == ["old"]
    nightly = local.stack.template.functions["CleanupOldDataFunction"].schedules
    assert [each.expression for each in nightly] == ["cron(0 3 * * ? *)"]


def test_the_example_of_export_data_is_exported_and_its_link_arrives(local: Local) -> None:
    enqueued = export_data.enqueue(export_data.example())
    done = local.completed(enqueued.job_id)
    content = download(done.result["downloadUrl"])
    assert content.startswith("\ufeffjobId,jobType,status,createdAt,error\r\n".encode())

    [email] = local.ids("send-email")
    assert local.ended(email).status == "completed"
    [mail] = local.stack.mailbox.mails
    assert mail.subject == "Your export of executions is ready"
    assert done.result["downloadUrl"] in (mail.text or "")


def test_the_example_of_generate_report_is_a_pdf_behind_a_link(local: Local) -> None:
    enqueued = generate_report.enqueue(generate_report.example())
    done = local.completed(enqueued.job_id)
    [page] = pypdf.PdfReader(io.BytesIO(download(done.result["downloadUrl"]))).pages
    assert "Background job report" in page.extract_text()


def test_the_example_of_every_type_goes_from_the_command_line_to_its_end(local: Local) -> None:
    load()
    ours = [job for job in declared() if str(job.function.__module__).startswith("functions.")]
    types = sorted(job.type for job in ours)
    assert len(types) >= 7
    results = {}
    for job_type in types:
        told = local.run("stashjobs", "enqueue", job_type, "--example", "--json")
        assert told.returncode == 0, told.stderr
        results[job_type] = json.loads(told.stdout)["jobId"]
    ends = {job_type: local.ended(job_id) for job_type, job_id in results.items()}
    for child in search.newest(database.connection(), search.Filter(), limit=100):
        local.ended(child.job_id)
    told_of = {job_type: (job.status, job.error) for job_type, job in ends.items()}
    assert told_of == dict.fromkeys(types, ("completed", None))


def test_every_command_of_the_page_of_webhooks_ends_in_a_completed_job(local: Local) -> None:
    def run(command: str) -> str:
        programs.need_those_of(command)
        told = command.replace("http://127.0.0.1:8700", local.stack.urls["app"])
        answer = local.run("sh", "-euc", told, STASHJOBS_HOME=".stashjobs")
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    *posts, by_hand = [run(command) for command in COMMANDS]
    answers = [json.loads(post) for post in posts]
    assert all(answer["created"] is True for answer in answers), answers
    github, resend, by_stripe, acme = [local.completed(answer["jobId"]) for answer in answers]
    example = local.completed(by_hand.split()[0])

    assert github.result["summary"] == "ada opened acme/app issue #1: It breaks"
    assert resend.result["status"] == "bounced"
    assert by_stripe.result["ignored"] == "customer.created"
    assert acme.result == {"ignored": "no handler for acme order.paid"}
    assert example.result["summary"].startswith("octocat pushed 1 commit")
    emails = database.connection().execute("SELECT status, reason FROM emails").fetchall()
    assert emails == [("bounced", "Permanent General: No such mailbox.")]


def test_doctor_finds_it_well_and_smoke_sends_a_job_through_it(
    local: Local, monkeypatch: pytest.MonkeyPatch
) -> None:
    load()
    for way in ("by POST /api/jobs", "directly"):
        outcome = smoke.run(smoke.TYPE, smoke.PAYLOAD, seconds=30, logs=local.stack.home / "logs")
        assert outcome.passed, outcome
        assert outcome.steps[0].what.startswith(way)
        assert [(step.name, step.passed) for step in outcome.steps[1:]] == [
            ("row", True),
            ("log", True),
            ("metric", None),
        ]
        assert outcome.story[-1].state == "completed"
        monkeypatch.delenv("ADMIN_TOKEN", raising=False)
    monkeypatch.setenv("ADMIN_TOKEN", local.stack.environment["ADMIN_TOKEN"])

    told = local.run("stashjobs", "doctor", "--json")
    wrong = [each for each in json.loads(told.stdout)["findings"] if each["level"] in WRONG]
    assert (told.returncode, wrong) == (0, [])
    told = local.run("stashjobs", "smoke", "--timeout", "20")
    assert told.returncode == 0
    assert "passed   row" in told.stdout
    assert "+0.000 s" in told.stdout
    # No token may enqueue this type; a producer that has the database may.
    for name in ("ADMIN_TOKEN", "SMOKE_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    nowhere = json.dumps(event("customer.subscription.created", subscription(id="sub_0")))
    kind = ("--type", "process-stripe-webhook", "--payload", nowhere)
    told = local.run("stashjobs", "smoke", "--timeout", "20", "--json", *kind)
    assert (told.returncode, json.loads(told.stdout)["passed"]) == (1, False)


def test_the_example_of_stripe_tells_the_customer_and_a_cancellation_comes_by_webhook(
    local: Local,
) -> None:
    """Last, since the stand-in keeps the subscription cancelled."""
    enqueued = process_stripe_webhook.enqueue(process_stripe_webhook.example())
    done = local.completed(enqueued.job_id)
    assert done.result["status"] == "active"
    assert done.result["notes"] == []

    [email] = local.ids("send-email")
    assert local.ended(email).status == "completed"
    [mail] = local.stack.mailbox.mails
    assert (mail.to, mail.subject) == (["ada@example.com"], "Your stashjobs Team plan is active")

    stand_in: Any = {"api": local.stack.urls["stripe"]}
    client = stripe.StripeClient(
        local.stack.environment["STRIPE_SECRET_KEY"], base_addresses=stand_in
    )
    client.v1.subscriptions.cancel("sub_example")
    # The stand-in sends its events a second later.
    [_, by_webhook] = local.ids("process-stripe-webhook", count=2)
    assert local.ended(by_webhook).result["status"] == "canceled"
    for told in local.ids("create-notification", count=2):
        assert local.ended(told).status == "completed"
    page = notifications.list_for_user(database.connection(), "u_1")
    assert {each.type for each in page.notifications} == {
        "subscription-started",
        "subscription-ended",
    }
