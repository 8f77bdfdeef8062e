"""What the customer is told, decided from the event and from what Stripe says now.

An event may be old when it is processed, so each message is sent only where it is still true: no
"payment failed" of an invoice that has been paid since, no "welcome" to a plan that has ended.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import ROUND_HALF_UP
from typing import TYPE_CHECKING, Any, Literal

from functions.process_stripe_webhook.models import Event
from functions.process_stripe_webhook.parsing import Invoice, Subscription
from functions.send_email.formatting import date, money

if TYPE_CHECKING:
    from datetime import datetime


_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")


@dataclass(frozen=True, slots=True)
class Message:
    """An email or a notification to be enqueued. `key` is its idempotency key: the same for every
    event that would send the same thing. `lacks` says why it cannot be sent."""

    kind: Literal["email", "notification"]
    key: str
    payload: dict[str, Any]
    lacks: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the messages are made from.

    Attributes:
        event: The event.
        subscription: The subscription, as Stripe has it now.
        invoice: The event's invoice as Stripe has it now, where it is about one.
        email: Where an email goes; None: unknown.
        billing_url: Where the customer manages their plan; None: there is no such setting.
        plan_name: Asks Stripe what the plan is called.
    """

    event: Event
    subscription: Subscription
    invoice: Invoice | None
    email: str | None
    name: str | None
    billing_url: str | None
    plan_name: Callable[[], str]


def messages(facts: Facts) -> list[Message]:
    """The messages that this event calls for."""
    match facts.event.type:
        case "checkout.session.completed" | "customer.subscription.created":
            return _started(facts)
        case "customer.subscription.updated":
            return _started(facts) if _has_just_begun(facts.event) else _cancellation(facts)
        case "customer.subscription.deleted":
            return _ended(facts)
        case "customer.subscription.trial_will_end":
            return _trial_ends(facts)
        case "invoice.paid":
            return _paid(facts)
        case "invoice.payment_failed":
            return _payment_failed(facts)
    return []


def _has_just_begun(event: Event) -> bool:
    """Whether its first payment went through in this very update."""
    return (event.data.previous_attributes or {}).get("status") == "incomplete"


def _started(facts: Facts) -> list[Message]:
    """Several events tell that a plan began, so the key is the subscription's, not the event's."""
    subscription = facts.subscription
    if not subscription.is_running:
        return []
    key = f"stripe:{subscription.subscription_id}:started"
    plan = facts.plan_name()
    told = [
        _notification(
            facts, key, "subscription-started", f"Your {plan} plan is active", _until(subscription)
        )
    ]
    trial_end = subscription.trial_end if subscription.status == "trialing" else None
    data = {
        "planName": plan,
        "amount": _amount(subscription),
        "currency": subscription.currency or "usd",
        "interval": subscription.billing_interval or "month",
        "intervalCount": subscription.interval_count or 1,
        "renewsAt": _iso(None if subscription.ends_at else subscription.current_period_end),
        "trialEndsAt": _iso(trial_end),
        "manageUrl": facts.billing_url,
        "invoiceUrl": subscription.latest_invoice and subscription.latest_invoice.hosted_url,
    }
    return [*told, _email(facts, key, "subscriptionCreated", data, link=facts.billing_url)]


def _cancellation(facts: Facts) -> list[Message]:
    before = facts.event.data.previous_attributes or {}
    ends_at = facts.subscription.ends_at
    is_new = not before.get("cancel_at_period_end") and not before.get("cancel_at")
    if not before.keys() & {"cancel_at_period_end", "cancel_at"} or not is_new or ends_at is None:
        return []
    if not facts.subscription.is_running:
        return []
    text = f"You can use it until {date(ends_at)}. You can change your mind until then."
    title = f"Your {facts.plan_name()} plan will end"
    return [_notification(facts, _event_key(facts), "subscription-ending", title, text)]


def _ended(facts: Facts) -> list[Message]:
    if facts.subscription.is_running:
        return []
    title = f"Your {facts.plan_name()} plan has ended"
    text = "You can choose a plan again at any time."
    return [_notification(facts, _event_key(facts), "subscription-ended", title, text)]


def _trial_ends(facts: Facts) -> list[Message]:
    subscription = facts.subscription
    if subscription.status != "trialing" or subscription.trial_end is None:
        return []
    day = date(subscription.trial_end)
    text = (
        f"It ends on {day}, and nothing will be charged."
        if subscription.ends_at
        else f"It ends on {day}. Then your plan begins, and is charged."
    )
    title = f"Your trial of {facts.plan_name()} ends soon"
    return [_notification(facts, _event_key(facts), "trial-ending", title, text, "high")]


def _paid(facts: Facts) -> list[Message]:
    """Of the first invoice the start of the plan tells already."""
    invoice = facts.invoice
    if invoice is None or not invoice.amount_paid or invoice.status != "paid":
        return []
    if invoice.billing_reason == "subscription_create":
        return _started(facts)
    text = f"We received {money(invoice.amount_paid, invoice.currency)}. Thank you."
    key = _event_key(facts)
    return [_notification(facts, key, "payment-received", "Payment received", text, "low")]


def _payment_failed(facts: Facts) -> list[Message]:
    invoice = facts.invoice
    if invoice is None or invoice.status != "open":
        return []
    plan, key = facts.plan_name(), _event_key(facts)
    text = f"{money(invoice.amount_due, invoice.currency)} for {plan} did not go through."
    if invoice.next_attempt_at:
        text += f" We will try again on {date(invoice.next_attempt_at)}."
    title = "Your payment did not go through"
    told = [_notification(facts, key, "payment-failed", title, text, "high")]
    link = invoice.hosted_url or facts.billing_url
    data = {
        "amount": invoice.amount_due,
        "currency": invoice.currency,
        "updatePaymentUrl": link,
        "planName": plan,
        "invoiceNumber": invoice.number,
        "nextAttemptAt": _iso(invoice.next_attempt_at),
    }
    return [*told, _email(facts, key, "paymentFailed", data, link=link)]


def _event_key(facts: Facts) -> str:
    return f"stripe:{facts.event.id}"


def _notification(
    facts: Facts, key: str, kind: str, title: str, text: str, priority: str = "normal"
) -> Message:
    payload: dict[str, Any] = {
        "type": kind,
        "title": title,
        "message": text,
        "priority": priority,
    }
    if facts.billing_url:
        payload["link"] = facts.billing_url
    return Message("notification", f"{key}:notification", payload)


def _email(
    facts: Facts, key: str, template: str, data: dict[str, Any], *, link: str | None
) -> Message:
    lacks = None
    if facts.email is None:
        lacks = "Stripe knows no address of this customer"
    elif link is None:
        lacks = "there is no link for it to lead to; set BILLING_URL, or APP_URL"
    given = {name: value for name, value in data.items() if value is not None}
    given["name"] = one_line(facts.name) or facts.email
    payload = {"to": facts.email, "template": template, "data": given}
    return Message("email", f"{key}:email", payload, lacks)


def _until(subscription: Subscription) -> str:
    if subscription.status == "trialing" and subscription.trial_end:
        return f"Your trial ends on {date(subscription.trial_end)}."
    if subscription.current_period_end and not subscription.ends_at:
        return f"It renews on {date(subscription.current_period_end)}."
    return "Thank you."


def _amount(subscription: Subscription) -> int | None:
    """What an interval costs, in the currency's smallest unit. None where only the invoice will
    tell: what is metered, in tiers, or discounted."""
    if subscription.interval_amount is None or subscription.discounted:
        return None
    return int(subscription.interval_amount.to_integral_value(ROUND_HALF_UP))


def one_line(text: str | None) -> str:
    """What a customer or an operator typed at Stripe, fit for the line of an email."""
    return " ".join(_CONTROL.sub(" ", text or "").split())[:100]


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
