-- complete, as release 0.1.0 calls it.
WITH recorded AS (
UPDATE job_executions
   SET status = 'completed', result = %(result)s, error = NULL, lease_expires_at = NULL,
       completed_at = now(), updated_at = now()
 WHERE job_id = %(job_id)s AND attempt = %(attempt)s AND status = 'processing'
RETURNING true AS held, status, attempt
)
SELECT * FROM recorded
UNION ALL
SELECT false, status, attempt FROM job_executions
 WHERE job_id = %(job_id)s AND NOT EXISTS (SELECT FROM recorded)
