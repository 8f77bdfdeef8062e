"""The dashboard's own SQL: sessions and the page of the audit. All else is `operators`'s."""

from __future__ import annotations

BEGIN_SESSION = """
-- begin_session
WITH swept AS (
    DELETE FROM dashboard_sessions WHERE expires_at < now()
)
INSERT INTO dashboard_sessions (session_hash, token_hash, expires_at)
VALUES (%s, %s, now() + %s)
"""

FIND_SESSION = """
-- find_session
SELECT session.token_hash, session.expires_at, coalesce(token.scopes, '{}')
  FROM dashboard_sessions AS session
  LEFT JOIN access_tokens AS token USING (token_hash)
 WHERE session.session_hash = %s AND session.expires_at > now()
"""

END_SESSION = "-- end_session\nDELETE FROM dashboard_sessions WHERE session_hash = %s"

COUNT_SIGN_IN = """
-- count_sign_in
WITH swept AS (
    DELETE FROM dashboard_sign_ins WHERE minute < now() - interval '1 hour' AND source <> %(source)s
)
INSERT INTO dashboard_sign_ins AS attempts (source, minute, used)
VALUES (%(source)s, date_trunc('minute', now()), 1)
ON CONFLICT (source) DO UPDATE
   SET minute = EXCLUDED.minute,
       used = CASE WHEN attempts.minute = EXCLUDED.minute THEN attempts.used + 1 ELSE 1 END
RETURNING used,
    ceil(extract(epoch FROM date_trunc('minute', now()) + interval '1 minute' - now()))::int
"""

FIND_COMPLETED = """
-- find_completed
SELECT job_id FROM job_executions WHERE job_id = ANY(%s) AND status = 'completed'
"""

# Newest first. Those of one moment, of which a bulk operation makes thousands, have an order too:
# by table and by number, so that a page begins where the one before ended.
READ_ACTIONS = """
-- read_actions
(SELECT at, 3 AS kind, action_id, actor,
        action || CASE WHEN before ? 'payloadHash' THEN ', payload edited' ELSE '' END,
        coalesce(before ->> 'jobType', ''), job_id, before ->> 'status'
   FROM job_actions
  WHERE at <= %(at)s AND (at, 3, action_id) < (%(at)s, %(kind)s, %(action_id)s)
  ORDER BY at DESC, action_id DESC LIMIT %(limit)s)
UNION ALL
(SELECT at, 2, action_id, actor, action,
        CASE WHEN job_id IS NULL THEN 'schedule ' ELSE '' END || schedule, job_id, NULL
   FROM schedule_actions
  WHERE at <= %(at)s AND (at, 2, action_id) < (%(at)s, %(kind)s, %(action_id)s)
  ORDER BY at DESC, action_id DESC LIMIT %(limit)s)
UNION ALL
(SELECT at, 1, action_id, actor, action, token || ': ' || array_to_string(scopes, ', '), NULL, NULL
   FROM token_actions
  WHERE at <= %(at)s AND (at, 1, action_id) < (%(at)s, %(kind)s, %(action_id)s)
  ORDER BY at DESC, action_id DESC LIMIT %(limit)s)
UNION ALL
(SELECT at, 0, action_id, actor, action, 'type ' || job_type, NULL, NULL
   FROM type_actions
  WHERE at <= %(at)s AND (at, 0, action_id) < (%(at)s, %(kind)s, %(action_id)s)
  ORDER BY at DESC, action_id DESC LIMIT %(limit)s)
ORDER BY at DESC, kind DESC, action_id DESC
LIMIT %(limit)s
"""

READ_ACCESSES = """
-- read_accesses
SELECT access_id, at, actor, method, path, outcome, source_ip FROM access_log
 WHERE access_id < %(before)s AND path NOT LIKE '/admin/live/%%'
 ORDER BY access_id DESC
 LIMIT %(limit)s
"""
