"""Stripe, as a server that has one customer with one subscription, and the settings to reach it."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from functions.process_stripe_webhook.handler import process_stripe_webhook
from tests import stripe_server
from tests.deliveries import Answer, Table, deliver
from tests.stripe_server import StripeServer, stripe_serving

Process = Callable[[dict[str, Any]], Answer]


@pytest.fixture(scope="session")
def _shared_stripe() -> Iterator[StripeServer]:
    with stripe_serving() as server:
        yield server


@pytest.fixture
def clear(table: Table) -> Callable[[], None]:
    """Empty all the tables of this job, in the middle of a test."""

    def now() -> None:
        table.run(
            "WITH customers AS (DELETE FROM customers), jobs AS (DELETE FROM job_executions)"
            " DELETE FROM subscriptions"
        )

    return now


@pytest.fixture
def stripe(_shared_stripe: StripeServer, settings: pytest.MonkeyPatch) -> StripeServer:
    for name in ("QSTASH_TOKEN", "APP_URL"):
        settings.delenv(name, raising=False)
    settings.setenv("STRIPE_API_BASE", _shared_stripe.url)
    settings.setenv("STRIPE_SECRET_KEY", "sk_test_of_the_test")
    settings.setenv("BILLING_URL", "https://app.example.com/billing")
    _shared_stripe.objects.clear()
    _shared_stripe.failures.clear()
    _shared_stripe.requests.clear()
    _shared_stripe.before_answer = lambda _path: None
    for thing in (
        stripe_server.customer(),
        stripe_server.product(),
        stripe_server.invoice(),
        stripe_server.subscription(),
    ):
        _shared_stripe.put(thing)
    return _shared_stripe


@pytest.fixture
def process(table: Table) -> Process:
    """Record a job with this payload, deliver it, and tell what QStash is answered."""
    return lambda payload: deliver(
        process_stripe_webhook, table.add(process_stripe_webhook, payload)
    )


@pytest.fixture
def row(table: Table) -> Callable[[], dict[str, Any]]:
    """The one subscription that there is in the table."""

    def read() -> dict[str, Any]:
        [found] = table.run("SELECT * FROM subscriptions")
        return found

    return read


@pytest.fixture
def enqueued(table: Table) -> Callable[[], list[tuple[str, str]]]:
    """Type and idempotency key of the jobs that this job has enqueued."""
    return lambda: [
        (each["job_type"], each["idempotency_key"])
        for each in table.run(
            "SELECT job_type, idempotency_key FROM job_executions "
            "WHERE job_type <> 'process-stripe-webhook' ORDER BY idempotency_key DESC"
        )
    ]
