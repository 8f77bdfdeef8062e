-- Look at jobs that have been waiting for long, and release those whose parents have all ended, or
-- are gone, without having released them. It is a net: a parent was deleted, say.
-- Returns how many were released or cancelled.
CREATE OR REPLACE FUNCTION stashjobs.release_overlooked(quiet_seconds float8, max_jobs integer)
RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    looked text[];
    ended text[];
    changed integer;
BEGIN
    WITH oldest AS (
        SELECT job.job_id FROM job_executions AS job
         WHERE job.status = 'waiting'
           AND job.updated_at < moment - make_interval(secs => quiet_seconds)
         LIMIT max_jobs
           FOR UPDATE SKIP LOCKED
    ), touched AS (
        UPDATE job_executions AS job SET updated_at = moment
          FROM oldest WHERE job.job_id = oldest.job_id
        RETURNING job.job_id
    )
    SELECT array_agg(touched.job_id) INTO looked FROM touched;

    SELECT array_agg(DISTINCT link.parent_id) INTO ended
      FROM job_dependencies AS link
     WHERE link.job_id = ANY(looked) AND link.open
       AND NOT EXISTS (SELECT FROM job_executions AS parent
                        WHERE parent.job_id = link.parent_id AND parent.completed_at IS NULL);
    PERFORM stashjobs.release_children(ended);
    UPDATE job_executions AS job
       SET status = 'pending', available_at = greatest(job.available_at, moment),
           updated_at = moment
     WHERE job.job_id = ANY(looked) AND CASE WHEN job.status = 'waiting' THEN true END
       AND NOT EXISTS (SELECT FROM job_dependencies AS link
                        WHERE link.job_id = job.job_id AND link.open);
    SELECT count(*) INTO changed FROM job_executions AS job
     WHERE job.job_id = ANY(looked) AND job.status <> 'waiting';
    RETURN changed;
END
$$;
