"""Sentry: the real SDK's envelopes, as Sentry's own server would get them."""

from __future__ import annotations

import gzip
import itertools
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest

from stashjobs import Cancelled, PermanentError, RetryLater, encryption
from stashjobs.testing.qstash import Server, serving
from tests.deliveries import Table, deliver, delivery, handle, probe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stashjobs import Context
    from tests.integration.conftest import Log

CANARY = "tangerine-3317"
PAYLOAD_KEY = "k1:" + "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="


class Sentry:
    """Reads envelopes: lines of JSON, an item's header before each item (Sentry docs,
    "Envelopes")."""

    def __init__(self, server: Server) -> None:
        self.server = server

    @property
    def text(self) -> str:
        return "\n".join(
            gzip.decompress(each.body).decode()
            if each.headers.get("content-encoding") == "gzip"
            else each.body.decode()
            for each in self.server.received
        )

    @property
    def events(self) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.text.splitlines()]
        return [item for header, item in itertools.pairwise(lines) if header.get("type") == "event"]

    @property
    def event(self) -> dict[str, Any]:
        [event] = self.events
        return event


@pytest.fixture
def sentry(table: Table, settings: pytest.MonkeyPatch) -> Iterator[Sentry]:
    with serving() as server:
        settings.setenv("SENTRY_DSN", server.url.replace("://", "://publickey1234@") + "/7")
        yield Sentry(server)


def raising(error: BaseException) -> Callable[..., Any]:
    def function(payload: Any, _context: Context) -> None:
        copied = payload  # a local variable, as every job's function has some
        assert copied is payload
        raise error

    return function


def test_a_failed_job_is_an_error_with_the_jobs_tags(table: Table, sentry: Sentry) -> None:
    job_id = table.add(probe())
    deliver(probe(raising(PermanentError("no such customer"))), job_id)
    [request] = sentry.server.received
    assert request.path == "/api/7/envelope/"
    event = sentry.event
    assert event["level"] == "error"
    assert event["environment"] == "local"
    assert event["tags"] == {"job_id": job_id, "job_type": "probe", "attempt": "1"}
    [error] = event["exception"]["values"]
    assert (error["type"], error["value"]) == ("PermanentError", "no such customer")
    assert error["stacktrace"]["frames"][-1]["function"] == "function"


def test_an_attempt_that_is_repeated_is_a_warning(table: Table, sentry: Sentry) -> None:
    deliver(probe(raising(OSError("no"))), table.add(probe()))
    assert sentry.event["level"] == "warning"


@pytest.mark.parametrize(
    "error", [RetryLater(5), Cancelled("not wanted")], ids=["later", "cancelled"]
)
def test_what_a_job_means_to_do_is_no_error(table: Table, sentry: Sentry, error: Exception) -> None:
    deliver(probe(raising(error)), table.add(probe()))
    assert sentry.server.received == []


def test_retry_later_on_the_last_attempt_is_one(table: Table, sentry: Sentry) -> None:
    job = probe(raising(RetryLater(5)), retries=0)
    deliver(job, table.add(job))
    assert sentry.event["level"] == "error"


def test_neither_completing_nor_a_refused_message_is_reported(table: Table, sentry: Sentry) -> None:
    deliver(probe(), table.add(probe()))
    handle(probe(), delivery(b"no JSON"))
    assert sentry.server.received == []


def test_no_payload_no_local_variable_and_no_secret_is_reported(
    table: Table, settings: pytest.MonkeyPatch, sentry: Sentry
) -> None:
    settings.setenv("RESEND_API_KEY", f"re_{CANARY}")

    def leak(payload: Any, _context: Context) -> None:
        copied = payload
        try:
            raise OSError(f"refused re_{CANARY}")
        except OSError as error:
            raise ValueError(f"{len(copied)} for re_{CANARY}") from error

    job_id = table.add(
        probe(), {"card": CANARY}, user_id=CANARY, metadata={"note": CANARY}, idempotency_key=CANARY
    )
    deliver(probe(leak), job_id)
    values = [each["value"] for each in sentry.event["exception"]["values"]]
    assert values == ["refused [RESEND_API_KEY]", "1 for [RESEND_API_KEY]"]
    assert CANARY not in sentry.text
    frames = [
        frame
        for each in sentry.event["exception"]["values"]
        for frame in each["stacktrace"]["frames"]
    ]
    assert frames
    assert not any("vars" in frame for frame in frames)
    for part in ("request", "user", "breadcrumbs", "extra", "modules"):
        assert not sentry.event.get(part)


def test_of_an_encrypted_job_only_the_type_of_its_error_is_reported(
    table: Table, settings: pytest.MonkeyPatch, sentry: Sentry
) -> None:
    settings.setenv("PAYLOAD_KEYS", PAYLOAD_KEY)
    job_id = "encrypted-1"
    payload = encryption.encrypt({"card": CANARY}, encryption.Place(job_id, "probe", "payload"))
    table.add(probe(), payload, job_id=job_id)

    def leak(payload: Any, _context: Context) -> None:
        raise ValueError(payload["card"])

    deliver(probe(leak), job_id)
    [error] = sentry.event["exception"]["values"]
    assert error == {"type": "ValueError", "value": "not shown, since the job is encrypted"}
    assert CANARY not in sentry.text


def test_the_jobs_code_may_use_sentry_by_itself(table: Table, sentry: Sentry) -> None:
    """Ours is a client beside it, and leaves the process's own as it is."""
    import sentry_sdk

    deliver(probe(raising(OSError("no"))), table.add(probe()))
    assert not sentry_sdk.is_initialized()


@pytest.mark.parametrize("dsn", ["http://key@127.0.0.1:9/1", "no-dsn"], ids=["away", "malformed"])
def test_a_sentry_that_cannot_be_reached_changes_nothing(
    table: Table, settings: pytest.MonkeyPatch, log: Log, dsn: str
) -> None:
    settings.setenv("SENTRY_DSN", dsn)
    job_id = table.add(probe())
    assert deliver(probe(raising(OSError("no"))), job_id).status == 500
    assert table.status(job_id) == "retrying"
    assert ("could not be reported to Sentry" in log.text) == (dsn == "no-dsn")


def test_without_the_extra_the_log_says_what_to_do(
    table: Table, settings: pytest.MonkeyPatch, sentry: Sentry, log: Log
) -> None:
    settings.setitem(sys.modules, "sentry_sdk", None)
    assert deliver(probe(raising(OSError("no"))), table.add(probe())).status == 500
    assert "sentry_sdk is not installed, see docs/monitoring.md" in log.text
    assert sentry.server.received == []
