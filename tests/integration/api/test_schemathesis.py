"""The API keeps to its own OpenAPI document: schemathesis makes requests from it, right and wrong
ones, to the real app over a real Postgres and a QStash.

The job, the schedule and the user of the examples are there, so that requests find something.
"""

from __future__ import annotations

import asyncio
import base64
import json
import threading
from datetime import UTC
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings, strategies
from schemathesis.specs.openapi.checks import positive_data_acceptance

from functions.api.app import app
from functions.create_notification.handler import create_notification
from infra.local.qstash import QStashOptions, QStashServer
from stashjobs import PermanentError, job
from stashjobs.operators import access
from stashjobs.producer import qstash_client, schedules
from stashjobs.producer.schedules import Schedule
from tests.deliveries import deliver

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from schemathesis import CheckFunction

    from tests.deliveries import Table

TOKEN = "sj_the-token-of-schemathesis"
NEWS = {"userId": "u_1", "type": "news", "title": "Hello", "message": "It works."}
# In each of its phases; the one that goes through every limit and every missing part is as long as
# the document is.
MAX_EXAMPLES = 5

document = schemathesis.openapi.from_asgi(
    "/openapi.json",
    app,
    # U+0000 is refused in all texts, also within metadata, where no schema can say so.
    config=schemathesis.Config.from_dict({"generation": {"allow-x00": False}}),
)
EXCLUDED: dict[str, list[CheckFunction]] = {
    # Each type has a model of its own, which `GET /api/types` shows: whether a payload fits cannot
    # be said by the schema of this one route, which takes every type.
    "POST /api/jobs": [positive_data_acceptance],
}


def _cursor(created_at: datetime, job_id: object) -> str:
    text = json.dumps([created_at.isoformat(), str(job_id)])
    return base64.urlsafe_b64encode(text.encode()).decode()


schemathesis.openapi.format(
    "cursor",
    strategies.builds(
        _cursor, strategies.datetimes(timezones=strategies.just(UTC)), strategies.uuids()
    ),
)


@job("schemathesis", endpoint="/api/jobs/schemathesis", retries=1)
def ended(payload: dict[str, Any], _context: Any) -> dict[str, Any]:
    if payload.get("fail"):
        raise PermanentError("no luck")
    return {"well": "done"}


@pytest.fixture
def qstash(settings: pytest.MonkeyPatch) -> Iterator[None]:
    """A QStash in a thread of its own, since the tests wait for it; nobody takes its deliveries."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    server = QStashServer(QStashOptions())
    asyncio.run_coroutine_threadsafe(server.__aenter__(), loop).result()
    for name, value in (server.environment | {"BASE_URL": "http://127.0.0.1:9"}).items():
        settings.setenv(name, value)
    yield
    qstash_client.close()
    asyncio.run_coroutine_threadsafe(server.__aexit__(None, None, None), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def _what_the_examples_name(table: Table, qstash: None, monkeypatch: pytest.MonkeyPatch) -> None:
    del qstash
    access.create_token(table.other, "schemathesis", access.SCOPES, per_minute=2**31 - 1)
    table.run("UPDATE access_tokens SET token_hash = %s", access.hash_of(TOKEN))
    schedule = Schedule("nightly-export", create_notification, "0 3 * * *", "Europe/Rome", NEWS)
    monkeypatch.setattr(schedules, "_declared", {schedule.name: schedule})
    schedules.sync([schedule])
    deliver(ended, table.add(ended, {"fail": True}, job_id="0190f1c2", user_id="u_1"))
    deliver(ended, table.add(ended, {}, metadata={"from": "signup"}, organization_id="o_1"))
    deliver(create_notification, table.add(create_notification, NEWS))
    table.add(ended)


@document.parametrize()
@settings(
    max_examples=MAX_EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
@pytest.mark.usefixtures("_what_the_examples_name")
def test_every_answer_is_as_the_document_says(case: schemathesis.Case[Any]) -> None:
    case.call_and_validate(
        headers={"Authorization": f"Bearer {TOKEN}"},
        excluded_checks=EXCLUDED.get(case.operation.label),
    )
