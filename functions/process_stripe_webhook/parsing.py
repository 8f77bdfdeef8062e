"""What Stripe's objects say, whichever API version wrote them.

A webhook endpoint sends events in the API version it was made with, so an event may be in an older
shape than what our own requests bring. Since 2025-03-31 the billing period is each item's, and an
invoice names its subscription under `parent`
(https://docs.stripe.com/changelog/basil#2025-03-31.basil).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Where an app says whose customer or subscription it is.
USER_KEYS = ("user_id", "userId")
ORGANIZATION_KEYS = ("organization_id", "organizationId")

# A subscription in one of these never comes back (https://docs.stripe.com/billing/subscriptions/overview).
ENDED = frozenset({"canceled", "incomplete_expired"})
RUNNING = frozenset({"active", "trialing"})


@dataclass(frozen=True, slots=True)
class Owner:
    """Who has the subscription, by the app's own ids."""

    user_id: str | None = None
    organization_id: str | None = None

    def or_else(self, other: Owner) -> Owner:
        """What this one does not know, from the other."""
        return Owner(self.user_id or other.user_id, self.organization_id or other.organization_id)


@dataclass(frozen=True, slots=True)
class Customer:
    """A customer; of a deleted one Stripe tells the id and nothing else. `whole` is False where
    there was only the id to read."""

    customer_id: str
    owner: Owner
    email: str | None
    name: str | None
    deleted: bool
    whole: bool


@dataclass(frozen=True, slots=True)
class Invoice:
    """An invoice; amounts in the currency's smallest unit."""

    invoice_id: str
    status: str | None
    amount_due: int
    amount_paid: int
    currency: str
    number: str | None
    billing_reason: str | None
    hosted_url: str | None
    next_attempt_at: datetime | None
    email: str | None


@dataclass(frozen=True, slots=True)
class Subscription:
    """A subscription; price, product and the like are its first item's.

    `interval_amount` is what all its items cost in one interval, in the currency's smallest unit
    and before discounts and taxes. None: only the invoice will tell.
    """

    subscription_id: str
    customer: Customer
    owner: Owner
    status: str
    price_id: str | None
    product_id: str | None
    quantity: int | None
    unit_amount: int | None
    interval_amount: Decimal | None
    discounted: bool
    currency: str | None
    billing_interval: str | None
    interval_count: int | None
    current_period_end: datetime | None
    cancel_at_period_end: bool
    cancel_at: datetime | None
    canceled_at: datetime | None
    ended_at: datetime | None
    trial_end: datetime | None
    latest_invoice_id: str | None
    latest_invoice_status: str | None
    started_at: datetime | None
    latest_invoice: Invoice | None = None
    price_name: str | None = None

    @property
    def is_running(self) -> bool:
        """Whether its user has what they pay for, or try."""
        return self.status in RUNNING

    @property
    def ends_at(self) -> datetime | None:
        """When it ends by itself, where that was asked for."""
        return self.cancel_at or (self.current_period_end if self.cancel_at_period_end else None)


def subscription_id_of(kind: str, thing: Mapping[str, Any]) -> str | None:
    """Which subscription an event is about; None where it is about none.

    Args:
        kind: The event's type.
        thing: Its `data.object`: a subscription, an invoice or a checkout session.
    """
    if kind.startswith("customer.subscription."):
        return id_of(thing.get("id"))
    parent = thing.get("parent") or {}
    details = parent.get("subscription_details") or {}
    return id_of(details.get("subscription")) or id_of(thing.get("subscription"))


def subscription(thing: Mapping[str, Any]) -> Subscription:
    """Read a subscription, with or without its customer and latest invoice expanded."""
    items = [item for item in (thing.get("items") or {}).get("data") or [] if item]
    first = items[0] if items else {}
    price, recurring = _price(first, thing)
    ends = [item["current_period_end"] for item in items if item.get("current_period_end")]
    invoice = thing.get("latest_invoice")
    expanded = invoice if isinstance(invoice, dict) else None
    return Subscription(
        subscription_id=thing["id"],
        customer=customer(thing.get("customer")),
        owner=owner(thing),
        status=thing["status"],
        price_id=price.get("id"),
        product_id=id_of(price.get("product")),
        quantity=first.get("quantity", thing.get("quantity")),
        unit_amount=price.get("unit_amount", price.get("amount")),
        interval_amount=_interval_amount(items, thing),
        discounted=bool(
            thing.get("discount")
            or thing.get("discounts")
            or any(item.get("discounts") for item in items)
        ),
        currency=thing.get("currency") or price.get("currency"),
        billing_interval=recurring.get("interval"),
        interval_count=recurring.get("interval_count"),
        # Items may have periods of their own; what runs out first is what matters to the app.
        current_period_end=moment(min(ends, default=thing.get("current_period_end"))),
        cancel_at_period_end=bool(thing.get("cancel_at_period_end")),
        cancel_at=moment(thing.get("cancel_at")),
        canceled_at=moment(thing.get("canceled_at")),
        ended_at=moment(thing.get("ended_at")),
        trial_end=moment(thing.get("trial_end")),
        latest_invoice_id=id_of(invoice),
        latest_invoice_status=expanded.get("status") if expanded else None,
        started_at=moment(thing.get("start_date")),
        latest_invoice=invoice_from(expanded) if expanded else None,
        price_name=price.get("nickname"),
    )


def invoice_from(thing: Mapping[str, Any]) -> Invoice:
    """Read an invoice."""
    return Invoice(
        invoice_id=thing["id"],
        status=thing.get("status"),
        amount_due=thing.get("amount_due") or 0,
        amount_paid=thing.get("amount_paid") or 0,
        currency=thing.get("currency") or "usd",
        number=thing.get("number"),
        billing_reason=thing.get("billing_reason"),
        hosted_url=thing.get("hosted_invoice_url"),
        next_attempt_at=moment(thing.get("next_payment_attempt")),
        email=thing.get("customer_email"),
    )


def customer(thing: Any) -> Customer:
    """Read a customer: expanded, or its id alone."""
    whole = thing if isinstance(thing, dict) else {}
    return Customer(
        customer_id=id_of(thing) or "",
        owner=owner(whole),
        email=whole.get("email"),
        name=whole.get("name"),
        deleted=bool(whole.get("deleted")),
        whole=bool(whole),
    )


def owner(thing: Mapping[str, Any]) -> Owner:
    """Whose it is, by its metadata."""
    metadata = thing.get("metadata") or {}
    return Owner(_first(metadata, USER_KEYS), _first(metadata, ORGANIZATION_KEYS))


def session_owner(session: Mapping[str, Any]) -> Owner:
    """Whose a checkout session is: by its metadata, or by the reference that the app gave it."""
    return owner(session).or_else(Owner(user_id=session.get("client_reference_id") or None))


def session_contact(session: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """The email address and the name that the customer typed at the checkout."""
    details = session.get("customer_details") or {}
    return details.get("email") or session.get("customer_email"), details.get("name")


def id_of(thing: Any) -> str | None:
    """The id of an object, which Stripe gives alone or, expanded, with all the rest."""
    found = thing.get("id") if isinstance(thing, dict) else thing
    return found if isinstance(found, str) and found else None


def moment(seconds: Any) -> datetime | None:
    """A Unix time of Stripe's, in whole seconds."""
    return datetime.fromtimestamp(seconds, UTC) if isinstance(seconds, int) and seconds else None


def _price(
    item: Mapping[str, Any], thing: Mapping[str, Any]
) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    """An item's price, and how often it recurs. Before prices there were plans, which have the
    interval themselves (https://docs.stripe.com/billing/migration/migrating-prices)."""
    price = item.get("price")
    if price:
        return price, price.get("recurring") or {}
    plan = item.get("plan") or thing.get("plan") or {}
    return plan, plan


def _interval_amount(
    items: Sequence[Mapping[str, Any]], thing: Mapping[str, Any]
) -> Decimal | None:
    """The sum of the items, where they all recur together. Flexible subscriptions may mix
    intervals, and then there is no one interval to name a price for
    (https://docs.stripe.com/billing/subscriptions/mixed-interval)."""
    priced = [(item, *_price(item, thing)) for item in items]
    intervals = {(how.get("interval"), how.get("interval_count")) for _, _, how in priced}
    if len(intervals) != 1:
        return None
    amounts = [
        _item_amount(price, recurring, item.get("quantity", thing.get("quantity")))
        for item, price, recurring in priced
    ]
    known = [amount for amount in amounts if amount is not None]
    return sum(known, Decimal(0)) if len(known) == len(amounts) else None


def _item_amount(
    price: Mapping[str, Any], recurring: Mapping[str, Any], quantity: int | None
) -> Decimal | None:
    """What an item costs in one interval; None for a metered or a tiered price. A price may be a
    fraction of the smallest unit (`unit_amount_decimal`), and be asked for packages of several
    (`transform_quantity`; https://docs.stripe.com/api/prices/object)."""
    each = price.get("unit_amount_decimal", price.get("amount_decimal"))
    if each is None:
        each = price.get("unit_amount", price.get("amount"))
    metered = "metered" in {recurring.get("usage_type"), price.get("usage_type")}
    if each is None or metered or price.get("billing_scheme") == "tiered":
        return None
    count = Decimal(1 if quantity is None else quantity)
    if package := price.get("transform_quantity") or price.get("transform_usage"):
        rounding = ROUND_CEILING if package.get("round") == "up" else ROUND_FLOOR
        count = (count / package["divide_by"]).to_integral_value(rounding)
    return Decimal(str(each)) * count


def _first(metadata: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    return next((str(metadata[key]) for key in keys if metadata.get(key)), None)
