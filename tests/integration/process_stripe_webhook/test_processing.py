"""What each event does to our tables, and what it enqueues."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from functions.process_stripe_webhook import processing
from functions.process_stripe_webhook.stripe_api import API_VERSION
from tests import stripe_server
from tests.deliveries import Table
from tests.integration.process_stripe_webhook.conftest import Process
from tests.stripe_server import StripeServer, event

Row = Callable[[], dict[str, Any]]
Enqueued = Callable[[], list[tuple[str, str]]]

STARTED = [
    ("create-notification", "stripe:sub_1:started:notification"),
    ("send-email", "stripe:sub_1:started:email"),
]


def created(**changes: Any) -> dict[str, Any]:
    return event("customer.subscription.created", stripe_server.subscription(), **changes)


def test_a_subscription_as_it_is_now(stripe: StripeServer, process: Process, row: Row) -> None:
    assert process(created()).status == 200
    found = row()
    assert found.pop("updated_at")
    assert found.pop("reading") > 0
    assert found == {
        "subscription_id": "sub_1",
        "customer_id": "cus_1",
        "user_id": "u_1",
        "organization_id": "o_1",
        "status": "active",
        "price_id": "price_1",
        "product_id": "prod_1",
        "quantity": 3,
        "unit_amount": 4900,
        "interval_amount": 3 * 4900,
        "currency": "eur",
        "billing_interval": "month",
        "interval_count": 1,
        "current_period_end": datetime.fromtimestamp(stripe_server.NOW + stripe_server.MONTH, UTC),
        "cancel_at_period_end": False,
        "cancel_at": None,
        "canceled_at": None,
        "ended_at": None,
        "trial_end": None,
        "latest_invoice_id": "in_1",
        "latest_invoice_status": "paid",
        "started_at": datetime.fromtimestamp(stripe_server.NOW, UTC),
        "event_id": "evt_1",
        "event_created": datetime.fromtimestamp(stripe_server.NOW, UTC),
    }
    path, headers = stripe.requests[0]
    assert path.startswith("/v1/subscriptions/sub_1?expand")
    assert headers["Stripe-Version"] == API_VERSION
    assert headers["Authorization"] == "Bearer sk_test_of_the_test"


def test_the_customer(stripe: StripeServer, process: Process, table: Table) -> None:
    stripe.put(stripe_server.customer(metadata={"userId": "u_9"}))
    process(created())
    [found] = table.run("SELECT customer_id, user_id, email, name, deleted FROM customers")
    assert list(found.values()) == ["cus_1", "u_9", "ada@example.com", "Ada Lovelace", False]
    stripe.put({"id": "cus_1", "object": "customer", "deleted": True})
    process(created(event_id="evt_2"))
    [found] = table.run("SELECT customer_id, user_id, email, name, deleted FROM customers")
    assert list(found.values()) == ["cus_1", "u_9", None, None, True]


@pytest.mark.usefixtures("stripe")
def test_a_new_plan_is_told_once_however_many_events_tell_it(
    process: Process, enqueued: Enqueued, table: Table
) -> None:
    process(event("checkout.session.completed", stripe_server.session(), event_id="evt_1"))
    process(created(event_id="evt_2"))
    process(created(event_id="evt_2"))
    assert enqueued() == STARTED
    [job] = table.run("SELECT * FROM job_executions WHERE job_type = 'send-email'")
    assert job["payload"]["data"]["planName"] == "Team"
    assert (job["user_id"], job["organization_id"]) == ("u_1", "o_1")
    [job] = table.run("SELECT * FROM job_executions WHERE job_type = 'create-notification'")
    assert job["payload"]["userId"] == "u_1"


def test_an_old_event_tells_nothing_that_is_over(
    stripe: StripeServer, process: Process, enqueued: Enqueued, row: Row
) -> None:
    stripe.put(stripe_server.subscription(status="canceled"))
    process(created())
    assert (row()["status"], enqueued()) == ("canceled", [])


def test_a_failed_payment(
    stripe: StripeServer, process: Process, enqueued: Enqueued, row: Row, table: Table
) -> None:
    stripe.put(stripe_server.unpaid())
    stripe.put(stripe_server.subscription(status="past_due"))
    process(event("invoice.payment_failed", stripe_server.unpaid()))
    assert (row()["status"], row()["latest_invoice_status"]) == ("past_due", "open")
    assert enqueued() == [
        ("create-notification", "stripe:evt_1:notification"),
        ("send-email", "stripe:evt_1:email"),
    ]
    [job] = table.run("SELECT payload FROM job_executions WHERE job_type = 'send-email'")
    assert job["payload"]["template"] == "paymentFailed"
    assert job["payload"]["data"]["updatePaymentUrl"].startswith("https://invoice.stripe.com/")


def test_a_failed_payment_of_an_invoice_that_is_not_the_latest(
    stripe: StripeServer, process: Process, enqueued: Enqueued
) -> None:
    stripe.put(stripe_server.unpaid(id="in_0"))
    process(event("invoice.payment_failed", stripe_server.unpaid(id="in_0")))
    assert len(enqueued()) == 2
    assert [path for path, _ in stripe.requests if "invoices/" in path] == ["/v1/invoices/in_0"]


@pytest.mark.usefixtures("stripe")
def test_a_failed_payment_that_has_been_made_since(
    process: Process, enqueued: Enqueued, row: Row
) -> None:
    process(event("invoice.payment_failed", stripe_server.unpaid()))
    assert (row()["latest_invoice_status"], enqueued()) == ("paid", [])


@pytest.mark.parametrize("shape", [stripe_server.invoice, stripe_server.old_invoice])
@pytest.mark.usefixtures("stripe")
def test_a_paid_invoice_in_either_shape(
    process: Process, enqueued: Enqueued, row: Row, shape: Callable[[], dict[str, Any]]
) -> None:
    process(event("invoice.paid", shape()))
    assert row()["latest_invoice_status"] == "paid"
    assert enqueued() == [("create-notification", "stripe:evt_1:notification")]


def test_a_trial_that_ends_soon(
    stripe: StripeServer, process: Process, enqueued: Enqueued, table: Table
) -> None:
    trial = stripe_server.subscription(status="trialing", trial_end=stripe_server.NOW)
    stripe.put(trial)
    process(event("customer.subscription.trial_will_end", trial))
    assert enqueued() == [("create-notification", "stripe:evt_1:notification")]
    [job] = table.run("SELECT payload FROM job_executions WHERE job_type = 'create-notification'")
    assert job["payload"]["title"] == "Your trial of Team ends soon"


@pytest.mark.parametrize("first", ["checkout", "subscription"])
def test_only_the_checkout_knows_whose_it_is(
    stripe: StripeServer, process: Process, row: Row, enqueued: Enqueued, first: str
) -> None:
    stripe.put(stripe_server.subscription(metadata={}))
    events = [
        event("checkout.session.completed", stripe_server.session(), event_id="evt_1"),
        created(event_id="evt_2"),
    ]
    for each in events if first == "checkout" else reversed(events):
        process(each)
    assert row()["user_id"] == "u_session"
    assert enqueued() == STARTED


def test_a_second_subscription_is_its_customers(
    stripe: StripeServer, process: Process, table: Table
) -> None:
    stripe.put(stripe_server.subscription(metadata={}))
    process(event("checkout.session.completed", stripe_server.session()))
    stripe.put(stripe_server.subscription(id="sub_2", metadata={}))
    process(event("customer.subscription.created", stripe_server.subscription(id="sub_2")))
    found = table.run("SELECT user_id FROM subscriptions WHERE subscription_id = 'sub_2'")
    assert found == [{"user_id": "u_session"}]


def test_what_cannot_be_told_is_noted_and_the_state_is_written_all_the_same(
    stripe: StripeServer, process: Process, row: Row, enqueued: Enqueued, table: Table
) -> None:
    stripe.put(stripe_server.subscription(metadata={}))
    stripe.put(stripe_server.customer(email="nobody at nowhere"))
    assert process(created()).status == 200
    assert (row()["status"], enqueued()) == ("active", [])
    [done] = table.run("SELECT result FROM job_executions")
    no_notification, no_email = done["result"]["notes"]
    assert "metadata.user_id" in no_notification
    assert "an email address" in no_email


@pytest.mark.usefixtures("stripe")
def test_nothing_is_written_unless_the_job_completes(
    process: Process, table: Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = processing._tell

    def tell_and_fail(*arguments: Any) -> Any:
        original(*arguments)
        raise RuntimeError("after everything was written")

    monkeypatch.setattr(processing, "_tell", tell_and_fail)
    assert process(created()).status == 500
    [count] = table.run(
        "SELECT (SELECT count(*) FROM customers) + (SELECT count(*) FROM subscriptions) "
        "+ (SELECT count(*) FROM job_executions) AS rows"
    )
    assert count["rows"] == 1  # the job itself, retrying


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (event("customer.updated", stripe_server.customer()), "customer.updated"),
        (
            event("invoice.paid", stripe_server.invoice(parent=None)),
            "invoice.paid without a subscription",
        ),
        (
            event("checkout.session.completed", stripe_server.session(subscription=None)),
            "checkout.session.completed without a subscription",
        ),
    ],
)
def test_what_is_none_of_its_business_completes_without_asking_stripe(
    stripe: StripeServer, process: Process, table: Table, payload: dict[str, Any], reason: str
) -> None:
    assert process(payload).status == 200
    [done] = table.run("SELECT result FROM job_executions")
    assert done["result"]["ignored"] == reason
    assert stripe.requests == []


def test_what_is_no_event_is_refused(process: Process) -> None:
    assert process({"event": {"type": "invoice.paid"}}).stops_qstash
