"""`/api/users/{user_id}/notifications`: what a user has been told, and what of it they have read.

The caller is an app with a token; which of its users may see what is the app's to know.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from pydantic.alias_generators import to_camel

from functions.api.guard import Connected, needs
from functions.api.jobs import Wire
from functions.create_notification import notifications

router = APIRouter(prefix="/api/users/{user_id}/notifications", tags=["notifications"])


class Notifications(Wire):
    """A page, newest first. `next` is the `before` of the next page, if there is one."""

    notifications: list[dict[str, Any]]
    unread: int
    next: int | None


class Marks(Wire):
    """Which notifications to mark; without `ids`, all up to `upTo`."""

    ids: Annotated[list[int], Field(max_length=1_000)] | None = None
    up_to: int | None = None


class Marked(Wire):
    """How many changed."""

    count: int


@router.get("")
def list_notifications(
    user_id: str,
    _actor: Annotated[str, needs("read")],
    own: Connected,
    *,
    unread: bool = False,
    before: int | None = None,
    limit: Annotated[int, Query(ge=1, le=notifications.MAX_PAGE)] = 50,
) -> Notifications:
    """A user's notifications, or only the unread ones."""
    page = notifications.list_for_user(own, user_id, unread_only=unread, before=before, limit=limit)
    return Notifications(
        notifications=[
            {to_camel(name): value for name, value in asdict(shown).items()}
            for shown in page.notifications
        ],
        unread=notifications.count_unread(own, user_id),
        next=page.next_before,
    )


@router.post("/read")
def mark_read(
    user_id: str, marks: Marks, _actor: Annotated[str, needs("enqueue")], own: Connected
) -> Marked:
    """Mark notifications as read."""
    if marks.ids is None:
        return Marked(count=notifications.mark_all_read(own, user_id, up_to=marks.up_to))
    return Marked(count=notifications.mark_read(own, user_id, marks.ids))


@router.post("/unread")
def mark_unread(
    user_id: str, marks: Marks, _actor: Annotated[str, needs("enqueue")], own: Connected
) -> Marked:
    """Mark notifications as unread again."""
    return Marked(count=notifications.mark_unread(own, user_id, marks.ids or []))
