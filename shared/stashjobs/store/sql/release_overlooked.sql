-- Release jobs whose parents have all ended, or are gone, without having released them: at once what a
-- look at the open dependencies shows, at most 10,000 of them; and of the jobs that have been waiting
-- for long some more. It is a net: release 0.1 ended a parent, or a parent was deleted.
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
    at_once integer;
    changed integer;
BEGIN
    -- What ends a parent closes its dependencies in the same transaction.
    SELECT array_agg(DISTINCT parent.job_id) INTO ended
      FROM (SELECT link.parent_id FROM job_dependencies AS link WHERE link.open
             ORDER BY link.job_id LIMIT 10000) AS found
      JOIN job_executions AS parent ON parent.job_id = found.parent_id
     WHERE parent.completed_at IS NOT NULL;
    at_once := coalesce(cardinality(stashjobs.release_children(ended)), 0);

    -- Locked after their parents have been closed, as `release_children` does it for every parent.
    SELECT array_agg(oldest.job_id) INTO looked
      FROM (SELECT job.job_id FROM job_executions AS job
             WHERE job.status = 'waiting'
               AND job.updated_at < moment - make_interval(secs => quiet_seconds)
             LIMIT max_jobs) AS oldest;
    SELECT array_agg(DISTINCT link.parent_id) INTO ended
      FROM job_dependencies AS link
     WHERE link.job_id = ANY(looked) AND link.open
       AND NOT EXISTS (SELECT FROM job_executions AS parent
                        WHERE parent.job_id = link.parent_id AND parent.completed_at IS NULL);
    PERFORM stashjobs.release_children(ended);
    WITH found AS (
        SELECT job.job_id FROM job_executions AS job
         WHERE job.job_id = ANY(looked) AND CASE WHEN job.status = 'waiting' THEN true END
         ORDER BY job.job_id FOR UPDATE SKIP LOCKED
    )
    UPDATE job_executions AS job SET updated_at = moment
      FROM found WHERE job.job_id = found.job_id;
    UPDATE job_executions AS job
       SET status = 'pending', available_at = greatest(job.available_at, moment),
           updated_at = moment
     WHERE job.job_id = ANY(looked) AND CASE WHEN job.status = 'waiting' THEN true END
       AND NOT EXISTS (SELECT FROM job_dependencies AS link
                        WHERE link.job_id = job.job_id AND link.open);
    SELECT count(*) INTO changed FROM job_executions AS job
     WHERE job.job_id = ANY(looked) AND job.status <> 'waiting';
    RETURN at_once + changed;
END
$$;
