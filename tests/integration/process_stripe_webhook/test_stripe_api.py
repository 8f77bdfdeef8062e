"""Stripe refuses, is away, or does not have what the event is about."""

from collections.abc import Callable
from typing import Any

import pytest

from tests import stripe_server
from tests.deliveries import Table
from tests.integration.process_stripe_webhook.conftest import Process
from tests.stripe_server import StripeServer, event

UPDATED = event("customer.subscription.updated", stripe_server.subscription())
DELETED = event("customer.subscription.deleted", stripe_server.subscription(status="canceled"))


def only_job(table: Table) -> dict[str, Any]:
    [job] = table.run("SELECT * FROM job_executions")
    return job


def test_a_rate_limit_is_waited_for(stripe: StripeServer, process: Process, table: Table) -> None:
    stripe.fail(429, type="invalid_request_error", code="rate_limit", headers={"Retry-After": "30"})
    answer = process(UPDATED)
    assert answer.status == 503
    assert answer.retry_after is not None
    assert 30 <= answer.retry_after <= 33
    assert only_job(table)["status"] == "retrying"


def test_a_blip_is_none_of_the_jobs_business(stripe: StripeServer, process: Process) -> None:
    stripe.fail(503)
    assert process(UPDATED).status == 200


def test_an_outage_is_tried_again(stripe: StripeServer, process: Process, table: Table) -> None:
    stripe.fail(500, times=2)
    assert process(UPDATED).status == 500
    assert only_job(table)["error"].startswith("StripeUnavailableError: Stripe answered 500")


def test_stripe_cannot_be_reached(
    stripe: StripeServer, process: Process, table: Table, settings: pytest.MonkeyPatch
) -> None:
    settings.setenv("STRIPE_API_BASE", "http://127.0.0.1:9")
    assert process(UPDATED).status == 500
    assert "could not be reached" in only_job(table)["error"]
    assert stripe.requests == []


def test_a_wrong_key_is_for_a_person_to_mend(
    stripe: StripeServer, process: Process, table: Table
) -> None:
    stripe.fail(401, type="invalid_request_error", message="Invalid API Key provided")
    assert process(UPDATED).stops_qstash
    assert "STRIPE_SECRET_KEY" in only_job(table)["error"]


def test_a_missing_key_names_the_setting(
    stripe: StripeServer, process: Process, table: Table, settings: pytest.MonkeyPatch
) -> None:
    settings.delenv("STRIPE_SECRET_KEY")
    process(UPDATED)
    assert "STRIPE_SECRET_KEY is not set" in only_job(table)["error"]
    assert stripe.requests == []


def test_a_subscription_that_stripe_does_not_have(
    stripe: StripeServer, process: Process, table: Table
) -> None:
    del stripe.objects["subscriptions/sub_1"]
    assert process(UPDATED).stops_qstash
    error = only_job(table)["error"]
    assert "sub_1" in error
    assert "same account and mode" in error


@pytest.mark.parametrize("order", [[DELETED, UPDATED], [DELETED, DELETED, UPDATED, DELETED]])
def test_one_that_is_gone_ends_with_what_its_last_event_says(
    stripe: StripeServer,
    process: Process,
    row: Callable[[], dict[str, Any]],
    order: list[dict[str, Any]],
) -> None:
    del stripe.objects["subscriptions/sub_1"]
    for each in order:
        assert process(each).status == 200
    assert row()["status"] == "canceled"


def test_a_product_that_is_gone_has_no_name(
    stripe: StripeServer, process: Process, table: Table
) -> None:
    del stripe.objects["products/prod_1"]
    assert (
        process(event("customer.subscription.created", stripe_server.subscription())).status == 200
    )
    [job] = table.run("SELECT payload FROM job_executions WHERE job_type = 'send-email'")
    assert job["payload"]["data"]["planName"] == "subscription"
