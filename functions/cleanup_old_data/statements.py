"""The clean-up's SQL, each statement named for what it does.

Ended rows are found through idx_job_executions_created_at, oldest first: a job that ended before
the cutoff was created before it, and almost everything that old has ended. An index on completed_at
would be one more to keep with every job that runs, to save nothing here.
"""

from __future__ import annotations

# Two clean-ups at once would choose the same rows; the lock goes with the transaction, so it works
# through a pooler too. Any constant will do.
ONE_CHOOSES_AT_A_TIME = "SELECT pg_advisory_xact_lock(7829174600135)"

# A batch that another clean-up is at work on is locked, and passed over.
TAKE_UNFINISHED_BATCH = """
SELECT object_key, job_ids FROM archive_batches ORDER BY created_at, object_key LIMIT 1
   FOR UPDATE SKIP LOCKED
"""
ANOTHER_IS_AT_WORK = "SELECT EXISTS (SELECT FROM archive_batches)"

# A job type's own cutoff, else the general one.
_PAST_RETENTION = """
       status IN ('completed', 'failed', 'cancelled')
   AND created_at < %(newest_cutoff)s
   AND completed_at < coalesce(
         (%(cutoffs)s::timestamptz[])[array_position(%(types)s::text[], job_type)], %(cutoff)s)
"""

# All of one batch was created on the same day (UTC), which is the archive's partition. The position
# lets a run walk once over what it keeps.
CHOOSE_BATCH = f"""
WITH oldest AS MATERIALIZED (
    SELECT job_id, created_at FROM job_executions
     WHERE {_PAST_RETENTION} AND (created_at, job_id) > (%(after_time)s, %(after_id)s)
     ORDER BY created_at, job_id
     LIMIT %(rows)s)
SELECT job_id, created_at, first_day::text
  FROM (SELECT *, (created_at AT TIME ZONE 'UTC')::date AS day,
               min((created_at AT TIME ZONE 'UTC')::date) OVER () AS first_day
          FROM oldest) AS dated
 WHERE day = first_day
 ORDER BY created_at, job_id
"""

LOCK_BATCH = "SELECT FROM archive_batches WHERE object_key = %s FOR UPDATE SKIP LOCKED"
REMEMBER_BATCH = "INSERT INTO archive_batches (object_key, job_ids) VALUES (%s, %s)"

# Until the commit they are only locked. What was retried by hand since it was chosen stays.
DELETE_BATCH = f"""
WITH gone AS (
    DELETE FROM job_executions
     WHERE job_id = ANY(%(job_ids)s) AND {_PAST_RETENTION}
    RETURNING *),
actions AS (
    DELETE FROM job_actions USING gone WHERE job_actions.job_id = gone.job_id
    RETURNING job_actions.*),
of_job AS (
    SELECT job_id, jsonb_agg(to_jsonb(actions) - 'job_id' ORDER BY action_id) AS all_of_them
      FROM actions GROUP BY job_id)
SELECT CASE WHEN of_job.job_id IS NULL THEN row_to_json(gone)::text
            ELSE left(row_to_json(gone)::text, -1)
                 || ',"actions":' || of_job.all_of_them || '}}' END
  FROM gone LEFT JOIN of_job USING (job_id)
 ORDER BY created_at, job_id
"""
FORGET_BATCH = "DELETE FROM archive_batches WHERE object_key = %s"

COUNT_PAST_RETENTION = f"""
SELECT job_type, count(*) FROM job_executions WHERE {_PAST_RETENTION} GROUP BY 1 ORDER BY 1
"""
# For the progress, so up to a bound: after a long pause there may be too many to count in time.
COUNT_ALL_PAST_RETENTION = f"""
SELECT count(*) FROM (SELECT FROM job_executions WHERE {_PAST_RETENTION} LIMIT 1000000) AS past
"""

FREE_IDEMPOTENCY_KEYS = """
WITH old AS MATERIALIZED (
    SELECT job_id, created_at FROM job_executions
     WHERE idempotency_key IS NOT NULL AND created_at < %(cutoff)s AND completed_at < %(cutoff)s
       AND (created_at, job_id) > (%(after_time)s, %(after_id)s)
     ORDER BY created_at, job_id
     LIMIT %(rows)s
       FOR UPDATE SKIP LOCKED),
freed AS (
    UPDATE job_executions AS job SET idempotency_key = NULL
      FROM old
     WHERE job.job_id = old.job_id AND job.completed_at < %(cutoff)s
    RETURNING job.job_id)
SELECT (SELECT count(*) FROM freed), created_at, job_id
  FROM old ORDER BY created_at DESC, job_id DESC LIMIT 1
"""
COUNT_IDEMPOTENCY_KEYS = """
SELECT count(*) FROM job_executions
 WHERE idempotency_key IS NOT NULL AND created_at < %(cutoff)s AND completed_at < %(cutoff)s
"""

# Ids grow with time, so the oldest come first; the position spares walking over the unread again.
DELETE_READ_NOTIFICATIONS = """
WITH old AS MATERIALIZED (
    SELECT notification_id FROM notifications
     WHERE notification_id > %(after)s AND read_at < %(cutoff)s
     ORDER BY notification_id
     LIMIT %(rows)s),
gone AS (
    DELETE FROM notifications
     WHERE notification_id IN (SELECT notification_id FROM old) AND read_at < %(cutoff)s
    RETURNING notification_id)
SELECT (SELECT count(*) FROM gone), max(notification_id) FROM old
"""
DELETE_ACCESS_LOG = """
WITH old AS MATERIALIZED (
    SELECT access_id FROM access_log
     WHERE access_id > %(after)s AND at < %(cutoff)s
     ORDER BY access_id
     LIMIT %(rows)s),
gone AS (
    DELETE FROM access_log WHERE access_id IN (SELECT access_id FROM old) RETURNING access_id)
SELECT (SELECT count(*) FROM gone), max(access_id) FROM old
"""
COUNT_ACCESS_LOG = "SELECT count(*) FROM access_log WHERE at < %(cutoff)s"
COUNT_READ_NOTIFICATIONS = "SELECT count(*) FROM notifications WHERE read_at < %(cutoff)s"
