from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from functions.process_webhook.handler import process_webhook
from tests.deliveries import Answer, deliver

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.deliveries import Table

_numbers = itertools.count()


@pytest.fixture
def process(table: Table) -> Callable[..., tuple[Answer, dict[str, Any]]]:
    """Record an event, deliver it; the answer, and the row it left."""

    def run(source: str, event: str, body: dict[str, Any]) -> tuple[Answer, dict[str, Any]]:
        payload = {"source": source, "event": event, "id": f"id-{next(_numbers)}", "body": body}
        job_id = table.add(process_webhook, process_webhook.dump_payload(payload))
        return deliver(process_webhook, job_id), table.row(job_id)

    return run
