-- take_unpublished, as release 0.1.0 calls it.
SELECT job_id, job_type, run, attempt, max_attempts, available_at, delivery, dlq_id
  FROM job_executions
 WHERE published_at IS NULL AND status IN ('pending', 'retrying')
   AND job_type = ANY(%(job_types)s)
   AND created_at <= now() - make_interval(secs => %(quiet_seconds)s)
   AND available_at <= now() + make_interval(secs => %(horizon_seconds)s)
   AND (available_at, job_id) > (%(after_time)s, %(after_id)s)
 ORDER BY available_at, job_id
 LIMIT %(limit)s
   FOR UPDATE SKIP LOCKED
