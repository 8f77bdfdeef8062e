-- extend_lease, as release 0.1.0 calls it.
UPDATE job_executions
   SET progress = coalesce(%(progress)s, progress), updated_at = now(),
       lease_expires_at = now() + make_interval(secs => %(lease_seconds)s)
 WHERE job_id = %(job_id)s AND attempt = %(attempt)s AND status = 'processing'
RETURNING true
