"""Stripe, through its own SDK, and what each of its errors means for the job.

Everything here only reads, so no request needs an idempotency key. The SDK takes half a second to
import, so this module is imported by the first event that needs Stripe, not by the cold start.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, TypeVar

import stripe

from functions.process_stripe_webhook import parsing
from stashjobs import PermanentError, RetryLater
from stashjobs.config import settings
from stashjobs.retry_after import retry_after

if TYPE_CHECKING:
    from collections.abc import Callable

    from functions.process_stripe_webhook.parsing import Invoice, Subscription

# What our requests are answered in, whatever the account's default or the SDK's own version is.
API_VERSION = "2026-10-28.endive"
API_BASE = "https://api.stripe.com"
# The SDK's own is 80 seconds, which leaves the job no second try.
TIMEOUT_SECONDS = 20.0
LONGEST_WAIT_SECONDS = 3600.0
# Stripe's limits are per second (https://docs.stripe.com/rate-limits).
RATE_LIMIT_WAIT_SECONDS = 2.0

Answer = TypeVar("Answer")


class StripeUnavailableError(Exception):
    """Stripe could not be reached, or had an error of its own: worth another attempt."""


class NotAtStripeError(Exception):
    """Stripe has no such object, for this key."""


@dataclass(frozen=True, slots=True)
class Stripe:
    """One account of Stripe, read-only."""

    client: stripe.StripeClient

    def subscription(self, subscription_id: str) -> Subscription:
        """The subscription as it is now, with its customer and latest invoice.

        Raises:
            NotAtStripeError: There is none.
            RetryLater | StripeUnavailableError | PermanentError: See `meaning`.
        """
        found = asked(
            lambda: self.client.v1.subscriptions.retrieve(
                subscription_id, {"expand": ["customer", "latest_invoice"]}
            )
        )
        return parsing.subscription(found.to_dict())

    def invoice(self, invoice_id: str) -> Invoice:
        """The invoice as it is now. Raises as `subscription` does."""
        found = asked(lambda: self.client.v1.invoices.retrieve(invoice_id))
        return parsing.invoice_from(found.to_dict())

    def product_name(self, product_id: str) -> str | None:
        """What a product is called, None where it has been deleted. Raises as `subscription`."""
        try:
            found = asked(lambda: self.client.v1.products.retrieve(product_id))
        except NotAtStripeError:
            return None
        return found.to_dict().get("name")


def connect() -> Stripe:
    """The account of `STRIPE_SECRET_KEY`.

    Raises:
        SettingError: There is no such setting.
    """
    base = settings.optional("STRIPE_API_BASE", API_BASE).rstrip("/")
    return _connect(settings.require("STRIPE_SECRET_KEY"), base)


@lru_cache(maxsize=1)
def _connect(key: str, base: str) -> Stripe:
    """Kept while key and address are the same, so that a warm Lambda keeps its connection."""
    client = stripe.StripeClient(
        key,
        stripe_version=API_VERSION,
        base_addresses={"api": base},
        max_network_retries=1,
        http_client=stripe.RequestsClient(timeout=TIMEOUT_SECONDS),
    )
    return Stripe(client)


def asked(question: Callable[[], Answer]) -> Answer:
    """Stripe's answer, or what its error means for the job."""
    try:
        return question()
    except stripe.StripeError as error:
        raise meaning(error) from error


def meaning(error: stripe.StripeError) -> Exception:
    """What the job should do about an error of Stripe (https://docs.stripe.com/api/errors)."""
    status = error.http_status
    told = f"Stripe answered {status}: {error}"
    if isinstance(error, stripe.APIConnectionError):
        return StripeUnavailableError(f"Stripe could not be reached: {error}")
    wait = retry_after(error.headers, longest=LONGEST_WAIT_SECONDS)
    if isinstance(error, stripe.RateLimitError):
        # A little apart, so that the jobs that were refused together do not return together.
        seconds = RATE_LIMIT_WAIT_SECONDS if wait is None else wait
        return RetryLater(seconds + random.uniform(0, 3), told)
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return PermanentError(
            f"{told} Set STRIPE_SECRET_KEY to a key of this account that may read customers, "
            "subscriptions, invoices and products, then retry the job."
        )
    if status == 404:
        return NotAtStripeError(told)
    # 409: another request has the object in hand. 424: something that Stripe itself relies on.
    if status is None or status >= 500 or status in {409, 424}:
        return StripeUnavailableError(told) if wait is None else RetryLater(wait, told)
    return PermanentError(told)
