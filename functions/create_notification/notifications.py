"""The table `notifications`, as named SQL statements: create, list, count, mark.

Each function is one statement, so one round trip. The connection is the caller's, and so is the
question whether the caller may see this user's notifications.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg.rows import class_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from psycopg import Connection

    from functions.create_notification.models import Notification

MAX_PAGE = 200

# Sorted, so that two jobs that tell the same users wait for each other and do not deadlock.
CREATE = """
INSERT INTO notifications
       (job_id, user_id, organization_id, type, title, message, link, priority, expires_at)
SELECT %(job_id)s, user_id, %(organization_id)s, %(type)s, %(title)s, %(message)s, %(link)s,
       %(priority)s, %(expires_at)s
  FROM unnest(%(user_ids)s::text[]) AS recipient (user_id)
 ORDER BY user_id
ON CONFLICT (job_id, user_id) DO NOTHING
"""

_COLUMNS = """notification_id, type, title, message, link, priority, organization_id,
       created_at, expires_at, read_at"""
_SHOWN = "(expires_at IS NULL OR expires_at > now())"

LIST = f"""
SELECT {_COLUMNS}
  FROM notifications
 WHERE user_id = %(user_id)s AND notification_id < %(before)s AND {_SHOWN}
 ORDER BY notification_id DESC
 LIMIT %(limit)s
"""

# A statement of its own, so that the partial index of the unread ones serves it.
LIST_UNREAD = f"""
SELECT {_COLUMNS}
  FROM notifications
 WHERE user_id = %(user_id)s AND notification_id < %(before)s AND {_SHOWN} AND read_at IS NULL
 ORDER BY notification_id DESC
 LIMIT %(limit)s
"""

COUNT_UNREAD = f"""
SELECT count(*) FROM notifications
 WHERE user_id = %(user_id)s AND read_at IS NULL AND {_SHOWN}
"""

# `user_id` keeps a user from marking what is another's. The first reading counts.
MARK_READ = """
UPDATE notifications SET read_at = now()
 WHERE user_id = %(user_id)s AND notification_id = ANY(%(ids)s::bigint[]) AND read_at IS NULL
"""

MARK_UNREAD = """
UPDATE notifications SET read_at = NULL
 WHERE user_id = %(user_id)s AND notification_id = ANY(%(ids)s::bigint[]) AND read_at IS NOT NULL
"""

# Up to the newest one that the user has seen: what arrived since then stays unread.
MARK_ALL_READ = """
UPDATE notifications SET read_at = now()
 WHERE user_id = %(user_id)s AND notification_id <= %(up_to)s AND read_at IS NULL
"""

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
        CREATE,
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
        found = cursor.execute(LIST_UNREAD if unread_only else LIST, values).fetchall()
    page = found[:limit]
    return Page(page, page[-1].notification_id if len(found) > limit else None)


def count_unread(connection: Connection[Any], user_id: str) -> int:
    """How many of a user's notifications are unread and have not expired."""
    row = connection.execute(COUNT_UNREAD, {"user_id": user_id}).fetchone()
    return 0 if row is None else int(row[0])


def mark_read(connection: Connection[Any], user_id: str, ids: Sequence[int]) -> int:
    """Mark some of a user's notifications as read. Returns how many were unread until now."""
    return connection.execute(MARK_READ, {"user_id": user_id, "ids": list(ids)}).rowcount


def mark_unread(connection: Connection[Any], user_id: str, ids: Sequence[int]) -> int:
    """Mark some of a user's notifications as unread. Returns how many were read until now."""
    return connection.execute(MARK_UNREAD, {"user_id": user_id, "ids": list(ids)}).rowcount


def mark_all_read(connection: Connection[Any], user_id: str, *, up_to: int | None = None) -> int:
    """Mark all of a user's notifications as read, or all up to the newest one they have seen.
    Returns how many were unread until now."""
    values = {"user_id": user_id, "up_to": _BIGGEST_ID if up_to is None else up_to}
    return connection.execute(MARK_ALL_READ, values).rowcount
