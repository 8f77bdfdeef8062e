-- Ask for a running job to be cancelled: its attempt hears of it with its next sign of life, and
-- unless it completes it is the last. False: it does not run.
CREATE OR REPLACE FUNCTION stashjobs.cancel_running(job_id text, actor text)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    UPDATE job_executions AS job SET cancel_requested_by = cancel_running.actor, updated_at = moment
     WHERE job.job_id = cancel_running.job_id AND job.status = 'processing';
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO job_actions (actor, action, job_id, before, at)
    SELECT cancel_running.actor, 'cancel', job.job_id,
           jsonb_build_object('jobType', job.job_type, 'status', job.status), moment
      FROM job_executions AS job WHERE job.job_id = cancel_running.job_id;
    RETURN true;
END
$$;
