"""The table `notifications`: create, list, count, mark.

Each function is one statement, so one round trip. The connection is the caller's, and so is the
question whether the caller may see this user's notifications.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row

from functions.create_notification import sql

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from functions.create_notification.models import Notification

MAX_PAGE = 200


_BIGGEST_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Shown:
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


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a user's list. `next_before` is the `before` of the next page; None: there is
    none."""

    notifications: list[Shown]
    next_before: int | None


def create(
    connection: Connection[Any],
    notification: Notification,
    *,
    job_id: str,
    organization_id: str | None = None,
) -> int:
    """Write a notification for each recipient that this job has not told yet.

    Returns:
        For how many that was.
    """
    cursor = connection.execute(
        sql.CREATE_NOTIFICATIONS,
        {
            "job_id": job_id,
            "user_ids": notification.recipients,
            "organization_id": organization_id,
            "type": notification.type,
            "title": notification.title,
            "message": notification.message,
            "link": notification.link,
            "priority": notification.priority,
            "expires_at": notification.expires_at,
        },
    )
    return cursor.rowcount


def list_for_user(
    connection: Connection[Any],
    user_id: str,
    *,
    unread_only: bool = False,
    before: int | None = None,
    limit: int = 50,
) -> Page:
    """A user's notifications, newest first, without those that expired.

    Args:
        connection: In any mode.
        user_id: Whose.
        unread_only: Leave out those that were read.
        before: Only those older than this one: the `next_before` of the page before.
        limit: How many at most, from 1 to `MAX_PAGE`; more is taken as `MAX_PAGE`.
    """
    limit = min(max(limit, 1), MAX_PAGE)
    values = {
        "user_id": user_id,
        "before": _BIGGEST_ID if before is None else before,
        "limit": limit + 1,  # one more tells whether there is a next page
    }
    with connection.cursor(row_factory=class_row(Shown)) as cursor:
        found = cursor.execute(sql.LIST_UNREAD if unread_only else sql.LIST_ALL, values).fetchall()
    page = found[:limit]
    return Page(page, page[-1].notification_id if len(found) > limit else None)


def count_unread(connection: Connection[Any], user_id: str) -> int:
    """How many of a user's notifications are unread and have not expired."""
    row = connection.execute(sql.COUNT_UNREAD, {"user_id": user_id}).fetchone()
    return 0 if row is None else int(row[0])


def mark_read(connection: Connection[Any], user_id: str, ids: Sequence[int]) -> int:
    """Mark some of a user's notifications as read. Returns how many were unread until now."""
    return connection.execute(sql.MARK_READ, {"user_id": user_id, "ids": list(ids)}).rowcount


def mark_unread(connection: Connection[Any], user_id: str, ids: Sequence[int]) -> int:
    """Mark some of a user's notifications as unread. Returns how many were read until now."""
    return connection.execute(sql.MARK_UNREAD, {"user_id": user_id, "ids": list(ids)}).rowcount


def mark_all_read(connection: Connection[Any], user_id: str, *, up_to: int | None = None) -> int:
    """Mark all of a user's notifications as read, or all up to the newest one they have seen.
    Returns how many were unread until now."""
    values = {"user_id": user_id, "up_to": _BIGGEST_ID if up_to is None else up_to}
    return connection.execute(sql.MARK_ALL_READ, values).rowcount
