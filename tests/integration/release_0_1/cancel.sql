-- cancel, as release 0.1.0 calls it.
WITH found AS (
    SELECT job_id, message_id, attempt, max_attempts, attempts_before_run,
           jsonb_build_object('jobType', job_type, 'status', status, 'error', error,
                              'result', result,
                              'completedAt', completed_at, 'publishedAt', published_at,
                              'dlqId', dlq_id) AS before
      FROM job_executions
     WHERE job_id = ANY(%(job_ids)s) AND status = ANY(%(statuses)s)
     ORDER BY job_id
       FOR UPDATE
), changed AS (

    UPDATE job_executions AS job
       SET status = 'cancelled', error = 'cancelled by ' || %(actor)s, completed_at = now(),
           updated_at = now()
      FROM found
     WHERE job.job_id = found.job_id
    RETURNING job.job_id, found.message_id, found.before
)
, action AS (
    INSERT INTO job_actions (actor, action, job_id, before)
    SELECT %(actor)s, %(action)s, job_id, before FROM changed
)

SELECT job_id, message_id FROM changed
