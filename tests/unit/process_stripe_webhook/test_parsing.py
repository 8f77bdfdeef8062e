"""Stripe's objects say the same in every API version."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from functions.process_stripe_webhook import parsing
from functions.process_stripe_webhook.parsing import Owner
from tests import stripe_server as stripe

PERIOD_END = datetime.fromtimestamp(stripe.NOW + stripe.MONTH, UTC)


def test_a_subscription_of_today_and_one_of_before_basil_read_the_same() -> None:
    now = parsing.subscription(stripe.subscription())
    before = parsing.subscription(stripe.old_subscription())
    assert now == before
    assert now.current_period_end == PERIOD_END
    assert (now.price_id, now.product_id, now.unit_amount) == ("price_1", "prod_1", 4900)
    assert (now.billing_interval, now.interval_count, now.quantity) == ("month", 1, 3)


def test_expanded_and_not_expanded_read_the_same() -> None:
    whole = stripe.subscription(customer=stripe.customer(), latest_invoice=stripe.invoice())
    alone, expanded = parsing.subscription(stripe.subscription()), parsing.subscription(whole)
    assert alone.customer.customer_id == expanded.customer.customer_id == "cus_1"
    assert alone.latest_invoice_id == expanded.latest_invoice_id == "in_1"
    assert (alone.customer.whole, expanded.customer.whole) == (False, True)
    assert (alone.latest_invoice_status, expanded.latest_invoice_status) == (None, "paid")
    same = replace(
        alone,
        customer=expanded.customer,
        latest_invoice=expanded.latest_invoice,
        latest_invoice_status="paid",
    )
    assert same == expanded


def test_of_items_with_periods_of_their_own_the_first_to_end_counts() -> None:
    items = [stripe.item(current_period_end=stripe.NOW + 2 * stripe.MONTH), stripe.item()]
    read = parsing.subscription(stripe.subscription(items={"data": items}))
    assert read.current_period_end == PERIOD_END


def test_a_subscription_with_hardly_anything() -> None:
    read = parsing.subscription({"id": "sub_1", "status": "active", "customer": "cus_1"})
    assert (read.price_id, read.current_period_end, read.latest_invoice_id) == (None, None, None)


def test_a_deleted_customer_has_no_address() -> None:
    read = parsing.customer({"id": "cus_1", "object": "customer", "deleted": True})
    assert (read.deleted, read.email, read.owner) == (True, None, Owner())


@pytest.mark.parametrize(
    ("kind", "thing", "expected"),
    [
        ("customer.subscription.updated", stripe.subscription(), "sub_1"),
        ("invoice.paid", stripe.invoice(), "sub_1"),
        ("invoice.paid", stripe.old_invoice(), "sub_1"),
        ("invoice.paid", stripe.old_invoice(subscription={"id": "sub_2"}), "sub_2"),
        ("invoice.paid", stripe.invoice(parent=None), None),
        ("invoice.paid", stripe.invoice(parent={"type": "quote_details"}), None),
        ("checkout.session.completed", stripe.session(), "sub_1"),
        ("checkout.session.completed", stripe.session(subscription=None), None),
    ],
)
def test_which_subscription_an_event_is_about(
    kind: str, thing: dict[str, Any], expected: str | None
) -> None:
    assert parsing.subscription_id_of(kind, thing) == expected


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"user_id": "u_1", "organization_id": "o_1"}, Owner("u_1", "o_1")),
        ({"userId": "u_1", "organizationId": "o_1"}, Owner("u_1", "o_1")),
        ({"user_id": ""}, Owner()),
        (None, Owner()),
    ],
)
def test_whose_it_is_by_its_metadata(metadata: dict[str, str] | None, expected: Owner) -> None:
    assert parsing.owner({"metadata": metadata}) == expected


def test_a_checkouts_metadata_goes_before_its_reference() -> None:
    assert parsing.session_owner(stripe.session()) == Owner("u_session")
    assert parsing.session_owner(stripe.session(metadata={"user_id": "u_2"})) == Owner("u_2")


@pytest.mark.parametrize(
    ("changes", "ends"),
    [
        ({}, False),
        ({"cancel_at_period_end": True}, True),
        ({"cancel_at": stripe.NOW + 9}, True),
    ],
)
def test_when_it_ends_by_itself(changes: dict[str, Any], *, ends: bool) -> None:
    read = parsing.subscription(stripe.subscription(**changes))
    assert (read.ends_at is not None) == ends
