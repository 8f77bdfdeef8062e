-- fail, as release 0.1.0 calls it.
WITH recorded AS (
UPDATE job_executions
   SET status = %(status)s, error = %(error)s, lease_expires_at = NULL, updated_at = now(),
       completed_at = CASE WHEN %(status)s <> 'retrying' THEN now() END,
       -- QStash gave up on the message while the attempt ran: the relay sends another.
       published_at = CASE WHEN %(status)s = 'retrying' AND dlq_id IS NOT NULL THEN NULL
                           ELSE published_at END,
       -- QStash's patience (`publications`) begins anew with an attempt that ran.
       available_at = CASE WHEN %(status)s = 'retrying' AND %(uncounted)s = 0
                           THEN now() + make_interval(secs => %(wait_seconds)s)
                           ELSE available_at END,
       -- An attempt that ran nothing moves the window of attempts along with it.
       max_attempts = max_attempts + %(uncounted)s,
       attempts_before_run = attempts_before_run + %(uncounted)s,
       errors = errors || jsonb_build_array(%(details)s::jsonb || jsonb_build_object(
                  'attempt', attempt, 'startedAt', started_at, 'endedAt', now()))
 WHERE job_id = %(job_id)s AND attempt = %(attempt)s AND status = 'processing'
RETURNING true AS held, status, attempt
)
SELECT * FROM recorded
UNION ALL
SELECT false, status, attempt FROM job_executions
 WHERE job_id = %(job_id)s AND NOT EXISTS (SELECT FROM recorded)
