"""What the contenders claim and complete with; `UPSERT` also takes a job that has no row."""

CLAIM = """
UPDATE job_executions SET status = 'processing', attempt = attempt + 1, started_at = now(),
       lease_expires_at = now() + interval '40 s', updated_at = now()
 WHERE job_id = %s AND status IN ('pending', 'retrying')
RETURNING payload, attempt
"""
COMPLETE = """
UPDATE job_executions SET status = 'completed', result = %s, lease_expires_at = NULL,
       completed_at = now(), updated_at = now()
 WHERE job_id = %s AND attempt = %s AND status = 'processing'
"""
UPSERT = """
INSERT INTO job_executions (job_id, job_type, status, payload, max_attempts, attempt, started_at,
                            lease_expires_at)
VALUES (%s, %s, 'processing', %s, 4, 1, now(), now() + interval '40 s')
ON CONFLICT (job_id) DO UPDATE
   SET status = 'processing', attempt = job_executions.attempt + 1, started_at = now(),
       lease_expires_at = now() + interval '40 s', updated_at = now()
 WHERE job_executions.status IN ('pending', 'retrying')
RETURNING attempt
"""
COMPLETE_UNFENCED = """
UPDATE job_executions SET status = 'completed', result = %s, completed_at = now(),
       lease_expires_at = NULL, updated_at = now()
 WHERE job_id = %s
"""
