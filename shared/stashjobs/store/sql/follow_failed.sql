-- Enqueue what is to follow a job that fails for good (`on_failed`), if its type has that. The new job's
-- parent is the failed one.
CREATE OR REPLACE FUNCTION stashjobs.follow_failed(
    job_id text, type text, user_id text, organization_id text
)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
#variable_conflict use_column
BEGIN
    WITH made AS (
        SELECT new.job_id
          FROM job_type_followers AS follower
         CROSS JOIN LATERAL stashjobs.enqueue(
                   type => follower.on_failed,
                   payload => jsonb_build_object('jobId', follow_failed.job_id),
                   user_id => follow_failed.user_id,
                   organization_id => follow_failed.organization_id,
                   retries => follower.max_attempts - 1,
                   metadata => jsonb_build_object('parentJobId', follow_failed.job_id)) AS new
         WHERE follower.job_type = follow_failed.type
    )
    INSERT INTO job_dependencies (job_id, parent_id, position, required, open)
    SELECT made.job_id, follow_failed.job_id, 1, 'ended', false FROM made;
END
$$;
