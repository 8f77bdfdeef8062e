-- Delete jobs that wait, as if they had never been enqueued; what was done stays in `job_actions`. Returns
-- those it deleted, with the message that QStash still has. What waits for them is cancelled or released.
CREATE OR REPLACE FUNCTION stashjobs.delete_waiting(job_ids text[], actor text)
RETURNS TABLE (job_id text, message_id text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    deleted text[];
    messages text[];
BEGIN
    WITH found AS (
        SELECT job.job_id FROM job_executions AS job
         WHERE job.job_id = ANY(job_ids)
           AND CASE WHEN job.status IN ('waiting', 'pending', 'retrying') THEN true END
         ORDER BY job.job_id
           FOR UPDATE
    ), gone AS (
        DELETE FROM job_executions AS job USING found WHERE job.job_id = found.job_id
        RETURNING job.job_id, job.message_id,
                  jsonb_build_object('jobType', job.job_type, 'status', job.status,
                                     'error', job.error, 'availableAt', job.available_at,
                                     'userId', job.user_id,
                                     'organizationId', job.organization_id) AS before
    ), links AS (
        DELETE FROM job_dependencies AS link USING gone WHERE link.job_id = gone.job_id
    ), done AS (
        INSERT INTO job_actions (actor, action, job_id, before, at)
        SELECT delete_waiting.actor, 'delete', gone.job_id, gone.before, moment FROM gone
    )
    SELECT array_agg(gone.job_id), array_agg(gone.message_id) INTO deleted, messages FROM gone;
    PERFORM stashjobs.release_children(deleted);
    RETURN QUERY SELECT * FROM unnest(deleted, messages);
END
$$;
