"""Stripe as far as a reader sees it: objects behind its HTTP API, in a thread of its own, and the
objects and events in the shapes of Stripe's documentation.

https://docs.stripe.com/api/subscriptions/object, .../invoices/object, .../events/object,
.../checkout/sessions/object; in the version that the job asks for, and in the one before
2025-03-31.basil, which webhook endpoints of older accounts still send.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = 1_780_000_000
MONTH = 30 * 86_400


@dataclass
class StripeServer:
    """Its objects by path (`subscriptions/sub_1`), and how it answers.

    `before_answer` is called, in the request's thread, between reading an object and answering.
    """

    url: str = ""
    objects: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: list[tuple[int, dict[str, str], dict[str, Any]]] = field(default_factory=list)
    requests: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    before_answer: Callable[[str], None] = lambda _path: None

    def put(self, thing: Mapping[str, Any]) -> dict[str, Any]:
        """Have an object, in place of the one with the same id."""
        self.objects[f"{thing['object']}s/{thing['id']}"] = dict(thing)
        return dict(thing)

    def fail(
        self,
        status: int,
        *,
        type: str = "api_error",  # noqa: A002
        headers: Mapping[str, str] | None = None,
        times: int = 1,
        **error: Any,
    ) -> None:
        """Answer the next requests with an error (https://docs.stripe.com/api/errors)."""
        document = {"error": {"type": type, "message": f"told to fail with {status}", **error}}
        self.failures += [(status, dict(headers or {}), document)] * times

    def answer(self, target: str) -> tuple[int, dict[str, str], dict[str, Any]]:
        if self.failures:
            return self.failures.pop(0)
        url = urlsplit(target)
        path = url.path.removeprefix("/v1/")
        found = self.objects.get(path)
        if found is None:
            message = f"No such object: '{path}'"
            error = {
                "type": "invalid_request_error",
                "code": "resource_missing",
                "message": message,
            }
            return 404, {}, {"error": error}
        found = dict(found)
        query = parse_qs(url.query)
        for name in [value for key in query if key.startswith("expand") for value in query[key]]:
            if isinstance(found.get(name), str):
                kind = {"latest_invoice": "invoice"}.get(name, name)
                found[name] = self.objects[f"{kind}s/{found[name]}"]
        self.before_answer(path)
        return 200, {}, found


@contextmanager
def stripe_serving() -> Iterator[StripeServer]:
    """One on a free port, without an object."""
    server = StripeServer()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.requests.append((self.path, dict(self.headers)))
            status, headers, document = server.answer(self.path)
            body = json.dumps(document).encode()
            self.send_response(status)
            for name, value in {"Request-Id": "req_1", **headers}.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_arguments: object) -> None:
            """A client that hung up is no news."""

    with Quiet(("127.0.0.1", 0), Handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.02,))
        thread.start()
        server.url = f"http://127.0.0.1:{http.server_address[1]}"
        yield server
        http.shutdown()
        thread.join()


# --- objects


def customer(**changes: Any) -> dict[str, Any]:
    return {
        "id": "cus_1",
        "object": "customer",
        "created": NOW,
        "email": "ada@example.com",
        "livemode": False,
        "metadata": {},
        "name": "Ada Lovelace",
    } | changes


def product(**changes: Any) -> dict[str, Any]:
    return {"id": "prod_1", "object": "product", "active": True, "name": "Team"} | changes


def invoice(**changes: Any) -> dict[str, Any]:
    """An invoice since 2025-03-31.basil: its subscription is under `parent`."""
    return {
        "id": "in_1",
        "object": "invoice",
        "amount_due": 4900,
        "amount_paid": 4900,
        "attempt_count": 1,
        "billing_reason": "subscription_cycle",
        "currency": "eur",
        "customer": "cus_1",
        "customer_email": "ada@example.com",
        "hosted_invoice_url": "https://invoice.stripe.com/i/acct_1/test_1",
        "next_payment_attempt": None,
        "number": "2026-0042",
        "parent": {
            "type": "subscription_details",
            "quote_details": None,
            "subscription_details": {"metadata": {}, "subscription": "sub_1"},
        },
        "status": "paid",
    } | changes


def old_invoice(**changes: Any) -> dict[str, Any]:
    """An invoice before 2025-03-31.basil."""
    made = invoice(subscription="sub_1", subscription_details={"metadata": {}})
    del made["parent"]
    return made | changes


def unpaid(**changes: Any) -> dict[str, Any]:
    return invoice(amount_paid=0, status="open", next_payment_attempt=NOW + 3 * 86_400, **changes)


def item(**changes: Any) -> dict[str, Any]:
    return {
        "id": "si_1",
        "object": "subscription_item",
        "current_period_end": NOW + MONTH,
        "current_period_start": NOW,
        "price": {
            "id": "price_1",
            "object": "price",
            "currency": "eur",
            "nickname": None,
            "product": "prod_1",
            "recurring": {"interval": "month", "interval_count": 1, "usage_type": "licensed"},
            "type": "recurring",
            "unit_amount": 4900,
            "unit_amount_decimal": "4900",
        },
        "quantity": 3,
        "subscription": "sub_1",
    } | changes


def subscription(**changes: Any) -> dict[str, Any]:
    """A subscription since 2025-03-31.basil: the period is each item's."""
    return {
        "id": "sub_1",
        "object": "subscription",
        "cancel_at": None,
        "cancel_at_period_end": False,
        "canceled_at": None,
        "created": NOW,
        "currency": "eur",
        "customer": "cus_1",
        "ended_at": None,
        "items": {"object": "list", "data": [item()], "has_more": False},
        "latest_invoice": "in_1",
        "metadata": {"user_id": "u_1", "organization_id": "o_1"},
        "start_date": NOW,
        "status": "active",
        "trial_end": None,
    } | changes


def old_subscription(**changes: Any) -> dict[str, Any]:
    """A subscription before 2025-03-31.basil, with the plan that prices replaced."""
    made = item()
    price = made.pop("price")
    del made["current_period_end"], made["current_period_start"]
    made["plan"] = {
        "id": price["id"],
        "object": "plan",
        "amount": price["unit_amount"],
        "currency": "eur",
        "interval": "month",
        "interval_count": 1,
        "product": "prod_1",
    }
    return (
        subscription(
            items={"object": "list", "data": [made]},
            plan=made["plan"],
            quantity=3,
            current_period_end=NOW + MONTH,
        )
        | changes
    )


def session(**changes: Any) -> dict[str, Any]:
    return {
        "id": "cs_test_1",
        "object": "checkout.session",
        "client_reference_id": "u_session",
        "customer": "cus_1",
        "customer_details": {"email": "typed@example.com", "name": "Typed Name"},
        "customer_email": None,
        "metadata": {},
        "mode": "subscription",
        "payment_status": "paid",
        "status": "complete",
        "subscription": "sub_1",
    } | changes


def event(
    kind: str,
    thing: Mapping[str, Any],
    *,
    event_id: str = "evt_1",
    created: int = NOW,
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The payload of the job: an event, as Stripe sends it."""
    data: dict[str, Any] = {"object": dict(thing)}
    if before is not None:
        data["previous_attributes"] = dict(before)
    return {
        "event": {
            "id": event_id,
            "object": "event",
            "api_version": "2026-10-28.endive",
            "created": created,
            "data": data,
            "livemode": False,
            "pending_webhooks": 1,
            "request": {"id": "req_1", "idempotency_key": "key_1"},
            "type": kind,
        }
    }
