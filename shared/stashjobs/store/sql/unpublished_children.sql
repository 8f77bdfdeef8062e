-- The jobs that waited for this one, are due, and of which QStash has not been told yet.
CREATE OR REPLACE FUNCTION stashjobs.unpublished_children(job_id text)
RETURNS text[]
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
BEGIN
    RETURN ARRAY(
        SELECT child.job_id
          FROM job_dependencies AS link JOIN job_executions AS child ON child.job_id = link.job_id
         WHERE link.parent_id = unpublished_children.job_id AND child.status = 'pending'
           AND child.published_at IS NULL);
END
$$;
