"""A source's POST: verified, recorded, answered."""

from __future__ import annotations

import base64
import json
import os
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from functions.webhooks import handler as module
from stashjobs.store import database
from tests import webhooks
from tests.deliveries import lambda_context
from tests.integration.webhooks.conftest import HEADERS, send

if TYPE_CHECKING:
    from tests.deliveries import Table
    from tests.integration.conftest import Log

RESEND_EVENT = {"type": "email.sent", "data": {}}
ACME_EVENT = {"kind": "order.paid", "data": {"order": 42}}
EVENTS: dict[str, dict[str, Any]] = {
    "stripe": webhooks.stripe_event(),
    "github": {"zen": "Keep it logically awesome."},
    "resend": RESEND_EVENT,
    "acme": ACME_EVENT,
}


# --- what is recorded


def test_a_stripe_event_becomes_a_job_of_its_own_type(table: Table) -> None:
    answer = send("stripe", webhooks.stripe_event("evt_9"))
    [row] = table.rows()
    assert (answer.status, answer.document) == (200, {"jobId": row["job_id"], "created": True})
    assert (row["job_type"], row["status"]) == ("process-stripe-webhook", "pending")
    assert (row["idempotency_key"], row["max_attempts"]) == ("stripe:evt_9", 6)
    recorded = row["payload"]["event"]
    assert (recorded["id"], recorded["type"]) == ("evt_9", "customer.created")
    assert recorded["data"]["object"] == {"id": "cus_1", "object": "customer"}


def test_a_github_event_is_named_by_its_headers(table: Table) -> None:
    body = webhooks.encode(EVENTS["github"])
    send("github", body, webhooks.github_headers(body, event="ping", delivery="d-1"))
    [row] = table.rows()
    assert (row["job_type"], row["idempotency_key"]) == ("process-webhook", "github:d-1")
    assert row["payload"] == {
        "source": "github",
        "event": "ping",
        "id": "d-1",
        "body": EVENTS["github"],
    }


def test_a_resend_event_is_named_by_its_body_and_known_by_svix_s_id(table: Table) -> None:
    send("resend", RESEND_EVENT)
    [row] = table.rows()
    assert row["idempotency_key"] == "resend:msg_1"
    assert (row["payload"]["event"], row["payload"]["id"]) == ("email.sent", "msg_1")


def test_a_custom_source_s_event_is_named_as_it_is_declared(table: Table) -> None:
    send("acme", ACME_EVENT)
    [row] = table.rows()
    assert row["idempotency_key"] == "acme:42"
    assert (row["payload"]["source"], row["payload"]["event"]) == ("acme", "order.paid")


def test_a_source_whose_type_is_left_out_of_the_stage_is_none(
    table: Table, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("LEFT_OUT_JOBS", "process-stripe-webhook")
    assert send("stripe", webhooks.stripe_event()).status == 404
    assert table.rows() == []


def test_a_source_without_ids_knows_an_event_by_its_body(
    table: Table, settings: pytest.MonkeyPatch
) -> None:
    members = {name: value for name, value in webhooks.ACME.items() if name != "id"}
    settings.setenv("WEBHOOK_SOURCES", json.dumps({"acme": members}))
    assert send("acme", ACME_EVENT).document["created"] is True
    assert send("acme", ACME_EVENT).document["created"] is False
    assert send("acme", ACME_EVENT | {"more": 1}).document["created"] is True
    assert table.rows()[0]["idempotency_key"].startswith("acme:sha256:")


@pytest.mark.parametrize("source", EVENTS)
def test_an_event_that_is_sent_again_is_one_job(table: Table, source: str) -> None:
    body = webhooks.encode(EVENTS[source])
    headers = HEADERS[source](body)
    first, second = send(source, body, headers), send(source, body, headers)
    assert second.status == 200
    assert second.document == {"jobId": first.document["jobId"], "created": False}
    assert len(table.rows()) == 1


def test_ids_of_two_sources_are_two(table: Table, settings: pytest.MonkeyPatch) -> None:
    both = {"acme": webhooks.ACME, "other": webhooks.ACME}
    settings.setenv("WEBHOOK_SOURCES", json.dumps(both))
    body = webhooks.encode(ACME_EVENT)
    for source in both:
        assert send(source, body, webhooks.acme_headers(body)).document["created"] is True


def test_the_bytes_are_what_is_signed_however_they_come(table: Table) -> None:
    body = '{"zen":  "grüße",\n"n": 1.50}'.encode()
    event = webhooks.event("github", body, webhooks.github_headers(body))
    event |= {"body": base64.b64encode(body).decode(), "isBase64Encoded": True}
    assert module.handler(event, lambda_context())["statusCode"] == 200
    assert table.rows()[0]["payload"]["body"] == {"zen": "grüße", "n": 1.5}


def test_during_a_rotation_both_secrets_are_taken(
    table: Table, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("STRIPE_WEBHOOK_SECRET", f"whsec_the_new_one,{webhooks.STRIPE_SECRET}")
    for number, secret in enumerate([webhooks.STRIPE_SECRET, "whsec_the_new_one"]):
        body = webhooks.encode(webhooks.stripe_event(f"evt_{number}"))
        assert send("stripe", body, webhooks.stripe_headers(body, secret)).status == 200
    assert len(table.rows()) == 2


def test_recording_costs_one_round_trip(table: Table) -> None:
    from tests.integration.test_round_trips import counted_round_trips

    body = webhooks.encode(EVENTS["github"])
    with counted_round_trips() as trips:
        send("github", body, webhooks.github_headers(body))
    assert len(trips) == 1


# --- what is refused


@pytest.mark.parametrize("source", EVENTS)
def test_a_body_that_was_changed_is_refused_and_not_read(
    table: Table, log: Log, source: str
) -> None:
    body = webhooks.encode(EVENTS[source])
    answer = send(source, b'{"SECRET-OF-A-STRANGER":', HEADERS[source](body))
    assert answer.status == 400
    assert answer.document["error"].startswith(f"not signed by {source}: ")
    assert table.rows() == []
    assert "STRANGER" not in log.text
    assert log.lines[-1]["message"] == "refused"


@pytest.mark.parametrize("source", EVENTS)
def test_the_secret_of_another_is_refused(table: Table, source: str) -> None:
    body = webhooks.encode(EVENTS[source])
    stranger: Any = HEADERS[source]
    answer = send(source, body, stranger(body, "whsec_" + "x" * 32))
    assert (answer.status, table.rows()) == (400, [])


@pytest.mark.parametrize("source", ["stripe", "resend", "acme"])
def test_what_was_signed_long_ago_is_refused(table: Table, source: str) -> None:
    body = webhooks.encode(EVENTS[source])
    sign: Any = HEADERS[source]
    answer = send(source, body, sign(body, age=301))
    assert answer.status == 400
    assert "more than 300 s before or after now" in answer.document["error"]
    assert table.rows() == []


def test_an_unknown_source_is_not_found() -> None:
    assert send("nobody", b"{}", {}).status == 404


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_not_allowed(method: str) -> None:
    answer = send("github", b"", {}, method=method)
    assert (answer.status, answer.headers) == (405, {"Allow": "POST"})


def test_a_body_over_the_limit_is_refused_with_both_sizes(
    table: Table, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("MAX_PAYLOAD_BYTES", "100")
    answer = send("github", b'{"a": "' + b"x" * 120 + b'"}')
    assert answer.status == 413
    assert answer.document["error"] == "the body is 129 bytes, the limit is 100 bytes"
    assert table.rows() == []


def test_an_event_that_only_fits_without_what_is_put_around_it_is_too_large(
    table: Table, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("MAX_PAYLOAD_BYTES", "100")
    answer = send("github", b'{"a": "' + b"x" * 90 + b'"}')
    assert answer.status == 413
    assert answer.document["error"].endswith("the limit is 100")
    assert table.rows() == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'"text"',
        b'{"a": NaN}',
        b'{"a": "\xff"}',
        b'{"a": "x"}'.decode().encode("utf-16"),
        b"[" * 100_000,
    ],
)
def test_what_is_no_json_object_that_can_be_kept_is_refused(table: Table, body: bytes) -> None:
    assert send("github", body).status == 400
    assert table.rows() == []


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json; charset=utf-8", 200),
        ("application/cloudevents+json", 200),
        ("application/x-www-form-urlencoded", 415),
        ("text/plain", 415),
    ],
)
def test_only_json_is_taken(content_type: str, status: int) -> None:
    body = b"{}"
    headers = webhooks.github_headers(body) | {"content-type": content_type}
    assert send("github", body, headers).status == status


@pytest.mark.parametrize("missing", ["x-github-event", "x-github-delivery"])
def test_an_event_without_name_or_id_is_refused(table: Table, missing: str) -> None:
    headers = webhooks.github_headers(b"{}")
    del headers[missing]
    answer = send("github", b"{}", headers)
    assert answer.status == 400
    assert answer.document["error"] == f"the header {missing} is missing"
    assert table.rows() == []


@pytest.mark.parametrize(
    ("body", "stored", "what"),
    [
        (b'{"message": "a\\u0000b"}', {"message": "a\ufffdb"}, ["the character U+0000"]),
        (b'{"\\ud800": ["x\\udc00"]}', {"\ufffd": ["x\ufffd"]}, ["half of a surrogate pair"]),
        (b'{"a": [1e999, -1e999, 1]}', {"a": [None, None, 1]}, ["a number too large for JSON"]),
    ],
)
def test_what_postgres_cannot_store_is_replaced_and_noted(
    table: Table, log: Log, body: bytes, stored: dict[str, Any], what: list[str]
) -> None:
    assert send("github", body).status == 200
    [row] = table.rows()
    assert row["payload"]["body"] == stored
    assert row["metadata"]["replaced"] == what
    [said] = [line for line in log.lines if line["message"] == "webhook's text was replaced"]
    assert (said["source"], said["what"]) == ("github", what)


def test_a_thin_event_of_stripe_is_recorded_for_a_handler_of_its_own(table: Table) -> None:
    thin = {
        "id": "evt_test_65R",
        "object": "v2.core.event",
        "type": "v1.billing.meter.error_report_triggered",
        "created": "2026-11-22T23:41:05.126Z",
        "livemode": False,
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/1"},
    }
    assert send("stripe", thin).status == 200
    [row] = table.rows()
    assert (row["job_type"], row["idempotency_key"]) == ("process-webhook", "stripe:evt_test_65R")
    assert row["payload"]["event"] == "v1.billing.meter.error_report_triggered"
    assert row["payload"]["body"] == thin


def test_a_stripe_event_that_its_job_cannot_read_is_refused(table: Table) -> None:
    answer = send("stripe", {"id": "evt_1", "type": "x"})
    assert answer.status == 400
    assert "event.created" in answer.document["error"]
    assert table.rows() == []


# --- what is missing or away


@pytest.mark.parametrize("source", EVENTS)
def test_a_missing_secret_is_named_in_the_log_only(
    table: Table, settings: pytest.MonkeyPatch, log: Log, source: str
) -> None:
    name = f"{source.upper()}_WEBHOOK_SECRET"
    settings.delenv(name)
    answer = send(source, EVENTS[source])
    assert (answer.status, table.rows()) == (500, [])
    assert answer.document["error"] == "this webhook is not set up"
    assert f"{name} is not set" in log.lines[-1]["error"]


def test_malformed_sources_are_named_in_the_log_and_leave_the_others_alone(
    settings: pytest.MonkeyPatch, log: Log
) -> None:
    settings.setenv("WEBHOOK_SOURCES", '{"acme": {}}')
    assert send("acme", ACME_EVENT).status == 500
    assert "WEBHOOK_SOURCES: acme: event, header, secret must be there" in log.lines[-1]["error"]
    assert send("github", EVENTS["github"]).status == 200


def test_without_postgres_the_sender_is_to_come_again(
    table: Table, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("POSTGRES_URL", "postgresql://nobody:hidden@127.0.0.1:9/none")
    answer = send("github", EVENTS["github"])
    assert (answer.status, answer.retry_after) == (503, 20)
    assert "hidden" not in json.dumps(answer.document)
    assert table.rows() == []


def test_a_row_that_could_not_be_written_is_no_200(
    table: Table, settings: pytest.MonkeyPatch
) -> None:
    with psycopg.connect(os.environ["POSTGRES_URL"]) as blocking:
        blocking.execute("LOCK TABLE job_executions IN ACCESS EXCLUSIVE MODE")
        database.connection().execute("SET lock_timeout = '50ms'")
        assert send("github", EVENTS["github"]).status == 503
        blocking.rollback()
    assert table.rows() == []
    assert send("github", EVENTS["github"]).status == 200
