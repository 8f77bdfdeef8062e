-- Have jobs that have ended run again, from their first attempt, with their history kept: what a job
-- was before is kept with the action, since this clears it from the row. Returns those it changed. A job
-- that still waits for others waits for these again.
-- Kept steps stay where the job had not completed and keeps its payload; with `from_step`, those before
-- the first step of that name, and a job that has none of that name is not changed.
CREATE OR REPLACE FUNCTION stashjobs.retry(
    job_ids text[], actor text, payload jsonb DEFAULT NULL, from_step text DEFAULT NULL
)
RETURNS TABLE (
    job_id text, job_type text, run integer, attempt integer, max_attempts integer,
    available_at timestamptz, delivery jsonb, dlq_id_before text
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH found AS (
        SELECT job.job_id, job.attempt, job.max_attempts, job.attempts_before_run,
               jsonb_build_object('jobType', job.job_type, 'status', job.status,
                                  'error', job.error, 'result', job.result,
                                  'completedAt', job.completed_at,
                                  'publishedAt', job.published_at, 'dlqId', job.dlq_id)
               -- What an edit replaces; of an encrypted payload its hash alone.
               || CASE WHEN retry.payload IS NULL THEN '{}'
                       ELSE jsonb_build_object('payloadHash',
                              encode(sha256(convert_to(job.payload::text, 'UTF8')), 'hex'))
                            || CASE WHEN job.payload -> '$sealed' IS NOT NULL THEN '{}'
                                    ELSE jsonb_build_object('payload', job.payload) END
                  END AS before,
               CASE WHEN from_step IS NOT NULL
                    THEN (SELECT min(step.position) FROM job_steps AS step
                           WHERE step.job_id = job.job_id AND step.name = from_step)
                    WHEN retry.payload IS NOT NULL OR job.status = 'completed' THEN 1
                    END AS first_dropped
          FROM job_executions AS job
         WHERE job.job_id = ANY(job_ids)
           AND (from_step IS NULL
                OR EXISTS (SELECT FROM job_steps AS step
                            WHERE step.job_id = job.job_id AND step.name = from_step))
           AND CASE WHEN job.status IN ('completed', 'failed', 'cancelled') THEN true END
         ORDER BY job.job_id
           FOR UPDATE
    ), dropped AS (
        DELETE FROM job_steps AS step USING found
         WHERE step.job_id = found.job_id AND step.position >= found.first_dropped
        RETURNING step.job_id,
                  jsonb_build_object('position', step.position, 'name', step.name,
                                     'attempt', step.attempt, 'startedAt', step.started_at,
                                     'endedAt', step.ended_at) AS step
    ), changed AS (
        UPDATE job_executions AS job
           SET status = 'pending', run = job.run + 1,
               failed_runs = job.failed_runs + CASE WHEN job.status = 'failed' THEN 1 ELSE 0 END,
               error = NULL, result = NULL,
               progress = NULL, payload = coalesce(retry.payload, job.payload), dlq_id = NULL,
               completed_at = NULL, published_at = NULL, message_id = NULL, snoozes = 0,
               backoff = false, cancel_requested_by = NULL, expires_at = NULL,
               available_at = moment, updated_at = moment, attempts_before_run = found.attempt,
               max_attempts = found.attempt + found.max_attempts - found.attempts_before_run
          FROM found
         WHERE job.job_id = found.job_id
        RETURNING job.job_id, job.job_type, job.run, job.attempt, job.max_attempts,
                  job.available_at, job.delivery, found.before
    ), action AS (
        INSERT INTO job_actions (actor, action, job_id, before, at)
        SELECT retry.actor, 'retry', changed.job_id,
               CASE WHEN steps.them IS NULL THEN changed.before
                    ELSE changed.before || jsonb_build_object('steps', steps.them) END,
               moment
          FROM changed
          LEFT JOIN (SELECT dropped.job_id,
                            jsonb_agg(dropped.step ORDER BY dropped.step -> 'position') AS them
                       FROM dropped GROUP BY dropped.job_id) AS steps
                 ON steps.job_id = changed.job_id
    )
    SELECT changed.job_id, changed.job_type, changed.run, changed.attempt, changed.max_attempts,
           changed.available_at, changed.delivery, changed.before ->> 'dlqId'
      FROM changed;
    IF EXISTS (SELECT FROM job_dependencies AS link WHERE link.parent_id = ANY(retry.job_ids)) THEN
        PERFORM FROM job_executions AS job
          WHERE CASE WHEN job.status = 'waiting' THEN true END
            AND job.job_id IN (SELECT link.job_id FROM job_dependencies AS link
                                WHERE link.parent_id = ANY(retry.job_ids))
          ORDER BY job.job_id FOR UPDATE;
        UPDATE job_dependencies AS link SET open = true
          FROM job_executions AS parent, job_executions AS child
         WHERE link.parent_id = ANY(retry.job_ids) AND NOT link.open
           AND parent.job_id = link.parent_id
           AND CASE WHEN parent.status = 'pending' THEN true END
           AND child.job_id = link.job_id AND CASE WHEN child.status = 'waiting' THEN true END;
    END IF;
END
$$;
