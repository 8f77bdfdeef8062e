-- Cancel jobs that did not begin. Returns those it changed, with the message that QStash still has.
-- What waits for them is cancelled or released.
CREATE OR REPLACE FUNCTION stashjobs.cancel(job_ids text[], actor text)
RETURNS TABLE (job_id text, message_id text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    WITH found AS (
        SELECT job.job_id, job.message_id,
               jsonb_build_object('jobType', job.job_type, 'status', job.status,
                                  'error', job.error, 'result', job.result,
                                  'completedAt', job.completed_at,
                                  'publishedAt', job.published_at, 'dlqId', job.dlq_id) AS before
          FROM job_executions AS job
         WHERE job.job_id = ANY(job_ids)
           AND CASE WHEN job.status IN ('waiting', 'pending', 'retrying') THEN true END
         ORDER BY job.job_id
           FOR UPDATE
    ), changed AS (
        UPDATE job_executions AS job
           SET status = 'cancelled', error = 'cancelled by ' || cancel.actor,
               completed_at = moment, updated_at = moment
          FROM found
         WHERE job.job_id = found.job_id
        RETURNING job.job_id, found.message_id, found.before
    ), action AS (
        INSERT INTO job_actions (actor, action, job_id, before, at)
        SELECT cancel.actor, 'cancel', changed.job_id, changed.before, moment FROM changed
    )
    SELECT changed.job_id, changed.message_id FROM changed;
    PERFORM stashjobs.release_children(cancel.job_ids);
END
$$;
