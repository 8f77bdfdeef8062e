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
TAKE_UNFINISHED_BATCHES = """
SELECT object_key FROM archive_batches ORDER BY created_at, object_key LIMIT %(batches)s
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

# The next rows in batches, each written down under the key that its object will have: the same rows
# always have the same key, and other rows never do. A batch of which one row stayed behind must not
# be replaced by the later one that begins with that row; so the hash is of all ids. An id that a
# producer of another make chose may have a slash in it, which would look like a folder.
#
# All of one batch was created on the same day (UTC), which is the archive's partition; it has as
# many rows as asked for at most, and about so many bytes of documents (`pg_column_size` tells
# without reading them). All of it stays in Postgres: ids by the ten thousand would take longer to
# come and go than the rest takes. The position lets a run walk once over what it keeps.
REMEMBER_BATCHES = f"""
WITH oldest AS MATERIALIZED (
    SELECT job_id, created_at, (created_at AT TIME ZONE 'UTC')::date AS day,
           pg_column_size(payload) + coalesce(pg_column_size(result), 0) + pg_column_size(errors)
             AS size
      FROM job_executions
     WHERE {_PAST_RETENTION} AND (created_at, job_id) > (%(after_time)s, %(after_id)s)
     ORDER BY created_at, job_id
     LIMIT %(rows)s::bigint * %(batches)s
), counted AS (
    SELECT *, row_number() OVER day_so_far AS number, sum(size) OVER day_so_far AS bytes
      FROM oldest
    WINDOW day_so_far AS (PARTITION BY day ORDER BY created_at, job_id
                           ROWS UNBOUNDED PRECEDING)
), batches AS (
    SELECT day, array_agg(job_id ORDER BY created_at, job_id) AS job_ids
      FROM counted
     GROUP BY day, (number - 1) / %(rows)s::bigint, floor(bytes / %(bytes)s::float)
), remembered AS (
    INSERT INTO archive_batches (object_key, job_ids)
    SELECT 'archive/executions/date=' || to_char(day, 'YYYY-MM-DD') || '/'
             || CASE WHEN job_ids[1] ~ '^[A-Za-z0-9_-]+$' THEN job_ids[1]
                     ELSE encode(sha256(convert_to(job_ids[1], 'UTF8')), 'hex') END
             || '-'
             || left(encode(sha256(convert_to(array_to_string(job_ids, E'\n'), 'UTF8')), 'hex'), 12)
             || '.jsonl.gz',
           job_ids
      FROM batches
    RETURNING object_key
)
SELECT (SELECT array_agg(object_key ORDER BY object_key) FROM remembered), created_at, job_id
  FROM oldest ORDER BY created_at DESC, job_id DESC LIMIT 1
"""

LOCK_BATCHES = """
SELECT object_key FROM archive_batches WHERE object_key = ANY(%s) FOR UPDATE SKIP LOCKED
"""

# For the rows of a batch, which with Postgres's usual 4 MB would go through a file.
MEMORY_FOR_A_BATCH = "SET LOCAL work_mem = '64MB'"

# Until the commit they are only locked. What an operator retried since it was chosen stays. The
# lines come as one value, since a value a row costs the reader more than the writer.
DELETE_BATCH = f"""
WITH gone AS (
    DELETE FROM job_executions
     WHERE job_id = ANY((SELECT job_ids FROM archive_batches WHERE object_key = %(key)s)::text[])
       AND {_PAST_RETENTION}
    RETURNING *),
actions AS (
    DELETE FROM job_actions USING gone WHERE job_actions.job_id = gone.job_id
    RETURNING job_actions.*),
of_job AS (
    SELECT job_id, jsonb_agg(to_jsonb(actions) - 'job_id' ORDER BY action_id) AS all_of_them
      FROM actions GROUP BY job_id),
lines AS (
    SELECT CASE WHEN of_job.job_id IS NULL THEN row_to_json(gone)::text
                ELSE left(row_to_json(gone)::text, -1)
                     || ',"actions":' || of_job.all_of_them || '}}' END AS line
      FROM gone LEFT JOIN of_job USING (job_id)
     ORDER BY created_at, job_id)
SELECT count(*), convert_to(coalesce(string_agg(line || E'\n', ''), ''), 'UTF8') FROM lines
"""
FORGET_BATCHES = "DELETE FROM archive_batches WHERE object_key = ANY(%s)"

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

# One that has expired is not shown any more, read or not.
_OUTDATED = "(read_at < %(cutoff)s OR expires_at < %(cutoff)s)"

# Ids grow with time, so the oldest come first; the position spares walking over those that stay.
DELETE_NOTIFICATIONS = f"""
WITH old AS MATERIALIZED (
    SELECT notification_id FROM notifications
     WHERE notification_id > %(after)s AND {_OUTDATED}
     ORDER BY notification_id
     LIMIT %(rows)s),
gone AS (
    DELETE FROM notifications
     WHERE notification_id IN (SELECT notification_id FROM old) AND {_OUTDATED}
    RETURNING notification_id)
SELECT (SELECT count(*) FROM gone), max(notification_id) FROM old
"""
COUNT_NOTIFICATIONS = f"SELECT count(*) FROM notifications WHERE {_OUTDATED}"

# By idx_emails_sent_at; an email of which something was heard since stays.
DELETE_EMAILS = """
WITH old AS MATERIALIZED (
    SELECT email_id, sent_at FROM emails
     WHERE sent_at < %(cutoff)s AND status_at < %(cutoff)s
       AND (sent_at, email_id) > (%(after_time)s, %(after_id)s)
     ORDER BY sent_at, email_id
     LIMIT %(rows)s),
gone AS (
    DELETE FROM emails
     WHERE email_id IN (SELECT email_id FROM old) AND status_at < %(cutoff)s
    RETURNING email_id)
SELECT (SELECT count(*) FROM gone), sent_at, email_id
  FROM old ORDER BY sent_at DESC, email_id DESC LIMIT 1
"""
COUNT_EMAILS = """
SELECT count(*) FROM emails WHERE sent_at < %(cutoff)s AND status_at < %(cutoff)s
"""

# The rows of one day (UTC), the archive's partition. The object is named for its first row, so what
# is written and then not committed is written again, as the same object. FOR UPDATE, so that two
# clean-ups never name one object for different rows.
DELETE_ACCESS_LOG = """
WITH oldest AS MATERIALIZED (
    SELECT access_id, (at AT TIME ZONE 'UTC')::date AS day FROM access_log
     WHERE access_id > %(after)s AND at < %(cutoff)s
     ORDER BY access_id
     LIMIT %(rows)s
       FOR UPDATE),
old AS (
    SELECT access_id FROM oldest WHERE day = (SELECT day FROM oldest ORDER BY access_id LIMIT 1)),
gone AS (
    DELETE FROM access_log WHERE access_id IN (SELECT access_id FROM old) RETURNING *)
SELECT count(*), max(access_id),
       'archive/access/date=' || to_char(min(at AT TIME ZONE 'UTC'), 'YYYY-MM-DD') || '/'
         || lpad(min(access_id)::text, 19, '0') || '.jsonl.gz',
       convert_to(coalesce(string_agg(row_to_json(gone)::text || E'\n', '' ORDER BY access_id), ''),
                  'UTF8')
  FROM gone
"""
COUNT_ACCESS_LOG = "SELECT count(*) FROM access_log WHERE at < %(cutoff)s"
