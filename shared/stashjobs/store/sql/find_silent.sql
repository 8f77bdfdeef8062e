-- Waiting jobs whose message was published and of which nothing was heard for long. Mostly they wait
-- for QStash's own next try. The index is on the later of two times, so that jobs which are not due
-- for days are not looked at every minute.
CREATE OR REPLACE FUNCTION stashjobs.find_silent(seconds float8, max_jobs integer)
RETURNS TABLE (job_id text, message_id text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    SELECT job.job_id, job.message_id
      FROM job_executions AS job
     WHERE job.status IN ('pending', 'retrying') AND job.published_at IS NOT NULL
       AND job.message_id IS NOT NULL
       AND greatest(job.published_at, job.available_at) < moment - make_interval(secs => seconds)
       AND job.updated_at < moment - make_interval(secs => seconds)
     ORDER BY greatest(job.published_at, job.available_at), job.job_id
     LIMIT max_jobs;
END
$$;
