"""`/api/users/{user_id}/notifications`: what a user has been told, and what of it they have read.

The caller is an app with a token; which of its users may see what is the app's to know.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Discriminator, Field, Tag

from functions.api.auth import Connected, Guarded, needs
from functions.api.errors import WITH_TOKEN, refusals
from functions.api.schema import BIGGEST_ID, JSON_NUMBER, Text, Wire, example
from functions.create_notification import notifications

MAX_MARKS = 1_000

router = APIRouter(
    prefix="/api/users/{user_id}/notifications",
    tags=["notifications"],
    route_class=Guarded,
    responses=refusals(*WITH_TOKEN),
)
UserId = Annotated[Text, Path(examples=["u_1"])]
Id = Annotated[int, Field(ge=1, le=BIGGEST_ID), JSON_NUMBER]


class ShownNotification(Wire):
    """A notification, as its user sees it."""

    notification_id: int
    type: str
    title: str
    message: str
    link: str | None
    priority: str
    organization_id: str | None
    created_at: datetime
    expires_at: datetime | None
    read_at: datetime | None


class Notifications(Wire):
    """A page, newest first. `next` is the `before` of the next page, if there is one."""

    model_config = example(
        {
            "notifications": [
                {
                    "notificationId": 7,
                    "type": "payment-failed",
                    "title": "Your payment failed",
                    "message": "Please check your card.",
                    "link": "/billing",
                    "priority": "high",
                    "organizationId": None,
                    "createdAt": "2030-01-31T09:00:00Z",
                    "expiresAt": None,
                    "readAt": None,
                }
            ],
            "unread": 1,
            "next": None,
        }
    )

    notifications: list[ShownNotification]
    unread: int
    next: int | None


class These(Wire):
    """These notifications."""

    model_config = example({"ids": [5, 7]})

    ids: Annotated[list[Id], Field(max_length=MAX_MARKS)]


class UpTo(Wire):
    """All, or all up to the newest one that the user has seen."""

    model_config = example({"upTo": 7})

    up_to: Id | None = None


def _which(body: Any) -> str:
    named = isinstance(body, These) or (isinstance(body, dict) and "ids" in body)
    return "these" if named else "all"


TheseOrAll = Annotated[
    Annotated[These, Tag("these")] | Annotated[UpTo, Tag("all")], Discriminator(_which)
]


class Marked(Wire):
    """How many changed."""

    model_config = example({"count": 2})

    count: int


@router.get("")
def list_notifications(
    user_id: UserId,
    _actor: Annotated[str, needs("read")],
    own: Connected,
    *,
    unread: bool = False,
    before: Annotated[
        int | None, Query(ge=1, le=BIGGEST_ID, description="`next` of the page before.")
    ] = None,
    limit: Annotated[int, Query(ge=1, le=notifications.MAX_PAGE)] = 50,
) -> Notifications:
    """A user's notifications, or only the unread ones."""
    page = notifications.list_for_user(own, user_id, unread_only=unread, before=before, limit=limit)
    return Notifications(
        notifications=[ShownNotification.model_validate(asdict(one)) for one in page.notifications],
        unread=notifications.count_unread(own, user_id),
        next=page.next_before,
    )


@router.post("/read", responses=refusals(415))
def mark_read(
    user_id: UserId, marks: TheseOrAll, _actor: Annotated[str, needs("enqueue")], own: Connected
) -> Marked:
    """Mark notifications as read: some, all, or all up to one."""
    if isinstance(marks, These):
        return Marked(count=notifications.mark_read(own, user_id, marks.ids))
    return Marked(count=notifications.mark_all_read(own, user_id, up_to=marks.up_to))


@router.post("/unread", responses=refusals(415))
def mark_unread(
    user_id: UserId, marks: These, _actor: Annotated[str, needs("enqueue")], own: Connected
) -> Marked:
    """Mark notifications as unread again."""
    return Marked(count=notifications.mark_unread(own, user_id, marks.ids))
