"""Stripe: the key is good, and its webhook endpoint is here and sends what is needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stashjobs.config import settings
from stashjobs.job_type import is_left_out
from stashjobs.tools.doctor.finding import Check, Verdict, green, not_checked, red

if TYPE_CHECKING:
    from stripe import WebhookEndpoint

API_BASE = "https://api.stripe.com"
TIMEOUT_SECONDS = 8
ROUTE = "/api/webhooks/stripe"
# What functions/process_stripe_webhook acts on; a test holds the two together.
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
IN_THE_DASHBOARD = "see https://dashboard.stripe.com/webhooks"


def webhook_endpoint() -> Verdict:
    """Stripe sends what process-stripe-webhook acts on to this stage."""
    if is_left_out("process-stripe-webhook"):
        return not_checked("process-stripe-webhook is left out of this stage")
    key = settings.require("STRIPE_SECRET_KEY")
    base = settings.optional("STRIPE_API_BASE", API_BASE).rstrip("/")
    wanted = settings.base_url() + ROUTE
    import stripe

    http = stripe.RequestsClient(timeout=TIMEOUT_SECONDS)
    client = stripe.StripeClient(
        key, base_addresses={"api": base}, max_network_retries=1, http_client=http
    )
    try:
        found = list(client.v1.webhook_endpoints.list({"limit": 100}).auto_paging_iter())
    except stripe.AuthenticationError:
        return red("Stripe does not know the key", "set STRIPE_SECRET_KEY to one of this account")
    except stripe.PermissionError:
        return not_checked(
            "the key may not list webhook endpoints, which is good", IN_THE_DASHBOARD
        )
    except stripe.APIConnectionError:
        return red("Stripe cannot be reached", "may this machine reach api.stripe.com?")
    except stripe.APIError as error:
        if error.http_status == 404 and base != API_BASE:
            return not_checked(f"the stand-in at {base} has no list of webhook endpoints")
        raise
    finally:
        http.close()  # type: ignore[no-untyped-call]
    return judge(found, wanted)


def judge(found: list[WebhookEndpoint], wanted: str) -> Verdict:
    """A verdict on the account's endpoints; `wanted` is this stage's URL."""
    here = [each for each in found if each.url == wanted]
    if not here:
        return red(
            f"no endpoint leads to {wanted}", "add it at https://dashboard.stripe.com/webhooks"
        )
    enabled = [each for each in here if each.status == "enabled"]
    if not enabled:
        return red(f"the endpoint {wanted} is disabled", "enable it at Stripe")
    sent = {event for each in enabled for event in each.enabled_events}
    lacking = sorted(EVENTS - sent)
    if "*" not in sent and lacking:
        return red(f"it does not send {', '.join(lacking)}", "add these events to it at Stripe")
    return green("the endpoint is enabled and sends what is needed")


CHECKS = (Check("Stripe webhook", webhook_endpoint),)
