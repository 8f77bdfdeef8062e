-- Lock the oldest jobs whose message is to be published, for this transaction. Those that another
-- relay has in hand are passed over. `after_time` and `after_id` let a relay that could not publish
-- some go on behind them. The index has the order of one type.
CREATE OR REPLACE FUNCTION stashjobs.take_unpublished(
    job_types text[], max_jobs integer, quiet_seconds float8, horizon_seconds float8,
    after_time timestamptz DEFAULT '-infinity', after_id text DEFAULT ''
)
RETURNS TABLE (
    job_id text, job_type text, run integer, attempt integer, max_attempts integer,
    available_at timestamptz, delivery jsonb, dlq_id text, moved integer
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    SELECT oldest.*
      FROM unnest(job_types) AS wanted (type)
     CROSS JOIN LATERAL (
           SELECT job.job_id, job.job_type, job.run, job.attempt, job.max_attempts,
                  job.available_at, job.delivery, job.dlq_id, job.moved
             FROM job_executions AS job
            WHERE job.published_at IS NULL AND job.status IN ('pending', 'retrying')
              AND job.job_type = wanted.type
              AND NOT EXISTS (SELECT FROM job_type_states AS state
                               WHERE state.job_type = wanted.type AND state.paused)
              AND job.created_at <= moment - make_interval(secs => quiet_seconds)
              AND job.available_at <= moment + make_interval(secs => horizon_seconds)
              AND (job.available_at, job.job_id) > (after_time, after_id)
            ORDER BY job.available_at, job.job_id
            LIMIT max_jobs
              FOR UPDATE SKIP LOCKED) AS oldest
     ORDER BY oldest.available_at, oldest.job_id
     LIMIT max_jobs;
END
$$;
