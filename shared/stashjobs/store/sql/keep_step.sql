-- Keep the result of a step that took so many seconds, if the attempt still holds the job; extend its
-- lease and note how far it is. To ask again, after a lost answer, changes nothing.
CREATE OR REPLACE FUNCTION stashjobs.keep_step(
    job_id text, attempt integer, number integer, name text, result jsonb,
    seconds float8, lease_seconds float8
)
RETURNS TABLE (held boolean, cancelled_by text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    UPDATE job_executions AS job
       SET updated_at = moment,
           lease_expires_at = moment + make_interval(secs => lease_seconds),
           progress = CASE WHEN jsonb_typeof(job.progress) = 'object' THEN job.progress
                           ELSE '{}' END
                      || jsonb_build_object('step', keep_step.name, 'steps', keep_step.number)
     WHERE job.job_id = keep_step.job_id
       AND CASE WHEN job.attempt = keep_step.attempt THEN job.status = 'processing' END
    RETURNING true, job.cancel_requested_by INTO held, cancelled_by;
    IF FOUND THEN
        INSERT INTO job_steps (job_id, position, name, result, attempt, started_at, ended_at)
        VALUES (keep_step.job_id, keep_step.number, keep_step.name, keep_step.result,
                keep_step.attempt, moment - make_interval(secs => keep_step.seconds), moment)
            ON CONFLICT ON CONSTRAINT job_steps_pkey DO NOTHING;
    ELSE
        held := false;
    END IF;
    RETURN NEXT;
END
$$;
