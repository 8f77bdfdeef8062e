"""The main job, end to end: two emails are enqueued, delivered and recorded."""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any

import click

from infra.local.stack import Stack, in_thread
from stashjobs.operators import search
from stashjobs.store import database
from stashjobs.tools.cli.jobs import tell

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from infra.local.mailbox import Mailbox
    from stashjobs.producer.enqueue import Enqueued

PATIENCE_SECONDS = 45.0
# Outside the environment, the command is where `make` put it.
BIN = "" if os.environ.get("VIRTUAL_ENV") else ".venv/bin/"
WELCOME = {
    "to": "ada@example.com",
    "template": "welcome",
    "data": {"name": "Ada Lovelace", "getStartedUrl": "https://app.example.com/start"},
}
UNLUCKY = WELCOME | {
    "to": "grace@example.com",
    "data": {"name": "Grace Hopper", "getStartedUrl": "https://app.example.com/start"},
}


async def run(root: Path) -> int:
    """Run the demonstration; the exit code is 0 when both jobs completed as they should."""
    home = root / ".stashjobs" / "demo"
    began = time.monotonic()
    async with Stack(root, home) as stack:
        click.echo(f"The stack is up after {time.monotonic() - began:.1f} s.\n")
        os.environ.update(stack.environment)
        return await _demonstrate(stack, home)


async def _demonstrate(stack: Stack, home: Path) -> int:
    click.secho("1. A welcome email", bold=True)
    first = await in_thread(lambda: _enqueue(WELCOME))
    first_job = await _wait(first.job_id)
    click.echo(tell(first_job) + "\n")

    click.secho("2. One that Resend refuses at first (429, Retry-After: 2)", bold=True)
    stack.mailbox.fail_next(429, headers={"Retry-After": "2"}, to="grace@example.com")
    second = await in_thread(lambda: _enqueue(UNLUCKY))
    second_job = await _wait(second.job_id)
    click.echo(tell(second_job) + "\n")

    click.secho("The caught emails", bold=True)
    caught = [_caught(stack.mailbox, job) for job in (first_job, second_job)]
    command = f"{BIN}stashjobs dev --home {home.relative_to(stack.root)}"
    click.echo(f"  {command}  shows them, in the mailbox that it names:")
    for mail_id, line in caught:
        click.echo(f"  {line}")
        if mail_id:
            click.echo(f"    /mail/{mail_id}")
    database.close()
    expected = (first_job.status, first_job.attempt, second_job.status, second_job.attempt)
    if expected != ("completed", 1, "completed", 2) or not all(mail_id for mail_id, _ in caught):
        click.secho("\nThis is not how it should have gone.", fg="red")
        return 1
    click.secho("\nBoth jobs completed. `make dev` starts a system that keeps running.", fg="green")
    return 0


def _enqueue(payload: Mapping[str, Any]) -> Enqueued:
    """What an app does."""
    from functions.send_email.handler import send_email

    return send_email.enqueue(payload, user_id="u_1", organization_id="o_1")


async def _wait(job_id: str) -> search.JobExecution:
    """The job once it has ended, or as it stands when patience does."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = await in_thread(lambda: search.find(database.connection(), job_id))
        if found is not None and (found.completed_at or time.monotonic() > until):
            return found
        await asyncio.sleep(0.05)


def _caught(mailbox: Mailbox, job: search.JobExecution) -> tuple[str | None, str]:
    """The id of the mail that this job sent, and its subject."""
    email_id = (job.result or {}).get("emailId")
    for mail in mailbox.mails:
        if mail.id == email_id:
            return mail.id, f"{mail.subject}  (to {', '.join(mail.to)})"
    return None, f"no email of job {job.job_id} was caught"
