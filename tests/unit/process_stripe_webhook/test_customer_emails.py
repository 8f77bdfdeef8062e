"""The customer is told what is still true, and every message is one that its job takes."""

from typing import Any

import pytest

from functions.create_notification.handler import create_notification
from functions.process_stripe_webhook import parsing
from functions.process_stripe_webhook.customer_emails import Facts, Message, messages
from functions.process_stripe_webhook.models import Event
from functions.send_email.handler import send_email
from tests import stripe_server as stripe


def told(
    kind: str,
    *,
    subscription: dict[str, Any] | None = None,
    invoice: dict[str, Any] | None = None,
    before: dict[str, Any] | None = None,
    **changes: Any,
) -> list[Message]:
    payload = stripe.event(kind, {}, before=before)["event"]
    facts: dict[str, Any] = {
        "event": Event.model_validate(payload),
        "subscription": parsing.subscription(subscription or stripe.subscription()),
        "invoice": parsing.invoice_from(invoice) if invoice else None,
        "email": "ada@example.com",
        "name": "Ada Lovelace",
        "billing_url": "https://app.example.com/billing",
        "plan_name": lambda: "Team",
    }
    return messages(Facts(**(facts | changes)))


def kinds(found: list[Message]) -> list[str]:
    return [message.payload.get("template") or message.payload["type"] for message in found]


ENDING = {"cancel_at_period_end": True}
CASES: list[tuple[str, dict[str, Any], list[str]]] = [
    ("checkout.session.completed", {}, ["subscription-started", "subscriptionCreated"]),
    ("customer.subscription.created", {}, ["subscription-started", "subscriptionCreated"]),
    (
        "customer.subscription.updated",
        {"before": {"status": "incomplete"}},
        ["subscription-started", "subscriptionCreated"],
    ),
    ("customer.subscription.updated", {"before": {"quantity": 1}}, []),
    ("customer.subscription.updated", {}, []),
    (
        "customer.subscription.updated",
        {
            "before": {"cancel_at_period_end": False},
            "subscription": stripe.subscription(**ENDING),
        },
        ["subscription-ending"],
    ),
    # Somebody has changed their mind again since.
    ("customer.subscription.updated", {"before": {"cancel_at_period_end": False}}, []),
    ("customer.subscription.updated", {"before": {"cancel_at_period_end": True}}, []),
    (
        "customer.subscription.updated",
        {
            "before": {"cancel_at_period_end": False},
            "subscription": stripe.subscription(status="canceled", **ENDING),
        },
        [],
    ),
    (
        "customer.subscription.deleted",
        {"subscription": stripe.subscription(status="canceled")},
        ["subscription-ended"],
    ),
    (
        "customer.subscription.trial_will_end",
        {"subscription": stripe.subscription(status="trialing", trial_end=stripe.NOW)},
        ["trial-ending"],
    ),
    ("customer.subscription.trial_will_end", {}, []),
    (
        "customer.subscription.created",
        {"subscription": stripe.subscription(status="incomplete")},
        [],
    ),
    (
        "checkout.session.completed",
        {"subscription": stripe.subscription(status="canceled")},
        [],
    ),
    ("invoice.paid", {"invoice": stripe.invoice()}, ["payment-received"]),
    ("invoice.paid", {"invoice": stripe.invoice(amount_paid=0)}, []),
    (
        "invoice.paid",
        {"invoice": stripe.invoice(billing_reason="subscription_create")},
        ["subscription-started", "subscriptionCreated"],
    ),
    ("invoice.payment_failed", {"invoice": stripe.unpaid()}, ["payment-failed", "paymentFailed"]),
    ("invoice.payment_failed", {"invoice": stripe.invoice()}, []),
    ("invoice.payment_failed", {"invoice": None}, []),
]


@pytest.mark.parametrize(("kind", "facts", "expected"), CASES)
def test_what_is_told_of_what(kind: str, facts: dict[str, Any], expected: list[str]) -> None:
    assert kinds(told(kind, **facts)) == expected


@pytest.mark.parametrize(("kind", "facts", "expected"), CASES)
def test_every_message_is_one_that_its_job_takes(
    kind: str, facts: dict[str, Any], expected: list[str]
) -> None:
    found = told(kind, name="Ada\r\nBcc: all@example.com \u202e" + "x" * 300, **facts)
    assert len(found) == len(expected)
    for message in found:
        assert message.lacks is None
        if message.kind == "email":
            send_email.dump_payload(message.payload)
        else:
            create_notification.dump_payload(message.payload | {"userId": "u_1"})


def test_whatever_tells_that_a_plan_began_tells_it_under_one_key() -> None:
    began = [
        told("checkout.session.completed"),
        told("customer.subscription.created"),
        told("customer.subscription.updated", before={"status": "incomplete"}),
        told("invoice.paid", invoice=stripe.invoice(billing_reason="subscription_create")),
    ]
    assert {message.key for found in began for message in found} == {
        "stripe:sub_1:started:notification",
        "stripe:sub_1:started:email",
    }


def test_the_email_of_a_new_plan() -> None:
    [_, email] = told("customer.subscription.created")
    assert email.payload == {
        "to": "ada@example.com",
        "template": "subscriptionCreated",
        "data": {
            "name": "Ada Lovelace",
            "planName": "Team",
            "amount": 3 * 4900,
            "currency": "eur",
            "interval": "month",
            "intervalCount": 1,
            "renewsAt": "2026-06-27T20:26:40+00:00",
            "manageUrl": "https://app.example.com/billing",
        },
    }


def priced(**changes: Any) -> dict[str, Any]:
    made = stripe.item(quantity=changes.pop("quantity", 1))
    made["price"] |= changes
    return made


METERED = {"interval": "month", "interval_count": 1, "usage_type": "metered"}
YEARLY = {"interval": "year", "interval_count": 1, "usage_type": "licensed"}


@pytest.mark.parametrize(
    ("subscription", "amount"),
    [
        ({"items": {"data": [priced(), priced(unit_amount_decimal="100.5", quantity=3)]}}, 5202),
        ({"items": {"data": [priced(unit_amount=None, unit_amount_decimal="0.5")]}}, 1),
        (
            {
                "items": {
                    "data": [
                        priced(quantity=11, transform_quantity={"divide_by": 5, "round": "up"})
                    ]
                }
            },
            3 * 4900,
        ),
        (
            {
                "items": {
                    "data": [
                        priced(quantity=11, transform_quantity={"divide_by": 5, "round": "down"})
                    ]
                }
            },
            2 * 4900,
        ),
        ({"items": {"data": [priced(recurring=METERED), priced()]}}, None),
        ({"items": {"data": [priced(), priced(recurring=YEARLY)]}}, None),
        (
            {
                "items": {
                    "data": [
                        priced(billing_scheme="tiered", unit_amount=None, unit_amount_decimal=None)
                    ]
                }
            },
            None,
        ),
        ({"discounts": ["di_1"]}, None),
    ],
)
def test_the_price_is_that_of_all_items_for_one_interval_or_left_out(
    subscription: dict[str, Any], amount: int | None
) -> None:
    [_, email] = told(
        "customer.subscription.created", subscription=stripe.subscription(**subscription)
    )
    assert email.payload["data"].get("amount") == amount


def test_an_email_that_cannot_be_sent_says_why() -> None:
    [_, nobody] = told("customer.subscription.created", email=None)
    assert nobody.lacks is not None
    assert "no address" in nobody.lacks
    [_, nowhere] = told("customer.subscription.created", billing_url=None)
    assert nowhere.lacks is not None
    assert "BILLING_URL" in nowhere.lacks
    # Stripe has a page of its own where an invoice can be paid.
    [_, failed] = told("invoice.payment_failed", invoice=stripe.unpaid(), billing_url=None)
    assert failed.lacks is None
