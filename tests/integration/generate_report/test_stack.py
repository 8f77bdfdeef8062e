"""generate-report over the whole local system."""

from __future__ import annotations

import asyncio
import io
import urllib.request
from typing import TYPE_CHECKING

import pypdf

from functions.generate_report.handler import generate_report
from tests.stacks import as_an_app, ended, local_stack

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def download(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:  # noqa: S310 - a link of the stack's own
        content: bytes = answer.read()
        return content


async def test_the_example_is_a_pdf_behind_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local_stack(tmp_path, monkeypatch):
        enqueued = await as_an_app(lambda: generate_report.enqueue(generate_report.example()))
        done = await ended(enqueued.job_id)
        assert (done.status, done.attempt) == ("completed", 1), done.error

        content = await asyncio.to_thread(download, done.result["downloadUrl"])

        [page] = pypdf.PdfReader(io.BytesIO(content)).pages
        assert "Background job report" in page.extract_text()
