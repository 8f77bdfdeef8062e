-- Note why QStash takes no message of a job that waits; it has failed when that has been so for the
-- patience since it was due.
CREATE OR REPLACE FUNCTION stashjobs.record_refused(
    job_id text, reason text, patience_seconds float8
)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    UPDATE job_executions AS job
       SET error = reason, updated_at = moment,
           status = CASE WHEN is_over THEN 'failed' ELSE job.status END,
           completed_at = CASE WHEN is_over THEN moment END
      FROM (SELECT greatest(found.available_at, found.created_at)
                     < moment - make_interval(secs => patience_seconds) AS is_over
              FROM job_executions AS found WHERE found.job_id = record_refused.job_id) AS judged
     WHERE job.job_id = record_refused.job_id
       AND CASE WHEN job.status IN ('pending', 'retrying') THEN true END;
    PERFORM stashjobs.release_children(ARRAY[record_refused.job_id]);
END
$$;
