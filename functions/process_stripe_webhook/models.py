"""A Stripe event, as far as this job relies on it; the rest is passed through as it came."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# Object ids are up to 255 characters (https://docs.stripe.com/upgrades, "object IDs").
StripeId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,255}$")]

# The subscription that the local stack's Stripe has from the start (infra/local/stripe.py).
EXAMPLE: dict[str, Any] = {
    "event": {
        "id": "evt_example",
        "object": "event",
        "type": "customer.subscription.created",
        "created": 1780000000,
        "livemode": False,
        "api_version": "2026-10-28.endive",
        "data": {
            "object": {
                "id": "sub_example",
                "object": "subscription",
                "customer": "cus_example",
                "status": "active",
            }
        },
    }
}


class EventData(BaseModel):
    """What the event is about: a snapshot of the object at the moment of the event, and, in an
    `*.updated` event, what the changed attributes were before."""

    model_config = ConfigDict(extra="allow")

    object: dict[str, Any]
    previous_attributes: dict[str, Any] | None = None


class Event(BaseModel):
    """The event object (https://docs.stripe.com/api/events/object)."""

    model_config = ConfigDict(extra="allow")

    id: StripeId
    type: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    created: Annotated[
        int, Field(ge=0, le=253_402_300_799, description="Unix time, in whole seconds.")
    ]
    data: EventData


class StripeWebhook(BaseModel):
    """The payload: one event, exactly as Stripe's webhook sent it."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [EXAMPLE]})

    event: Event
