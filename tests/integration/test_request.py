"""A signed delivery is believed in every shape in which it may arrive, and in no other."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from tests.deliveries import Table, handle, http_event, lambda_context, probe, sign

GATEWAY = "abc123.execute-api.eu-west-1.amazonaws.com"
FUNCTION_URL = "abc123.lambda-url.eu-west-1.on.aws"


def shaped(sent: bytes, signed_for: str, **changed: Any) -> dict[str, Any]:
    headers = {"upstash-signature": sign(sent, signed_for)} | changed.pop("headers", {})
    event = http_event(
        b"", headers, path=changed.pop("path", "/x"), domain=changed.pop("domain", GATEWAY)
    )
    return event | {"body": sent.decode("utf-8", "replace")} | changed


def message_for(table: Table) -> bytes:
    return json.dumps({"jobId": table.add(probe()), "type": "probe"}).encode()


@pytest.mark.parametrize(
    ("signed_for", "changed"),
    [
        (f"https://{GATEWAY}/x", {}),
        (f"https://{GATEWAY}/staging/x", {"path": "/staging/x", "rawPath": "/x"}),
        (f"https://{GATEWAY}/x", {"path": "/staging/x", "rawPath": "/x"}),
        (f"https://{FUNCTION_URL}/", {"domain": FUNCTION_URL, "path": "/"}),
        ("https://jobs.example.com/x", {"domain": "jobs.example.com"}),
        (f"https://{GATEWAY}/x?a=b%20c", {"rawQueryString": "a=b%20c"}),
        (
            "http://localhost:3000/x",
            {
                "domain": "localhost",
                "headers": {"x-forwarded-proto": "http", "x-forwarded-port": "3000"},
            },
        ),
    ],
    ids=["gateway", "stage", "hidden-stage", "function-url", "domain", "query", "local"],
)
def test_the_url_that_was_called_is_the_url_that_was_signed(
    table: Table, signed_for: str, changed: dict[str, Any]
) -> None:
    body = message_for(table)
    assert handle(probe(), shaped(body, signed_for, **changed)).status == 200


@pytest.mark.parametrize(
    "signed_for",
    [
        f"http://{GATEWAY}/x",
        f"https://{GATEWAY}/y",
        f"https://{GATEWAY}/x/",
        f"https://{GATEWAY}/x?a=b",
        f"https://{GATEWAY}:8443/x",
        "https://jobs.example.com/x",
    ],
)
def test_a_signature_for_another_url_is_401(table: Table, signed_for: str) -> None:
    assert handle(probe(), shaped(message_for(table), signed_for)).status == 401


def test_a_host_header_is_no_proof_of_the_url(table: Table) -> None:
    event = shaped(
        message_for(table), "https://other.example.com/x", headers={"host": "other.example.com"}
    )
    assert handle(probe(), event).status == 401


def test_a_base64_body_is_verified_as_it_was_sent(table: Table) -> None:
    body = message_for(table)
    encoded = base64.b64encode(body).decode()
    event = shaped(body, f"https://{GATEWAY}/x", body=encoded, isBase64Encoded=True)
    assert handle(probe(), event).status == 200


def test_a_signed_body_that_is_not_utf_8_is_489_and_not_401(table: Table) -> None:
    body = b'{"jobId": "\xff", "type": "probe", "payload": {}}'
    encoded = base64.b64encode(body).decode()
    event = shaped(body, f"https://{GATEWAY}/x", body=encoded, isBase64Encoded=True)
    assert handle(probe(), event).stops_qstash
    assert table.rows() == []


def test_header_names_have_no_case(table: Table) -> None:
    body = message_for(table)
    event = shaped(body, f"https://{GATEWAY}/x")
    event["headers"] = {name.upper(): value for name, value in event["headers"].items()}
    event["headers"]["UPSTASH-MESSAGE-ID"] = "msg_9"
    assert handle(probe(), event, lambda_context()).status == 200
    assert [row["message_id"] for row in table.rows()] == ["msg_9"]
