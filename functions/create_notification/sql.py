"""The SQL of the table `notifications`."""

from __future__ import annotations

_COLUMNS = """notification_id, type, title, message, link, priority, organization_id,
       created_at, expires_at, read_at"""
_SHOWN = "(expires_at IS NULL OR expires_at > now())"

# Sorted, so that two jobs that tell the same users wait for each other and do not deadlock.
CREATE_NOTIFICATIONS = """
-- create_notifications
INSERT INTO notifications
       (job_id, user_id, organization_id, type, title, message, link, priority, expires_at)
SELECT %(job_id)s, user_id, %(organization_id)s, %(type)s, %(title)s, %(message)s, %(link)s,
       %(priority)s, %(expires_at)s
  FROM unnest(%(user_ids)s::text[]) AS recipient (user_id)
 ORDER BY user_id
ON CONFLICT (job_id, user_id) DO NOTHING
"""

LIST_ALL = f"""
-- list_all
SELECT {_COLUMNS}
  FROM notifications
 WHERE user_id = %(user_id)s AND notification_id < %(before)s AND {_SHOWN}
 ORDER BY notification_id DESC
 LIMIT %(limit)s
"""

# A statement of its own, so that the partial index of the unread ones serves it.
LIST_UNREAD = f"""
-- list_unread
SELECT {_COLUMNS}
  FROM notifications
 WHERE user_id = %(user_id)s AND notification_id < %(before)s AND {_SHOWN} AND read_at IS NULL
 ORDER BY notification_id DESC
 LIMIT %(limit)s
"""

COUNT_UNREAD = f"""
-- count_unread
SELECT count(*) FROM notifications
 WHERE user_id = %(user_id)s AND read_at IS NULL AND {_SHOWN}
"""

# `user_id` keeps a user from marking what is another's. The first reading counts.
MARK_READ = """
-- mark_read
UPDATE notifications SET read_at = now()
 WHERE user_id = %(user_id)s AND notification_id = ANY(%(ids)s::bigint[]) AND read_at IS NULL
"""

MARK_UNREAD = """
-- mark_unread
UPDATE notifications SET read_at = NULL
 WHERE user_id = %(user_id)s AND notification_id = ANY(%(ids)s::bigint[]) AND read_at IS NOT NULL
"""

# Up to the newest one that the user has seen: what arrived since then stays unread.
MARK_ALL_READ = """
-- mark_all_read
UPDATE notifications SET read_at = now()
 WHERE user_id = %(user_id)s AND notification_id <= %(up_to)s AND read_at IS NULL
"""
