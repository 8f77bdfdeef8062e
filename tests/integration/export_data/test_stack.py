"""export-data over the whole local system: the file in S3, and the link in the mailbox."""

from __future__ import annotations

import asyncio
import urllib.request
from typing import TYPE_CHECKING

from functions.export_data.handler import export_data
from stashjobs.store import database
from tests.stacks import as_an_app, ended, local_stack

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def download(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - a link of the stack's own
        content: bytes = answer.read()
        return content


async def test_the_example_is_exported_and_its_link_arrives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local_stack(tmp_path, monkeypatch) as stack:
        enqueued = await as_an_app(lambda: export_data.enqueue(export_data.example()))
        done = await ended(enqueued.job_id)
        assert (done.status, done.attempt) == ("completed", 1), done.error
        content = await asyncio.to_thread(download, done.result["downloadUrl"])
        assert content.startswith("\ufeffjobId,jobType,status,createdAt,error\r\n".encode())

        [[email]] = await as_an_app(
            lambda: (
                database.connection()
                .execute("SELECT job_id FROM job_executions WHERE job_type = 'send-email'")
                .fetchall()
            )
        )
        assert (await ended(email)).status == "completed"
        [mail] = stack.mailbox.mails
        assert mail.subject == "Your export of executions is ready"
        assert done.result["downloadUrl"] in (mail.text or "")
