"""The real SDK against a stateful stand-in: its objects, its events."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import stripe

from infra.local.stripe import Stripe
from tests.deliveries import Table
from tests.integration.process_stripe_webhook.conftest import Process
from tests.stripe_server import event

ROOT = Path(__file__).parents[3]
GOOD_CARD, REFUSING_CARD = "4242424242424242", "4000000000000341"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stripe]:
    home = tmp_path_factory.mktemp("stripe")
    running = Stripe(
        ROOT,
        0,
        home / "stripe.log",
        state=home / "stripe.pickle",
        webhook_url="http://127.0.0.1:9",
        webhook_secret="whsec_of_the_test",
    )
    running.serve_now()
    yield running
    running.stop()


@pytest.fixture
def client(server: Stripe, settings: pytest.MonkeyPatch) -> stripe.StripeClient:
    for name, value in server.environment.items():
        settings.setenv(name, value)
    settings.setenv("BILLING_URL", "https://app.example.com/billing")
    return stripe.StripeClient("sk_test_local", base_addresses={"api": server.url})


def subscribe(client: stripe.StripeClient, card: str) -> str:
    method = client.v1.payment_methods.create(
        {
            "type": "card",
            "card": {"number": card, "exp_month": 12, "exp_year": 2040, "cvc": "123"},
        }
    )
    customer = client.v1.customers.create(
        {
            "email": "grace@example.com",
            "name": "Grace Hopper",
            "payment_method": method.id,
            "invoice_settings": {"default_payment_method": method.id},
            "metadata": {"user_id": "u_grace"},
        }
    )
    items: Any = [{"plan": "team-yearly", "quantity": "2"}]
    return client.v1.subscriptions.create({"customer": customer.id, "items": items}).id


def sent(client: stripe.StripeClient, kind: str, about: str) -> dict[str, Any]:
    """The event that the server has made of it."""
    events = [each.to_dict() for each in client.v1.events.list({"type": kind, "limit": 100}).data]
    [found] = [each for each in events if about in str(each["data"])]
    return {"event": found}


def test_a_subscription_begins_and_ends(
    client: stripe.StripeClient, process: Process, row: Callable[[], dict[str, Any]]
) -> None:
    subscription_id = subscribe(client, GOOD_CARD)
    created = sent(client, "customer.subscription.created", subscription_id)
    assert process(created).status == 200
    found = row()
    assert (found["status"], found["user_id"]) == ("active", "u_grace")
    assert (found["price_id"], found["product_id"]) == ("team-yearly", "prod_team")
    assert (found["unit_amount"], found["quantity"]) == (124_900, 2)
    assert (found["billing_interval"], found["latest_invoice_status"]) == ("year", "paid")

    client.v1.subscriptions.update(subscription_id, {"cancel_at_period_end": True})
    process(created)
    assert row()["cancel_at_period_end"] is True

    client.v1.subscriptions.cancel(subscription_id)
    deleted = sent(client, "customer.subscription.deleted", subscription_id)
    for each in (deleted, created, deleted):
        assert process(each).status == 200
    assert row()["status"] == "canceled"
    assert row()["ended_at"] is not None


def test_a_card_that_is_refused(
    client: stripe.StripeClient, process: Process, table: Table, row: Callable[[], dict[str, Any]]
) -> None:
    subscription_id = subscribe(client, REFUSING_CARD)
    # The one event that the server does not send.
    expanded = client.v1.subscriptions.retrieve(subscription_id, {"expand": ["latest_invoice"]})
    refused = expanded.to_dict()["latest_invoice"]
    assert process(event("invoice.payment_failed", refused)).status == 200
    assert (row()["status"], row()["latest_invoice_status"]) == ("incomplete", "open")
    [job] = table.run("SELECT payload FROM job_executions WHERE job_type = 'send-email'")
    assert job["payload"]["to"] == ["grace@example.com"]
    assert job["payload"]["data"]["amount"] == 249_800


def test_a_wrong_key(
    client: stripe.StripeClient, process: Process, table: Table, settings: pytest.MonkeyPatch
) -> None:
    subscription_id = subscribe(client, GOOD_CARD)
    created = sent(client, "customer.subscription.created", subscription_id)
    settings.setenv("STRIPE_SECRET_KEY", "wrong")
    assert process(created).stops_qstash
    [job] = table.run("SELECT error FROM job_executions")
    assert "STRIPE_SECRET_KEY" in job["error"]
