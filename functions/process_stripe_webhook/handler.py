"""Lambda entry: `functions.process_stripe_webhook.handler.handler`."""

from __future__ import annotations

from typing import Any

from functions.process_stripe_webhook.models import StripeWebhook
from stashjobs import Context, job

EVENTS = frozenset(
    {
        "checkout.session.completed",
        "customer.subscription.created",
        "customer.subscription.deleted",
        "customer.subscription.trial_will_end",
        "customer.subscription.updated",
        "invoice.paid",
        "invoice.payment_failed",
    }
)


@job(
    "process-stripe-webhook",
    endpoint="/api/jobs/stripe-webhook",
    retries=5,
    timeout=120,
    parallelism=4,
    enqueued_by="system",
)
def process_stripe_webhook(webhook: StripeWebhook, context: Context) -> dict[str, Any]:
    """Bring our tables to what Stripe says now, and tell the customer what matters to them."""
    event = webhook.event
    if event.type not in EVENTS:
        context.logger.info("ignored", event_id=event.id, event_type=event.type)
        return {"event": event.id, "ignored": event.type}
    # Here and not above: Stripe's SDK costs a cold start that an ignored event does not need.
    from functions.process_stripe_webhook.processing import process

    return process(event, context)


handler = process_stripe_webhook.handler
