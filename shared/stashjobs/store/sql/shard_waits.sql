-- Whether a parent has not ended that is in this shard of a job's parents.
CREATE OR REPLACE FUNCTION stashjobs.shard_waits(child_id text, shard smallint)
RETURNS boolean
LANGUAGE plpgsql STABLE SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
BEGIN
    PERFORM FROM job_dependencies AS link
      WHERE link.job_id = shard_waits.child_id AND link.shard = shard_waits.shard AND link.open
        AND (SELECT parent.completed_at IS NULL FROM job_executions AS parent
              WHERE parent.job_id = link.parent_id)
      ORDER BY link.parent_id DESC LIMIT 1;
    RETURN FOUND;
END
$$;
