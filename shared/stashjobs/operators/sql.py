"""The operators' SQL, each statement named for what it does, also for traces. `{columns}` are
the fields of `search.JobExecution`; the conditions come from `search.Filter`.
"""

from __future__ import annotations

FIND_JOB = "-- find_job\nSELECT {shown} FROM job_executions WHERE job_id = %s"

FIND_BY_PART = """
-- find_by_part
(SELECT job_id FROM job_executions
  WHERE job_id >= %(part)s AND job_id < %(after)s ORDER BY job_id LIMIT 2)
UNION
(SELECT job_id
   FROM (SELECT job_id FROM job_executions ORDER BY created_at DESC, job_id DESC
          LIMIT %(look_at)s) AS newest
  WHERE job_id LIKE %(end)s LIMIT 2)
ORDER BY job_id LIMIT 2
"""

FIND_PAYLOAD = "-- find_payload\nSELECT payload FROM job_executions WHERE job_id = %s"

FIND_CHILDREN = """
-- find_children
SELECT job_id, job_type, status FROM job_executions
 WHERE metadata ->> 'parentJobId' = %s AND metadata ? 'parentJobId'
 ORDER BY created_at, job_id
 LIMIT %s
"""

FIND_LINKED_PARENTS = """
-- find_linked_parents
SELECT parent.job_id, parent.job_type, parent.status, count(*) OVER ()
  FROM job_dependencies AS link JOIN job_executions AS parent ON parent.job_id = link.parent_id
 WHERE link.job_id = %(job_id)s
 ORDER BY parent.status = 'completed', link.position, link.parent_id
 LIMIT %(limit)s
"""

FIND_LINKED_CHILDREN = """
-- find_linked_children
SELECT child.job_id, child.job_type, child.status, count(*) OVER ()
  FROM job_dependencies AS link JOIN job_executions AS child ON child.job_id = link.job_id
 WHERE link.parent_id = %(job_id)s
 ORDER BY child.job_id
 LIMIT %(limit)s
"""

# A few steps of an index for each schedule, however often it has run.
FIND_RUNS = """
-- find_runs
SELECT name, run.job_id, run.job_type, run.status, run.created_at
  FROM unnest(%(names)s::text[]) AS name
 CROSS JOIN LATERAL (
     SELECT job_id, job_type, status, created_at FROM job_executions
      WHERE metadata ->> 'schedule' = name AND metadata ? 'schedule'
      ORDER BY created_at DESC LIMIT %(limit)s
 ) AS run
 ORDER BY name, run.created_at DESC
"""

COUNT_RUNNING = """
-- count_running
SELECT count(*) FROM job_executions WHERE status = 'processing' AND job_type = %s
"""

# One step along the index for each type, however many jobs it has.
READ_TYPES = """
-- read_types
WITH RECURSIVE types AS (
    (SELECT job_type FROM job_executions ORDER BY job_type LIMIT 1)
    UNION ALL
    SELECT (SELECT job_type FROM job_executions AS job WHERE job.job_type > types.job_type
             ORDER BY job_type LIMIT 1)
      FROM types WHERE types.job_type IS NOT NULL
)
SELECT job_type FROM types WHERE job_type IS NOT NULL
"""

# Keyset pagination: the next page begins behind the last row of this one, however far down it is.
# Of so many rows (`found`) those that have so many bytes together, and the first whatever it has.
_WITHIN_BYTES = """
SELECT {{columns}}, found
  FROM (SELECT *, count(*) OVER () AS found,
               sum(bytes) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING)
               - bytes AS bytes_before
          FROM (SELECT {{shown}}, {{bytes}} AS bytes FROM ({rows}) AS newest) AS shown) AS weighed
 WHERE bytes_before < %(bytes)s
 ORDER BY {order}
"""
_NEWEST_FIRST = "created_at DESC, job_id DESC"

LIST_NEWEST = "-- list_newest" + _WITHIN_BYTES.format(
    order=_NEWEST_FIRST,
    rows="""
        SELECT {columns} FROM job_executions
         WHERE {conditions}
           AND (created_at, job_id) < (%(before_time)s, %(before_id)s)
         ORDER BY created_at DESC, job_id DESC
         LIMIT %(limit)s""",
)

# As `LIST_NEWEST`, those first that are due first: by the index on (status, available_at).
LIST_UPCOMING = "-- list_upcoming" + _WITHIN_BYTES.format(
    order="available_at, job_id",
    rows="""
        SELECT {columns} FROM job_executions
         WHERE {conditions}
           AND available_at >= %(after_time)s
           AND (available_at, job_id) > (%(after_time)s, %(after_id)s)
         ORDER BY available_at, job_id
         LIMIT %(limit)s""",
)

# As `LIST_NEWEST`, of so many that fit what an index finds, however few of them fit the rest.
SEARCH_NEWEST = "-- search_newest" + _WITHIN_BYTES.format(
    order=_NEWEST_FIRST,
    rows="""
        SELECT {columns}
          FROM (SELECT {columns} FROM job_executions
                 WHERE {narrow}
                   AND (created_at, job_id) < (%(before_time)s, %(before_id)s)
                 ORDER BY created_at DESC, job_id DESC
                 LIMIT %(look_at)s) AS looked_at
         WHERE {wide}
         ORDER BY created_at DESC, job_id DESC
         LIMIT %(limit)s""",
)

LAST_LOOKED_AT = """
-- last_looked_at
SELECT created_at, job_id FROM job_executions
 WHERE {narrow}
   AND (created_at, job_id) < (%(before_time)s, %(before_id)s)
 ORDER BY created_at DESC, job_id DESC
OFFSET %(look_at)s - 1 LIMIT 1
"""

READ_JOB_ACTIONS = """
-- read_job_actions
SELECT at, actor, action, before ->> 'status', before ->> 'error',
       (before ->> 'completedAt')::timestamptz, (before ->> 'publishedAt')::timestamptz,
       before ->> 'payloadHash', before -> 'payload', (before ->> 'availableAt')::timestamptz,
       coalesce(before -> 'steps', '[]')
  FROM job_actions WHERE job_id = %s ORDER BY at, action_id LIMIT 100
"""

READ_STEPS = """
-- read_steps
SELECT position, name, attempt, started_at, ended_at
  FROM job_steps WHERE job_id = %s ORDER BY position
"""

COUNT_JOBS = """
-- count_jobs
SELECT count(*) FROM job_executions WHERE {conditions} AND status = ANY(%(statuses)s)
"""

FIND_IDS = """
-- find_ids
SELECT job_id FROM job_executions WHERE {conditions} AND status = ANY(%(statuses)s)
 ORDER BY created_at, job_id
 LIMIT %(limit)s
"""

RETRY = """
-- retry
SELECT job_id, job_type, run, attempt, max_attempts, available_at, delivery, dlq_id_before
  FROM stashjobs.retry(
           job_ids => %(job_ids)s::text[], actor => %(actor)s, payload => %(payload)s,
           from_step => %(from_step)s::text)
"""

CANCEL = """
-- cancel
SELECT job_id, message_id
  FROM stashjobs.cancel(job_ids => %(job_ids)s::text[], actor => %(actor)s)
"""

CANCEL_RUNNING = """
-- cancel_running
SELECT stashjobs.cancel_running(job_id => %(job_id)s, actor => %(actor)s)
"""

CHANGE_WAITING = """
-- change_waiting
SELECT job_id, job_type, run, attempt, max_attempts, available_at, delivery, moved, status,
       message_id
  FROM stashjobs.change_waiting(
           job_ids => %(job_ids)s::text[], actor => %(actor)s, action => %(action)s,
           at => %(at)s, payload => %(payload)s)
"""

DELETE_WAITING = """
-- delete_waiting
SELECT job_id, message_id
  FROM stashjobs.delete_waiting(job_ids => %(job_ids)s::text[], actor => %(actor)s)
"""

READ_STATUSES_OF = """
-- read_statuses_of
SELECT job_id, status FROM job_executions WHERE job_id = ANY(%(job_ids)s::text[])
"""

RECORD_DEAD_LETTERS_DELETED = """
-- record_dead_letters_deleted
SELECT stashjobs.record_dead_letters_deleted(
           dlq_ids => %(dlq_ids)s::text[], job_ids => %(job_ids)s::text[], actor => %(actor)s)
"""

READ_STATUS = "-- read_status\nSELECT status FROM job_executions WHERE job_id = %s"

READ_ENCRYPTED = """
-- read_encrypted
SELECT job_type, payload -> '$sealed' IS NOT NULL FROM job_executions WHERE job_id = %s
"""

# A page of rows in the order of their key, whatever is in them: so each statement is short, however
# large the table. A document comes along only where another key than the current one encrypted it.
FIND_ENCRYPTED_PAYLOADS = """
-- find_encrypted_payloads
SELECT job_id, job_id, job_type, 'payload', payload #>> '{$sealed,kid}',
       CASE WHEN payload #>> '{$sealed,kid}' <> %(key_id)s THEN payload END
  FROM job_executions WHERE job_id > %(after)s ORDER BY job_id LIMIT %(limit)s
"""
FIND_ENCRYPTED_RESULTS = FIND_ENCRYPTED_PAYLOADS.replace("payload", "result")

FIND_ENCRYPTED_ACTIONS = """
-- find_encrypted_actions
SELECT action_id, job_id, before ->> 'jobType', 'result', before #>> '{result,$sealed,kid}',
       CASE WHEN before #>> '{result,$sealed,kid}' <> %(key_id)s THEN before -> 'result' END
  FROM job_actions WHERE action_id > %(after)s ORDER BY action_id LIMIT %(limit)s
"""

# A step's key is of two columns, which go on as the text of a JSON list.
FIND_ENCRYPTED_STEPS = """
-- find_encrypted_steps
SELECT jsonb_build_array(job_id, step.position)::text, job_id, job.job_type,
       'step ' || step.position, step.result #>> '{$sealed,kid}',
       CASE WHEN step.result #>> '{$sealed,kid}' <> %(key_id)s THEN step.result END
  FROM job_steps AS step JOIN job_executions AS job USING (job_id)
 WHERE (job_id, step.position) > (%(after)s::jsonb ->> 0, (%(after)s::jsonb ->> 1)::integer)
 ORDER BY job_id, step.position LIMIT %(limit)s
"""

# Only a row that still holds the very document that was opened gets the new one, and a row that
# is locked just now is passed over; the next run finds it.
REENCRYPT_PAYLOADS = """
-- reencrypt_payloads
WITH held AS (
    SELECT job_id, new.encrypted
      FROM job_executions AS job
      JOIN unnest(%(ids)s::text[], %(before)s::jsonb[], %(encrypted)s::jsonb[])
        AS new (job_id, opened, encrypted) USING (job_id)
     WHERE job.payload = new.opened
       FOR UPDATE OF job SKIP LOCKED
)
UPDATE job_executions AS job SET payload = held.encrypted FROM held WHERE job.job_id = held.job_id
"""
REENCRYPT_RESULTS = REENCRYPT_PAYLOADS.replace("payload", "result")

REENCRYPT_ACTIONS = """
-- reencrypt_actions
UPDATE job_actions AS action SET before = jsonb_set(action.before, '{result}', new.encrypted)
  FROM unnest(%(ids)s::bigint[], %(before)s::jsonb[], %(encrypted)s::jsonb[])
    AS new (action_id, opened, encrypted)
 WHERE action.action_id = new.action_id AND action.before -> 'result' = new.opened
"""

REENCRYPT_STEPS = """
-- reencrypt_steps
UPDATE job_steps AS step SET result = new.encrypted
  FROM unnest(%(ids)s::text[], %(before)s::jsonb[], %(encrypted)s::jsonb[])
    AS new (step_id, opened, encrypted)
 WHERE step.job_id = new.step_id::jsonb ->> 0
   AND step.position = (new.step_id::jsonb ->> 1)::integer AND step.result = new.opened
"""

# What was done, and who did it, is in one transaction with what it writes.
RECORD_SCHEDULE_ACTION = """
-- record_schedule_action
INSERT INTO schedule_actions (actor, action, schedule, job_id) VALUES (%s, %s, %s, %s)
"""

# The newest of the window are one range of an index, of (job_type, created_at) where a type is
# asked for; those that run are few.
READ_HEALTH = """
-- read_health
WITH newest AS MATERIALIZED (
    SELECT job_type, status, failed_runs,
           CASE WHEN status = 'completed'
                THEN extract(epoch FROM completed_at - started_at)::float END AS seconds
      FROM job_executions
     WHERE created_at > now() - make_interval(secs => %(window_seconds)s) {and_type}
     ORDER BY created_at DESC
     LIMIT %(sample)s
), recent AS (
    SELECT job_type, status, count(*) AS jobs, sum(failed_runs) AS retried,
           avg(seconds) AS average_seconds,
           percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) AS p95_seconds
      FROM newest
     GROUP BY GROUPING SETS ((job_type, status), (status))
), stuck AS (
    SELECT job_type, count(*) AS jobs
      FROM job_executions
     WHERE status = 'processing'
       AND started_at < now() - make_interval(secs => %(stuck_seconds)s) {and_type}
     GROUP BY GROUPING SETS ((job_type), ())
), kinds AS (
    SELECT job_type FROM recent UNION SELECT job_type FROM stuck UNION SELECT NULL
)
SELECT kinds.job_type,
       coalesce(jsonb_object_agg(recent.status, recent.jobs)
                  FILTER (WHERE recent.status IS NOT NULL), '{{}}'),
       coalesce(sum(recent.retried), 0)::int,
       max(recent.average_seconds)::float,
       max(recent.p95_seconds)::float,
       coalesce(max(stuck.jobs), 0),
       (SELECT count(*) < %(sample)s FROM newest)
  FROM kinds
  LEFT JOIN recent ON recent.job_type IS NOT DISTINCT FROM kinds.job_type
  LEFT JOIN stuck ON stuck.job_type IS NOT DISTINCT FROM kinds.job_type
 GROUP BY kinds.job_type
 ORDER BY kinds.job_type NULLS FIRST
"""

# What is due, and what may have ended lately; the dashboard's statement begins with them too. By
# the index on (status, available_at). Nothing is indexed by its end, and what was created last is
# where to look for what ended last.
_WAITING_AND_ENDED = """
WITH waiting AS (
    (SELECT available_at FROM job_executions
      WHERE status = 'pending' AND available_at <= now()
        AND job_type <> ALL (ARRAY(SELECT job_type FROM job_type_states WHERE paused))
      ORDER BY available_at LIMIT %(cap)s)
    UNION ALL
    (SELECT available_at FROM job_executions
      WHERE status = 'retrying' AND available_at <= now()
        AND job_type <> ALL (ARRAY(SELECT job_type FROM job_type_states WHERE paused))
      ORDER BY available_at LIMIT %(cap)s)
), ended AS (
    (SELECT completed_at FROM job_executions
      WHERE status = 'completed' AND created_at > now() - interval '1 day'
      ORDER BY created_at DESC LIMIT %(ended_cap)s)
    UNION ALL
    (SELECT completed_at FROM job_executions
      WHERE status = 'failed' AND created_at > now() - interval '1 day'
      ORDER BY created_at DESC LIMIT %(ended_cap)s)
)"""

READ_QUEUE = f"""
-- read_queue
{_WAITING_AND_ENDED}
SELECT count(*), coalesce(extract(epoch FROM now() - min(available_at)), 0)::float,
       (SELECT count(*) FROM ended WHERE completed_at > now() - interval '1 hour')
  FROM waiting
"""

READ_RECENT = """
-- read_recent
WITH recent AS (
    SELECT job_type, status, created_at, failed_runs,
           CASE WHEN status = 'completed'
                THEN extract(epoch FROM completed_at - started_at)::float END AS seconds
      FROM job_executions
     WHERE created_at > now() - make_interval(secs => %(seconds)s)
     ORDER BY created_at DESC
     LIMIT %(sample)s
), reach AS (
    SELECT CASE WHEN count(*) < %(sample)s THEN now() - make_interval(secs => %(seconds)s)
                ELSE min(created_at) END AS since
      FROM recent
), grouped AS (
    SELECT job_type, count(*) AS total,
           count(*) FILTER (WHERE status = 'completed') AS completed,
           count(*) FILTER (WHERE status = 'failed') AS failed,
           count(*) FILTER (WHERE status = 'cancelled') AS cancelled,
           coalesce(sum(failed_runs), 0)::int AS retried,
           avg(seconds) AS average_seconds,
           percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY seconds) AS percentiles
      FROM recent
     GROUP BY GROUPING SETS ((job_type), ())
)
SELECT job_type, total, completed, failed, cancelled, retried, average_seconds,
       percentiles[1], percentiles[2], since,
       (extract(epoch FROM now() - since) / 60)::float
  FROM grouped CROSS JOIN reach
 ORDER BY job_type NULLS FIRST
"""

READ_WAITING = f"""
-- read_waiting
{_WAITING_AND_ENDED}, running AS (
    SELECT started_at FROM job_executions WHERE status = 'processing' LIMIT %(cap)s
)
SELECT count(*),
       count(*) >= %(cap)s,
       greatest(0, coalesce(extract(epoch FROM now() - min(available_at)), 0))::float,
       (SELECT count(*) FROM running),
       (SELECT count(*) FROM running
         WHERE started_at < now() - make_interval(secs => %(stuck_seconds)s)),
       (SELECT count(*) FROM (
           SELECT FROM job_executions
            WHERE published_at IS NULL AND status IN ('pending', 'retrying')
              AND job_type <> ALL (ARRAY(SELECT job_type FROM job_type_states WHERE paused))
              AND available_at < now() - interval '3 minutes' LIMIT %(ended_cap)s) AS late),
       EXISTS (SELECT FROM ended WHERE completed_at > now() - interval '1 hour')
  FROM waiting
"""

# What is due later: by the index on (status, available_at), up to the cap.
READ_UPCOMING = """
-- read_upcoming
SELECT scheduled.jobs, scheduled.next,
       (SELECT min(available_at) FROM job_executions
         WHERE status = 'retrying' AND available_at > now())
  FROM (SELECT count(*) AS jobs, min(available_at) AS next
          FROM (SELECT available_at FROM job_executions
                 WHERE status = 'pending' AND available_at > now()
                 ORDER BY available_at LIMIT %(cap)s + 1) AS found) AS scheduled
"""

# Where there are more than the cap, the planner's statistics say about how many.
READ_STATUSES = """
-- read_statuses
WITH frequencies AS (
    SELECT value AS status, frequency * (SELECT reltuples FROM pg_class
                                          WHERE oid = 'job_executions'::regclass) AS jobs
      FROM pg_stats, unnest(most_common_vals::text::text[], most_common_freqs)
             AS common (value, frequency)
     WHERE schemaname = current_schema() AND tablename = 'job_executions' AND attname = 'status'
)
SELECT status, counted.jobs, coalesce(frequencies.jobs, 0)::bigint
  FROM unnest(%(statuses)s::text[]) AS status
  CROSS JOIN LATERAL (
      SELECT count(*) AS jobs FROM (
          SELECT FROM job_executions AS job WHERE job.status = status.status LIMIT %(cap)s + 1
      ) AS found
  ) AS counted
  LEFT JOIN frequencies USING (status)
"""

ESTIMATE_DAY = """
-- estimate_day
EXPLAIN (FORMAT JSON)
SELECT FROM job_executions WHERE created_at > now() - make_interval(hours => %(hours)s)
"""

# A slice of ten minutes is one short range of the index on (status, created_at), and is read from
# there alone; a part of each is as good as a sample of the day. What failed and was retried since
# has an index of its own.
READ_SERIES = """
-- read_series
WITH slices AS (
    SELECT start, start + interval '10 minutes' * %(part)s AS stop,
           date_trunc('hour', start) AS hour
      FROM generate_series(date_trunc('hour', now()) - make_interval(hours => %(hours)s - 1),
                           now(), interval '10 minutes') AS start
), retried AS (
    SELECT date_trunc('hour', created_at) AS hour, sum(failed_runs)::int AS runs
      FROM (SELECT created_at, failed_runs FROM job_executions
             WHERE failed_runs > 0
               AND created_at >= date_trunc('hour', now()) - make_interval(hours => %(hours)s - 1)
             ORDER BY created_at DESC LIMIT %(rows)s) AS newest
     GROUP BY 1
)
SELECT hour,
       round(sum(jobs) FILTER (WHERE status = 'completed') / %(part)s)::int,
       round(sum(jobs) FILTER (WHERE status = 'failed') / %(part)s)::int
         + coalesce(max(retried.runs), 0),
       round(sum(jobs) FILTER (WHERE status = 'cancelled') / %(part)s)::int
  FROM slices
  CROSS JOIN unnest(%(statuses)s::text[]) AS status
  CROSS JOIN LATERAL (
      SELECT count(*) AS jobs FROM job_executions AS job
       WHERE job.status = status.status AND job.created_at >= start AND job.created_at < stop
  ) AS counted
  LEFT JOIN retried USING (hour)
 GROUP BY hour
 ORDER BY hour
"""

# The newest of each ten minutes, by the index on (status, created_at): a fair sample of the hour,
# and all of it on a quiet day.
READ_DURATIONS = """
-- read_durations
WITH slices AS (
    SELECT start, start + interval '10 minutes' AS stop, date_trunc('hour', start) AS hour
      FROM generate_series(date_trunc('hour', now()) - make_interval(hours => %(hours)s - 1),
                           now(), interval '10 minutes') AS start
), sampled AS (
    SELECT hour,
           percentile_cont(ARRAY[0.5, 0.95]) WITHIN GROUP (ORDER BY seconds) AS percentiles
      FROM slices
      LEFT JOIN LATERAL (
          SELECT extract(epoch FROM completed_at - started_at)::float AS seconds
            FROM job_executions
           WHERE status = 'completed' AND created_at >= start AND created_at < stop
           ORDER BY created_at DESC
           LIMIT %(part)s
      ) AS newest ON true
     GROUP BY hour
)
SELECT hour, percentiles[1], percentiles[2] FROM sampled ORDER BY hour
"""

READ_TYPE_DAY = """
-- read_type_day
WITH recent AS (
    SELECT status, created_at, failed_runs,
           extract(epoch FROM completed_at - started_at)::float AS seconds
      FROM job_executions
     WHERE job_type = %(job_type)s AND created_at > now() - make_interval(hours => %(hours)s)
     ORDER BY created_at DESC
     LIMIT %(sample)s
)
SELECT date_trunc('hour', created_at) AS hour, date_trunc('hour', now()), now(), count(*),
       count(*) FILTER (WHERE status = 'completed'),
       count(*) FILTER (WHERE status = 'failed'),
       count(*) FILTER (WHERE status = 'cancelled'),
       coalesce(sum(failed_runs), 0)::int,
       avg(seconds) FILTER (WHERE status = 'completed'),
       percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE status = 'completed'),
       percentile_cont(0.95) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE status = 'completed'),
       CASE WHEN count(*) < %(sample)s THEN now() - make_interval(hours => %(hours)s)
            ELSE min(created_at) END
  FROM recent
 GROUP BY GROUPING SETS ((date_trunc('hour', created_at)), ())
 ORDER BY hour NULLS FIRST
"""

# Those of each status that are or were due first, up to the cap, and those of the type among them.
READ_TYPE_WAITING = """
-- read_type_waiting
WITH found AS (
    (SELECT status, job_type FROM job_executions WHERE status = 'pending'
      ORDER BY available_at LIMIT %(cap)s)
    UNION ALL
    (SELECT status, job_type FROM job_executions WHERE status = 'retrying'
      ORDER BY available_at LIMIT %(cap)s)
    UNION ALL
    (SELECT status, job_type FROM job_executions WHERE status = 'processing'
      ORDER BY available_at LIMIT %(cap)s)
)
SELECT status, count(*) FILTER (WHERE job_type = %(job_type)s), count(*) >= %(cap)s
  FROM unnest(ARRAY['pending', 'retrying', 'processing']) AS status
  LEFT JOIN found USING (status)
 GROUP BY status
"""

# Those that are failed, and the failed runs of those that were retried since, from what was done.
READ_FAILING = """
-- read_failing
WITH found AS (
    (SELECT job_id, job_type, left(error, 4000) AS error, created_at,
            coalesce(completed_at, created_at) AS ended_at, false AS retried
       FROM job_executions
      WHERE status = 'failed' AND created_at > now() - interval '1 day'
        AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s)
      ORDER BY created_at DESC
      LIMIT %(sample)s)
    UNION ALL
    (SELECT job_id, job_type, left(action.before ->> 'error', 4000), job.created_at,
            coalesce((action.before ->> 'completedAt')::timestamptz, job.created_at), true
       FROM (SELECT job_id, job_type, created_at FROM job_executions
              WHERE failed_runs > 0 AND created_at > now() - interval '1 day'
                AND (%(job_type)s::text IS NULL OR job_type = %(job_type)s)
              ORDER BY created_at DESC
              LIMIT %(sample)s) AS job
       JOIN job_actions AS action USING (job_id)
      WHERE action.action = 'retry' AND action.before ->> 'status' = 'failed')
), recent AS (
    SELECT *, left(split_part(error, ':', 1), 80) AS kind FROM found
)
SELECT job_type, coalesce(kind, ''), count(*), count(*) FILTER (WHERE retried), max(ended_at),
       coalesce((array_agg(error ORDER BY created_at DESC))[1], ''),
       (array_agg(job_id ORDER BY created_at DESC))[1]
  FROM recent
 GROUP BY job_type, kind
 ORDER BY count(*) DESC, max(ended_at) DESC
 LIMIT %(limit)s
"""

READ_TYPE_SERIES = """
-- read_type_series
WITH recent AS (
    SELECT job_type, status, created_at, failed_runs FROM job_executions
     WHERE created_at > now() - interval '1 day'
     ORDER BY created_at DESC
     LIMIT %(sample)s
)
SELECT job_type, floor(extract(epoch FROM now() - created_at) / 3600)::int, count(*),
       count(*) FILTER (WHERE status = 'failed' OR failed_runs > 0)
  FROM recent GROUP BY 1, 2
"""

COUNT_UP_TO = """
-- count_up_to
SELECT count(*) FROM (
    SELECT FROM job_executions WHERE {conditions} AND status = ANY(%(statuses)s) LIMIT %(limit)s
) AS found
"""

# Looking up, counting and writing down is one round trip. Who is not known gets no row, or a
# stranger could fill the table: a line of the log and a count do (`count_unknown`).
AUTHORIZE = """
-- authorize
WITH known AS (
    SELECT name, scopes, per_minute FROM access_tokens
     WHERE token_hash = %(token_hash)s AND revoked_at IS NULL
       AND (expires_at IS NULL OR expires_at > now())
    UNION ALL
    SELECT 'admin', ARRAY['enqueue', 'read', 'operate'], %(admin_per_minute)s
     WHERE %(is_admin)s
), counted AS (
    INSERT INTO access_rates AS rate (name, minute, used)
    SELECT name, date_trunc('minute', now()), 1 FROM known
    ON CONFLICT (name) DO UPDATE
       SET minute = EXCLUDED.minute,
           used = CASE WHEN rate.minute = EXCLUDED.minute THEN rate.used + 1 ELSE 1 END
    RETURNING used
), decided AS (
    SELECT CASE WHEN known.name IS NULL THEN 'unknown'
                WHEN counted.used > known.per_minute THEN 'limited'
                WHEN NOT %(scope)s = ANY(known.scopes)
                 AND NOT (%(or_of_a_type)s AND EXISTS (
                       SELECT FROM unnest(known.scopes) AS own
                        WHERE starts_with(own, %(scope)s || ':'))) THEN 'forbidden'
                ELSE 'allowed' END AS outcome,
           known.name AS actor,
           greatest(0, coalesce(known.per_minute - counted.used, 0)) AS remaining,
           coalesce(known.scopes, '{}') AS scopes
      FROM (SELECT) AS always LEFT JOIN known ON true LEFT JOIN counted ON true
), logged AS (
    INSERT INTO access_log (actor, method, path, outcome, source_ip, request_id)
    SELECT actor, %(method)s, %(path)s, outcome, %(source_ip)s, %(request_id)s FROM decided
     WHERE actor IS NOT NULL
)
SELECT outcome, actor, remaining,
       ceil(extract(epoch FROM date_trunc('minute', now()) + interval '1 minute' - now()))::int,
       scopes
  FROM decided
"""

CREATE_TOKEN = """
-- create_token
WITH made AS (
    INSERT INTO access_tokens (name, token_hash, scopes, per_minute, expires_at)
    VALUES (%s, %s, %s, %s, %s)
    ON CONFLICT (name) DO NOTHING
    RETURNING name, scopes)
INSERT INTO token_actions (actor, action, token, scopes)
SELECT %s, 'make token', name, scopes FROM made
RETURNING token
"""

REVOKE_TOKEN = """
-- revoke_token
WITH revoked AS (
    UPDATE access_tokens SET revoked_at = now()
     WHERE name = %s AND revoked_at IS NULL
    RETURNING name, scopes)
INSERT INTO token_actions (actor, action, token, scopes)
SELECT %s, 'revoke token', name, scopes FROM revoked
RETURNING token
"""

LIST_TOKENS = """
-- list_tokens
SELECT name, scopes, per_minute, created_at, expires_at, revoked_at
  FROM access_tokens ORDER BY created_at
"""
