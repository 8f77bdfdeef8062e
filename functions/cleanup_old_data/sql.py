"""The clean-up's SQL, each statement named for what it does.

Ended rows are found through idx_job_executions_created_at, oldest first: a job that ended before
the cutoff was created before it, and almost everything that old has ended. An index on completed_at
would be one more to keep with every job that runs, to save nothing here.
"""

from __future__ import annotations

# Two clean-ups at once would choose the same rows; the lock goes with the transaction, so it works
# through a pooler too. Any constant will do.
ONE_CHOOSES_AT_A_TIME = "-- one_chooses_at_a_time\nSELECT pg_advisory_xact_lock(7829174600135)"

# A batch that another clean-up is at work on is locked, and passed over. One with an error is a row
# that was set aside.
TAKE_UNFINISHED_BATCHES = """
-- take_unfinished_batches
SELECT object_key FROM archive_batches WHERE error IS NULL
 ORDER BY created_at, object_key LIMIT %(batches)s
   FOR UPDATE SKIP LOCKED
"""
ANOTHER_IS_AT_WORK = (
    "-- another_is_at_work\nSELECT EXISTS (SELECT FROM archive_batches WHERE error IS NULL)"
)

# A job type's own cutoff, else the general one. A job stays while another one waits for it, or has
# yet to read its result.
_PAST_RETENTION = """
       status IN ('completed', 'failed', 'cancelled')
   AND created_at < %(newest_cutoff)s
   AND completed_at < coalesce(
         (%(cutoffs)s::timestamptz[])[array_position(%(types)s::text[], job_type)], %(others)s)
   AND NOT EXISTS (
         SELECT FROM job_dependencies AS link JOIN job_executions AS child
             ON child.job_id = link.job_id AND child.completed_at IS NULL
          WHERE link.parent_id = job.job_id)
"""

_FOLDER = """
       'archive/executions/date=' || coalesce(to_char(day, 'YYYY-MM-DD'), 'unknown') || '/'
"""

_STILL_TO_DO = f"""
       {_PAST_RETENTION}
   AND (created_at, job_id) > (%(after_time)s::timestamptz, %(after_id)s)
   AND NOT EXISTS (SELECT FROM archive_batches AS aside
                    WHERE aside.error IS NOT NULL AND aside.job_ids = ARRAY[job.job_id])
"""

# The bytes of a row's JSON, as the archive's line has it. What the table has is compressed, by up
# to a hundred to one.
_LINE_BYTES = """
       octet_length(payload::text) + coalesce(octet_length(result::text), 0)
     + octet_length(errors::text) + coalesce(octet_length(job.error), 0)
     + octet_length(metadata::text) + coalesce(octet_length(progress::text), 0)
     + octet_length(delivery::text)
     + coalesce((SELECT sum(octet_length(before::text)) FROM job_actions AS action
                  WHERE action.job_id = job.job_id), 0)::bigint
     + coalesce((SELECT sum(octet_length(step.result::text)) FROM job_steps AS step
                  WHERE step.job_id = job.job_id), 0)::bigint
"""

# The same rows always have the same key, and other rows never do. A batch of which one row stayed
# behind must not be replaced by the later one that begins with that row; so the hash is of all
# ids. An id that a producer of another make chose may have a slash in it, which would look like a
# folder.
_KEY = """
       folder || CASE WHEN job_ids[1] ~ '^[A-Za-z0-9_-]+$' THEN job_ids[1]
                      ELSE encode(sha256(convert_to(job_ids[1], 'UTF8')), 'hex') END
         || '-'
         || left(encode(sha256(convert_to(array_to_string(job_ids, E'\n'), 'UTF8')), 'hex'), 12)
         || '.jsonl.gz'
"""

# The next rows in batches, each written down under the key that its object will have.
#
# All of one batch was created on the same day (UTC), which is the archive's partition; it has as
# many rows as asked for at most, and so many bytes of JSON, or a single row. To know these is to
# read the documents, so no more rows are looked at than the table has `weight` bytes of documents
# for, which `pg_column_size` tells without reading them; a compressed one counts twenty times. A
# row that is too large for a line is set aside. All of it stays in Postgres: ids by the ten
# thousand would take longer to come and go than the rest takes. The position lets a run walk once
# over what it keeps.
REMEMBER_BATCHES = f"""
-- remember_batches
WITH past AS MATERIALIZED (
    SELECT job_id, created_at,
           pg_column_size(payload) * CASE WHEN pg_column_compression(payload) IS NULL
                                          THEN 1 ELSE 20 END::bigint
         + coalesce(pg_column_size(result) * CASE WHEN pg_column_compression(result) IS NULL
                                                  THEN 1 ELSE 20 END::bigint, 0) AS weight
      FROM job_executions AS job
     WHERE {_STILL_TO_DO}
     ORDER BY created_at, job_id
     LIMIT %(limit)s
), weighed AS (
    SELECT *, sum(weight) OVER so_far - weight AS before_it
      FROM past WINDOW so_far AS (ORDER BY created_at, job_id ROWS UNBOUNDED PRECEDING)
), oldest AS MATERIALIZED (
    SELECT job_id, job.created_at, (job.created_at AT TIME ZONE 'UTC')::date AS day,
           {_LINE_BYTES} AS size
      FROM weighed JOIN job_executions AS job USING (job_id)
     WHERE before_it < %(weight)s
), counted AS (
    SELECT *, row_number() OVER day_so_far AS number, sum(size) OVER day_so_far AS bytes
      FROM oldest
     WHERE size <= %(line_bytes)s
    WINDOW day_so_far AS (PARTITION BY day ORDER BY created_at, job_id
                           ROWS UNBOUNDED PRECEDING)
), batches AS (
    SELECT day, array_agg(job_id ORDER BY created_at, job_id) AS job_ids, NULL AS error
      FROM counted
     GROUP BY day, (number - 1) / %(rows)s::bigint, floor(bytes / %(bytes)s::float)
     UNION ALL
    SELECT day, ARRAY[job_id],
           format('the row has %%s bytes of JSON; a line of the archive has at most %%s',
                  size, %(line_bytes)s::bigint)
      FROM oldest WHERE size > %(line_bytes)s
), remembered AS (
    INSERT INTO archive_batches (object_key, job_ids, error)
    SELECT {_KEY}, job_ids, error
      FROM (SELECT *, {_FOLDER} AS folder FROM batches) AS named
    RETURNING object_key, job_ids, error
)
SELECT (SELECT coalesce(array_agg(object_key ORDER BY object_key), '{{}}')
          FROM remembered WHERE error IS NULL),
       (SELECT coalesce(jsonb_object_agg(job_ids[1], error), '{{}}')
          FROM remembered WHERE error IS NOT NULL),
       created_at::text, job_id
  FROM oldest ORDER BY created_at DESC, job_id DESC LIMIT 1
"""

# Two where there was one. No row: the batch has a single row, or another clean-up took it.
HALVE_BATCH = f"""
-- halve_batch
WITH failed AS (
    DELETE FROM archive_batches
     WHERE object_key = %(key)s AND cardinality(job_ids) > 1
    RETURNING regexp_replace(object_key, '[^/]*$', '') AS folder, job_ids, created_at
), halves AS (
    SELECT folder, job_ids[:cardinality(job_ids) / 2] AS job_ids, created_at FROM failed
     UNION ALL
    SELECT folder, job_ids[cardinality(job_ids) / 2 + 1:], created_at FROM failed
)
INSERT INTO archive_batches (object_key, job_ids, created_at)
SELECT {_KEY}, job_ids, created_at FROM halves
RETURNING object_key
"""
SET_ASIDE = """
-- set_aside
UPDATE archive_batches SET error = %(error)s WHERE object_key = %(key)s RETURNING job_ids[1]
"""
SET_ASIDE_NEXT = f"""
-- set_aside_next
INSERT INTO archive_batches (object_key, job_ids, error)
SELECT {_KEY}, job_ids, %(error)s
  FROM (SELECT ARRAY[job_id] AS job_ids, {_FOLDER} AS folder
          FROM (SELECT job_id, (created_at AT TIME ZONE 'UTC')::date AS day
                  FROM job_executions AS job WHERE {_STILL_TO_DO}
                 ORDER BY created_at, job_id LIMIT 1) AS next) AS named
RETURNING job_ids[1]
"""
COUNT_SET_ASIDE = "-- count_set_aside\nSELECT count(*) FROM archive_batches WHERE error IS NOT NULL"

LOCK_BATCHES = """
-- lock_batches
SELECT object_key FROM archive_batches WHERE object_key = ANY(%s) FOR UPDATE SKIP LOCKED
"""

# For the rows of a batch, which with Postgres's usual 4 MB would go through a file.
MEMORY_FOR_A_BATCH = "SET LOCAL work_mem = '64MB'"

# Until the commit they are only locked. What an operator retried since it was chosen stays. The
# lines come as one value, since a value a row costs the reader more than the writer.
DELETE_BATCH = f"""
-- delete_batch
WITH gone AS (
    SELECT job, actions, steps
      FROM stashjobs.delete_ended(ARRAY(
               SELECT job_id FROM job_executions AS job
                WHERE job_id = ANY((SELECT job_ids FROM archive_batches
                                     WHERE object_key = %(key)s)::text[])
                  AND {_PAST_RETENTION}))),
lines AS (
    SELECT CASE WHEN actions IS NULL AND steps IS NULL THEN row_to_json(job)::text
                ELSE left(row_to_json(job)::text, -1)
                     || coalesce(',"actions":' || actions::text, '')
                     || coalesce(',"steps":' || steps::text, '') || '}}' END AS line
      FROM gone
     ORDER BY (job).created_at, (job).job_id)
SELECT count(*), convert_to(coalesce(string_agg(line || E'\n', ''), ''), 'UTF8') FROM lines
"""
FORGET_BATCHES = "-- forget_batches\nDELETE FROM archive_batches WHERE object_key = ANY(%s)"

COUNT_PAST_RETENTION = f"""
-- count_past_retention
SELECT job_type, count(*) FROM job_executions AS job WHERE {_PAST_RETENTION} GROUP BY 1 ORDER BY 1
"""
# For the progress, so up to a bound: after a long pause there may be too many to count in time.
COUNT_ALL_PAST_RETENTION = f"""
-- count_all_past_retention
SELECT count(*)
  FROM (SELECT FROM job_executions AS job WHERE {_PAST_RETENTION} LIMIT 1000000) AS past
"""

_OLD_KEYS = """
    SELECT created_at, job_id FROM job_executions
     WHERE idempotency_key IS NOT NULL AND created_at < %(cutoff)s AND completed_at < %(cutoff)s
       AND (created_at, job_id) > (%(after_time)s::timestamptz, %(after_id)s)
     ORDER BY created_at, job_id
     LIMIT %(rows)s
"""
FREE_IDEMPOTENCY_KEYS = f"""
-- free_idempotency_keys
WITH old AS MATERIALIZED ({_OLD_KEYS} FOR UPDATE SKIP LOCKED),
freed AS (
    UPDATE job_executions AS job SET idempotency_key = NULL
      FROM old
     WHERE job.job_id = old.job_id AND job.completed_at < %(cutoff)s
    RETURNING job.job_id)
SELECT (SELECT count(*) FROM freed), created_at::text, job_id
  FROM old ORDER BY created_at DESC, job_id DESC LIMIT 1
"""
NEXT_IDEMPOTENCY_KEY = (
    f"-- next_idempotency_key\nSELECT created_at::text, job_id FROM ({_OLD_KEYS}) AS old"
)
COUNT_IDEMPOTENCY_KEYS = """
-- count_idempotency_keys
SELECT count(*) FROM job_executions
 WHERE idempotency_key IS NOT NULL AND created_at < %(cutoff)s AND completed_at < %(cutoff)s
"""

# One that has expired is not shown any more, read or not.
_OUTDATED = "(read_at < %(cutoff)s OR expires_at < %(cutoff)s)"

# Ids grow with time, so the oldest come first; the position spares walking over those that stay.
_OLD_NOTIFICATIONS = f"""
    SELECT notification_id FROM notifications
     WHERE notification_id > %(after)s AND {_OUTDATED}
     ORDER BY notification_id
     LIMIT %(rows)s
"""
DELETE_NOTIFICATIONS = f"""
-- delete_notifications
WITH old AS MATERIALIZED ({_OLD_NOTIFICATIONS}),
gone AS (
    DELETE FROM notifications
     WHERE notification_id IN (SELECT notification_id FROM old) AND {_OUTDATED}
    RETURNING notification_id)
SELECT (SELECT count(*) FROM gone), max(notification_id) FROM old
"""
NEXT_NOTIFICATION = _OLD_NOTIFICATIONS
COUNT_NOTIFICATIONS = (
    f"-- count_notifications\nSELECT count(*) FROM notifications WHERE {_OUTDATED}"
)

# By idx_emails_sent_at; an email of which something was heard since stays.
_OLD_EMAILS = """
    SELECT sent_at, email_id FROM emails
     WHERE sent_at < %(cutoff)s AND status_at < %(cutoff)s
       AND (sent_at, email_id) > (%(after_time)s::timestamptz, %(after_id)s)
     ORDER BY sent_at, email_id
     LIMIT %(rows)s
"""
DELETE_EMAILS = f"""
-- delete_emails
WITH old AS MATERIALIZED ({_OLD_EMAILS}),
gone AS (
    DELETE FROM emails
     WHERE email_id IN (SELECT email_id FROM old) AND status_at < %(cutoff)s
    RETURNING email_id)
SELECT (SELECT count(*) FROM gone), sent_at::text, email_id
  FROM old ORDER BY sent_at DESC, email_id DESC LIMIT 1
"""
NEXT_EMAIL = f"-- next_email\nSELECT sent_at::text, email_id FROM ({_OLD_EMAILS}) AS old"
COUNT_EMAILS = """
-- count_emails
SELECT count(*) FROM emails WHERE sent_at < %(cutoff)s AND status_at < %(cutoff)s
"""

# Whole days only: so the lines that go with a first one are always the same, whatever the moment.
_OLD_ACCESS = "at < date_trunc('day', %(cutoff)s::timestamptz, 'UTC')"

# The lines of one day (UTC), the archive's partition, and so many bytes of them. The object is
# named for its first and its last line: what is written and then not committed is written again as
# the same object, also by another clean-up while this one is stopped.
NEXT_ACCESS = f"""
-- next_access
SELECT access_id, (at AT TIME ZONE 'UTC')::date AS day
  FROM access_log
 WHERE access_id > %(after)s AND {_OLD_ACCESS}
 ORDER BY access_id
 LIMIT 1
"""
DELETE_ACCESS_LOG = f"""
-- delete_access_log
WITH first AS MATERIALIZED ({NEXT_ACCESS}),
following AS MATERIALIZED (
    SELECT access_id, (at AT TIME ZONE 'UTC')::date AS day,
           octet_length(path) + octet_length(method) + coalesce(octet_length(actor), 0)
             + coalesce(octet_length(source_ip), 0) + coalesce(octet_length(request_id), 0) AS size
      FROM access_log
     WHERE access_id >= (SELECT access_id FROM first)
     ORDER BY access_id
     LIMIT %(rows)s),
counted AS (
    SELECT *, sum(size) OVER (ORDER BY access_id ROWS UNBOUNDED PRECEDING) - size AS before_it
      FROM following),
old AS (
    SELECT access_id FROM counted
     WHERE day = (SELECT day FROM first) AND before_it < %(bytes)s),
gone AS (
    SELECT line.* FROM stashjobs.take_accesses(ARRAY(SELECT access_id FROM old)) AS line)
SELECT count(*), max(access_id),
       'archive/access/date=' || to_char(min(at AT TIME ZONE 'UTC'), 'YYYY-MM-DD') || '/'
         || lpad(min(access_id)::text, 19, '0') || '-' || max(access_id) || '.jsonl.gz',
       convert_to(coalesce(string_agg(row_to_json(gone)::text || E'\n', '' ORDER BY access_id), ''),
                  'UTF8')
  FROM gone
"""
COUNT_ACCESS_LOG = f"""
-- count_access_log
SELECT count(*) FROM access_log WHERE {_OLD_ACCESS}
"""
