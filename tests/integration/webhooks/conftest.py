from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from functions.webhooks import handler as module
from tests import webhooks
from tests.deliveries import Answer, lambda_context

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.deliveries import Table

HEADERS: dict[str, Callable[[bytes], dict[str, str]]] = {
    "stripe": webhooks.stripe_headers,
    "github": webhooks.github_headers,
    "resend": webhooks.resend_headers,
    "acme": webhooks.acme_headers,
}


@pytest.fixture(autouse=True)
def _webhook_settings(table: Table, settings: pytest.MonkeyPatch) -> None:
    """The secrets of all sources, and a process that knows nothing of QStash yet."""
    for name, value in webhooks.SECRETS.items():
        settings.setenv(name, value)
    settings.setattr(module, "_left_to_relay_until", 0.0)


def send(
    source: str, document: Any, headers: Mapping[str, str] | None = None, *, method: str = "POST"
) -> Answer:
    """Hand a webhook to the Lambda; signed well unless its headers are given."""
    body = webhooks.encode(document)
    if headers is None:
        headers = HEADERS[source](body)
    said = module.handler(webhooks.event(source, body, headers, method=method), lambda_context())
    assert said["headers"].pop("content-type") == "application/json"
    return Answer(said["statusCode"], said["headers"], json.loads(said["body"]))
