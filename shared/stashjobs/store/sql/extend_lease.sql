-- Extend an attempt's lease and note how far it is. False: it no longer holds the job.
CREATE OR REPLACE FUNCTION stashjobs.extend_lease(
    job_id text, attempt integer, lease_seconds float8, progress jsonb DEFAULT NULL
)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    UPDATE job_executions AS job
       SET progress = coalesce(extend_lease.progress, job.progress), updated_at = moment,
           lease_expires_at = moment + make_interval(secs => lease_seconds)
     WHERE job.job_id = extend_lease.job_id
       AND CASE WHEN job.attempt = extend_lease.attempt THEN job.status = 'processing' END;
    RETURN FOUND;
END
$$;
