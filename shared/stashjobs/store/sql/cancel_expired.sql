-- Cancel jobs that wait although their time to begin is over, at most so many, with what waits for
-- them; those that another session has in hand are passed over. Returns them, with the message that
-- QStash still has.
CREATE OR REPLACE FUNCTION stashjobs.cancel_expired(max_jobs integer)
RETURNS TABLE (job_id text, job_type text, message_id text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    ids text[];
    types text[];
    messages text[];
BEGIN
    WITH cancelled AS (
        UPDATE job_executions AS job
           SET status = 'cancelled', error = stashjobs.expired(job.expires_at),
               completed_at = moment, updated_at = moment
         WHERE job.job_id IN (SELECT late.job_id FROM job_executions AS late
                               WHERE late.expires_at <= moment AND late.expires_at IS NOT NULL
                                 AND late.status IN ('waiting', 'pending', 'retrying')
                               ORDER BY late.expires_at LIMIT max_jobs
                                 FOR UPDATE SKIP LOCKED)
           AND CASE WHEN job.status IN ('waiting', 'pending', 'retrying') THEN true END
        RETURNING job.job_id, job.job_type, job.message_id
    )
    SELECT array_agg(cancelled.job_id), array_agg(cancelled.job_type),
           array_agg(cancelled.message_id)
      INTO ids, types, messages FROM cancelled;
    PERFORM stashjobs.release_children(ids);
    RETURN QUERY SELECT * FROM unnest(ids, types, messages);
END
$$;
