"""One event of a subscription: ask Stripe, write what it says, tell the customer.

Stripe delivers events in any order and more than once, their `created` counts whole seconds, and
each carries a snapshot that may be old (https://docs.stripe.com/webhooks, "Event ordering"). So an
event only tells *that* something changed; what the state is, Stripe is asked again. Of two
handlers that ask at the same time the one that asked later must have the last word, also when it
writes first: a number is taken before asking, and a row is never overwritten under a smaller one.
The event of the last change takes its number after that change, so whatever is written under that
number or a greater one is the final state. No lock is held while Stripe is asked.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from functions.create_notification.handler import create_notification
from functions.process_stripe_webhook import parsing, sql, stripe_api
from functions.process_stripe_webhook.customer_emails import Facts, Message, messages, one_line
from functions.process_stripe_webhook.parsing import ENDED, Invoice, Owner, Subscription
from functions.process_stripe_webhook.sql import Source
from functions.process_stripe_webhook.stripe_api import NotAtStripeError, Stripe
from functions.send_email.handler import send_email
from stashjobs import InvalidPayload, PermanentError
from stashjobs.config import settings
from stashjobs.store import database

if TYPE_CHECKING:
    from functions.process_stripe_webhook.models import Event
    from stashjobs import Context


NOBODY = (
    "the owner of this subscription is unknown. Set metadata.user_id on it or on its customer, or "
    "client_reference_id on the checkout session"
)


def process(event: Event, context: Context) -> dict[str, Any]:
    """Process an event of one of the handler's `EVENTS`.

    Returns:
        The subscription and its status, the messages that were enqueued, and notes on those that
        could not be.

    Raises:
        PermanentError: Stripe refuses our key, or does not have the subscription.
        RetryLater | StripeUnavailableError: Stripe wants to be asked again.
        SettingError: `STRIPE_SECRET_KEY` is missing.
    """
    done: dict[str, Any] = {"event": event.id, "type": event.type}
    subscription_id = parsing.subscription_id_of(event.type, event.data.object)
    if subscription_id is None:
        return done | {"ignored": f"{event.type} without a subscription"}

    account = stripe_api.connect()
    reading = sql.take_reading(database.connection())
    found = _subscription(event, subscription_id, account)
    if found is None:
        return done | {"ignored": "Stripe no longer has this subscription, and it had ended"}
    facts = _facts(event, found, account)
    told = messages(facts)

    # From here on nothing waits for Stripe: the transaction is a short one.
    found = _with_session(event, found)
    if found.customer.whole:
        sql.write_customer(context.connection, found.customer, reading)
    source = Source(event.id, datetime.fromtimestamp(event.created, UTC), reading)
    owner = sql.write_subscription(context.connection, found, source)
    enqueued, notes = _tell(told, owner, context)
    for note in notes:
        context.logger.warning(note, event_id=event.id, subscription_id=subscription_id)
    return done | {
        "subscription": subscription_id,
        "status": found.status,
        "enqueued": enqueued,
        "notes": notes,
    }


# --- ask


def _subscription(event: Event, subscription_id: str, account: Stripe) -> Subscription | None:
    """The subscription as it is now. None where it is gone and nothing can come of it.

    Stripe keeps subscriptions that ended. One that it does not have was test data that somebody
    deleted, or belongs to another account or mode than our key.
    """
    try:
        return account.subscription(subscription_id)
    except NotAtStripeError as error:
        if event.type == "customer.subscription.deleted":
            return parsing.subscription(event.data.object)  # its last state, by Stripe's own word
        if sql.status_of(database.connection(), subscription_id) in ENDED:
            return None
        raise PermanentError(
            f"{error} The event {event.id} is about {subscription_id}. "
            "Is STRIPE_SECRET_KEY of the same account and mode (live or test) as the webhook?"
        ) from error


def _invoice(event: Event, found: Subscription, account: Stripe) -> Invoice | None:
    """The event's invoice as it is now; the latest came with the subscription."""
    if not event.type.startswith("invoice."):
        return None
    invoice_id = parsing.id_of(event.data.object.get("id"))
    if invoice_id is None:
        return None
    if found.latest_invoice is not None and found.latest_invoice.invoice_id == invoice_id:
        return found.latest_invoice
    try:
        return account.invoice(invoice_id)
    except NotAtStripeError:
        return None


def _facts(event: Event, found: Subscription, account: Stripe) -> Facts:
    typed: tuple[str | None, str | None] = (None, None)
    if event.type == "checkout.session.completed":
        typed = parsing.session_contact(event.data.object)
    invoice = _invoice(event, found, account)
    return Facts(
        event=event,
        subscription=found,
        invoice=invoice,
        email=found.customer.email or typed[0] or (invoice.email if invoice else None),
        name=found.customer.name or typed[1],
        billing_url=_billing_url(),
        plan_name=lambda: _plan_name(found, account),
    )


def _billing_url() -> str | None:
    app = settings.optional("APP_URL")
    return settings.optional("BILLING_URL") or (app and f"{app.rstrip('/')}/billing")


def _plan_name(found: Subscription, account: Stripe) -> str:
    """A product is what customers know; a price's nickname is for the Dashboard."""
    name = account.product_name(found.product_id) if found.product_id else None
    return one_line(name or found.price_name) or "subscription"


# --- write


def _with_session(event: Event, found: Subscription) -> Subscription:
    """What a checkout alone knows: whose the customer and the subscription are. What their own
    metadata says goes first."""
    if event.type != "checkout.session.completed":
        return found
    session = parsing.session_owner(event.data.object)
    customer = replace(found.customer, owner=found.customer.owner.or_else(session))
    return replace(found, owner=found.owner.or_else(session), customer=customer)


# --- tell


def _tell(told: list[Message], owner: Owner, context: Context) -> tuple[list[str], list[str]]:
    """Enqueue the messages, in the transaction of the completion.

    Returns:
        The idempotency keys of those that are enqueued, now or by an earlier event, and a note on
        each that cannot be.
    """
    enqueued, notes = [], []
    for message in told:
        is_email = message.kind == "email"
        lacks = message.lacks if is_email or owner.user_id else NOBODY
        if lacks:
            notes.append(f"no {message.kind}: {lacks}")
            continue
        try:
            context.enqueue(
                send_email if is_email else create_notification,
                message.payload | ({} if is_email else {"userId": owner.user_id}),
                user_id=owner.user_id,
                organization_id=owner.organization_id,
                idempotency_key=message.key,
            )
        except InvalidPayload as error:
            # Found before anything is written. The state matters more than the message.
            notes.append(f"no {message.kind}: {error}")
        else:
            enqueued.append(message.key)
    return enqueued, notes
