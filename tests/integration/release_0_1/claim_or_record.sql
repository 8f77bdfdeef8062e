-- claim_or_record, as release 0.1.0 calls it.
WITH claimed AS (
    INSERT INTO job_executions AS job
           (job_id, job_type, status, payload, attempt, max_attempts, user_id, organization_id,
            idempotency_key, metadata, message_id, schedule_id, published_at, started_at,
            lease_expires_at)
    VALUES (%(job_id)s, %(job_type)s, 'processing', %(payload)s, 1, %(max_attempts)s,
            %(user_id)s, %(organization_id)s, %(idempotency_key)s, %(metadata)s, %(message_id)s,
            %(schedule_id)s, CASE WHEN %(message_id)s::text IS NOT NULL THEN now() END, now(),
            now() + make_interval(secs => %(lease_seconds)s))
    ON CONFLICT (job_id) DO UPDATE SET
       status = CASE WHEN job.attempt >= job.max_attempts THEN 'failed' ELSE 'processing' END,
       attempt = CASE WHEN job.attempt >= job.max_attempts THEN job.attempt
                      ELSE job.attempt + 1 END,
       error = CASE WHEN job.attempt >= job.max_attempts
                    THEN 'LeaseExpired: the attempt ended without a word'
                    ELSE job.error END,
       errors = CASE WHEN job.status <> 'processing' THEN job.errors
                     ELSE job.errors || jsonb_build_object(
                            'attempt', job.attempt, 'type', 'LeaseExpired',
                            'message', 'the attempt ended without a word',
                            'startedAt', job.started_at, 'endedAt', job.lease_expires_at) END,
       started_at = CASE WHEN job.attempt >= job.max_attempts THEN job.started_at
                         ELSE now() END,
       lease_expires_at = CASE WHEN job.attempt >= job.max_attempts THEN NULL
                               ELSE now() + make_interval(secs => %(lease_seconds)s) END,
       completed_at = CASE WHEN job.attempt >= job.max_attempts THEN now() END,
       published_at = CASE WHEN %(message_id)s::text IS NULL THEN job.published_at
                           ELSE coalesce(job.published_at, now()) END,
       message_id = coalesce(%(message_id)s, job.message_id),
       dlq_id = CASE WHEN %(message_id)s::text <> job.message_id THEN NULL ELSE job.dlq_id END,
       schedule_id = coalesce(%(schedule_id)s, job.schedule_id),
       updated_at = now()
 WHERE (job.status IN ('pending', 'retrying')
        OR (job.status = 'processing' AND job.lease_expires_at <= now()))
   AND job.job_type = %(job_type)s

RETURNING job.status = 'processing' AS held, job.status, job.job_type, job.attempt,
          job.max_attempts, job.run, job.payload, job.user_id, job.organization_id, job.error,
          NULL::float AS wait
)
SELECT * FROM claimed
UNION ALL
SELECT false, status, job_type, attempt, max_attempts, run, NULL, NULL, NULL, error,
       extract(epoch FROM lease_expires_at - now())::float
  FROM job_executions
 WHERE job_id = %(job_id)s AND NOT EXISTS (SELECT FROM claimed)
