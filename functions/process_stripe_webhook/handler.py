"""Lambda entry: `functions.process_stripe_webhook.handler.handler`."""

from __future__ import annotations

from typing import Any

from functions.process_stripe_webhook.models import StripeWebhook
from stashjobs import Context, job


@job("process-stripe-webhook", endpoint="/api/jobs/stripe-webhook", retries=5, timeout=120)
def process_stripe_webhook(webhook: StripeWebhook, context: Context) -> dict[str, Any]:
    """Bring our tables to what Stripe says now, and tell the customer what matters to them."""
    return {"ignored": webhook.event.type}


handler = process_stripe_webhook.handler
