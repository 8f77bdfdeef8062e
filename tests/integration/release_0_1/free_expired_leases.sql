-- free_expired_leases, as release 0.1.0 calls it.
UPDATE job_executions AS job
   SET status = CASE WHEN attempt >= max_attempts THEN 'failed' ELSE 'retrying' END,
       error = 'LeaseExpired: the attempt ended without a word',
       errors = errors || jsonb_build_object(
                  'attempt', attempt, 'type', 'LeaseExpired',
                  'message', 'the attempt ended without a word',
                  'startedAt', started_at, 'endedAt', lease_expires_at),
       lease_expires_at = NULL, published_at = NULL, updated_at = now(), available_at = now(),
       completed_at = CASE WHEN attempt >= max_attempts THEN now() END
 WHERE job_id IN (SELECT job_id FROM job_executions
                   WHERE status = 'processing' AND lease_expires_at <= now()
                   ORDER BY lease_expires_at LIMIT %s
                     FOR UPDATE SKIP LOCKED)
   AND status = 'processing'
RETURNING job_id, job_type, status
