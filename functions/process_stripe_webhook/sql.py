"""The tables `customers` and `subscriptions`, as named SQL statements.

Each function is one statement. The connection is the caller's: in a job it is
`context.connection`, so that what is written is committed together with the job's completion.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from functions.process_stripe_webhook.parsing import Owner

if TYPE_CHECKING:
    from psycopg import Connection

    from functions.process_stripe_webhook.parsing import Customer, Subscription


@dataclass(frozen=True, slots=True)
class Source:
    """Where a state comes from: the event that had us ask, and the number of the reading."""

    event_id: str
    event_created: datetime
    reading: int


TAKE_READING = "-- take_reading\nSELECT nextval('stripe_reading')"

_CUSTOMER_STATE = ("email", "name", "deleted", "reading")
_SUBSCRIPTION_STATE = (
    "customer_id", "status", "price_id", "product_id", "quantity", "unit_amount",
    "interval_amount", "currency",
    "billing_interval", "interval_count", "current_period_end", "cancel_at_period_end",
    "cancel_at", "canceled_at", "ended_at", "trial_end", "latest_invoice_id",
    "latest_invoice_status", "started_at", "event_id", "event_created", "reading",
)  # fmt: skip


def _columns(names: tuple[str, ...]) -> str:
    return ", ".join(names)


def _values(names: tuple[str, ...]) -> str:
    return ", ".join(f"%({name})s" for name in names)


def _the_later(names: tuple[str, ...]) -> str:
    """Keep what a later reading has written."""
    newer = "known.reading < EXCLUDED.reading"
    return ",\n       ".join(
        f"{name} = CASE WHEN {newer} THEN EXCLUDED.{name} ELSE known.{name} END" for name in names
    )


def _owner(name: str) -> str:
    """Whose it is, once known, is not forgotten: only a checkout may have said so. An earlier
    reading adds what was not known, and changes nothing else."""
    return f"""{name} = CASE WHEN known.reading < EXCLUDED.reading
                      THEN coalesce(%({name})s, known.{name}, EXCLUDED.{name})
                      ELSE coalesce(known.{name}, EXCLUDED.{name}) END"""


WRITE_CUSTOMER = f"""
-- write_customer
INSERT INTO customers AS known
       (customer_id, user_id, organization_id, {_columns(_CUSTOMER_STATE)})
VALUES (%(customer_id)s, %(user_id)s, %(organization_id)s, {_values(_CUSTOMER_STATE)})
ON CONFLICT (customer_id) DO UPDATE
   SET {_owner("user_id")},
       {_owner("organization_id")},
       {_the_later(_CUSTOMER_STATE)},
       updated_at = now()
"""

# A subscription that says nothing of its owner has its customer's.
WRITE_SUBSCRIPTION = f"""
-- write_subscription
INSERT INTO subscriptions AS known
       (subscription_id, user_id, organization_id, {_columns(_SUBSCRIPTION_STATE)})
VALUES (%(subscription_id)s,
        coalesce(%(user_id)s, (SELECT user_id FROM customers
                                WHERE customer_id = %(customer_id)s)),
        coalesce(%(organization_id)s, (SELECT organization_id FROM customers
                                        WHERE customer_id = %(customer_id)s)),
        {_values(_SUBSCRIPTION_STATE)})
ON CONFLICT (subscription_id) DO UPDATE
   SET {_owner("user_id")},
       {_owner("organization_id")},
       {_the_later(_SUBSCRIPTION_STATE)},
       updated_at = now()
RETURNING user_id, organization_id
"""

STATUS_OF = (
    "-- status_of\nSELECT status FROM subscriptions WHERE subscription_id = %(subscription_id)s"
)


def take_reading(connection: Connection[Any]) -> int:
    """The number of a reading that is about to be made. Not in a transaction that stays open:
    the number must be taken before Stripe is asked, and asking takes long."""
    row = connection.execute(TAKE_READING).fetchone()
    if row is None:  # nextval always answers
        raise LookupError("nextval gave no number")
    return int(row[0])


def write_customer(connection: Connection[Any], customer: Customer, reading: int) -> None:
    """Write a customer; where a later reading has been written, that one stays."""
    values = asdict(customer) | asdict(customer.owner) | {"reading": reading}
    connection.execute(WRITE_CUSTOMER, values)


def write_subscription(
    connection: Connection[Any], subscription: Subscription, source: Source
) -> Owner:
    """Write a subscription; where a later reading has been written, that one stays. Its customer
    must have been written.

    Returns:
        Whose it is, as far as is known by now.
    """
    values = asdict(subscription) | asdict(source) | asdict(subscription.owner)
    values["customer_id"] = subscription.customer.customer_id
    row = connection.execute(WRITE_SUBSCRIPTION, values).fetchone()
    return Owner() if row is None else Owner(*row)


def status_of(connection: Connection[Any], subscription_id: str) -> str | None:
    """A subscription's status, None where we know of none."""
    row = connection.execute(STATUS_OF, {"subscription_id": subscription_id}).fetchone()
    return None if row is None else str(row[0])
