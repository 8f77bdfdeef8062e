-- retry, as release 0.1.0 calls it.
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
       SET status = 'pending', run = job.run + 1, error = NULL, result = NULL, progress = NULL,
           payload = coalesce(%(payload)s, job.payload), dlq_id = NULL, completed_at = NULL,
           published_at = NULL, message_id = NULL, available_at = now(), updated_at = now(),
           attempts_before_run = found.attempt,
           max_attempts = found.attempt + found.max_attempts - found.attempts_before_run
      FROM found
     WHERE job.job_id = found.job_id
    RETURNING job.job_id, job.job_type, job.run, job.attempt, job.max_attempts, job.available_at,
              job.delivery, found.before
)
, action AS (
    INSERT INTO job_actions (actor, action, job_id, before)
    SELECT %(actor)s, %(action)s, job_id, before FROM changed
)

SELECT job_id, job_type, run, attempt, max_attempts, available_at, delivery FROM changed
