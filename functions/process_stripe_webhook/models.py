"""A Stripe event, as far as this job relies on it; the rest is passed through as it came."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

# Stripe's ids are up to 255 characters; an event's begins with evt_.
# https://docs.stripe.com/upgrades ("object IDs")
StripeId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]{1,255}$")]


class EventData(BaseModel):
    """What the event is about: a snapshot of the object at the moment of the event."""

    model_config = ConfigDict(extra="allow")

    object: dict[str, Any]


class Event(BaseModel):
    """The event object (https://docs.stripe.com/api/events/object)."""

    model_config = ConfigDict(extra="allow")

    id: StripeId
    type: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    created: Annotated[int, Field(ge=0, description="Unix time, in whole seconds.")]
    data: EventData
    livemode: bool = False
    api_version: str | None = None


class StripeWebhook(BaseModel):
    """The payload: one event, exactly as Stripe's webhook sent it."""

    model_config = ConfigDict(extra="forbid")

    event: Event


class Processed(BaseModel):
    """What came of it: the subscription's state now, or the type that was ignored."""

    event: str
    type: str
    ignored: str | None = None
    subscription: str | None = None
    status: str | None = None
