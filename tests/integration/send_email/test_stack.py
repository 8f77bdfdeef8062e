"""The main job over the whole local stack, and every type's example from the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from functions.send_email.handler import send_email
from functions.send_email.models import Welcome
from infra.local.stack import in_thread
from stashjobs.job_type import declared, load
from stashjobs.operators import search
from stashjobs.store import database
from tests.stacks import ROOT, as_an_app, ended, local_stack

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

CLI = "from stashjobs.tools.cli import main; main()"
WELCOME = {
    "to": "ada@example.com",
    "template": "welcome",
    "data": {"name": "Ada", "getStartedUrl": "https://app.example.com/start"},
}


async def test_an_email_goes_from_enqueue_to_the_mailbox_and_fails_once_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local_stack(tmp_path, monkeypatch) as stack:
        stack.mailbox.fail_next(429, headers={"Retry-After": "0"})
        enqueued = await as_an_app(lambda: send_email.enqueue(WELCOME, user_id="u_1"))
        assert enqueued.published

        job = await ended(enqueued.job_id)

        assert (job.status, job.attempt, job.user_id) == ("completed", 2, "u_1")
        [mail] = stack.mailbox.mails
        assert (mail.id, mail.to) == (job.result["emailId"], ["ada@example.com"])
        assert Welcome.__name__.lower() in mail.subject.lower()


async def test_the_example_of_every_type_goes_from_the_command_line_to_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load()
    folder = "functions."
    ours = [job for job in declared() if str(job.function.__module__).startswith(folder)]
    types = sorted(job.type for job in ours)
    assert len(types) >= 7
    async with local_stack(tmp_path, monkeypatch):
        results = {job_type: await in_thread(lambda t=job_type: _enqueue(t)) for job_type in types}  # type: ignore[misc]
        ends = {job_type: await ended(job_id) for job_type, job_id in results.items()}
        children = await as_an_app(
            lambda: search.newest(database.connection(), search.Filter(), limit=100)
        )
        for child in children:
            await ended(child.job_id)
    told = {job_type: (job.status, job.error) for job_type, job in ends.items()}
    assert told == dict.fromkeys(types, ("completed", None))


def _enqueue(job_type: str) -> str:
    told = subprocess.run(
        [sys.executable, "-c", CLI, "enqueue", job_type, "--example", "--json"],
        cwd=ROOT,
        env=os.environ,
        capture_output=True,
        text=True,
        check=True,
    )
    job_id: str = json.loads(told.stdout)["jobId"]
    return job_id
