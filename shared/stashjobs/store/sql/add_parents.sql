-- Have jobs that are `waiting` wait for others. `after` is an object for each: `ids`, and `when`:
-- `completed`, or `ended` in whatever way. Parents are locked, so that none ends meanwhile; for those
-- that have ended it is as if they did so now.
CREATE OR REPLACE FUNCTION stashjobs.add_parents(job_ids text[], after jsonb[])
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    -- So many parents may well wait for each other (`release_children`).
    few CONSTANT integer := 64;
    parents text[];
    missing text;
    ended text[];
BEGIN
    INSERT INTO job_dependencies (job_id, parent_id, position, required, shard)
    SELECT child.id, parent.id, parent.position, coalesce(child.after ->> 'when', 'completed'),
           CASE WHEN jsonb_array_length(child.after -> 'ids') > few
                THEN hashtext(parent.id) & 63 END
      FROM unnest(job_ids, add_parents.after) AS child (id, after),
           jsonb_array_elements_text(child.after -> 'ids') WITH ORDINALITY AS parent (id, position)
     ORDER BY child.id, parent.id
    ON CONFLICT DO NOTHING;

    SELECT array_agg(DISTINCT link.parent_id) INTO parents
      FROM job_dependencies AS link WHERE link.job_id = ANY(job_ids);
    PERFORM FROM job_executions AS job WHERE job.job_id = ANY(parents)
      ORDER BY job.job_id FOR SHARE;
    SELECT parent.id INTO missing FROM unnest(parents) AS parent (id)
     WHERE NOT EXISTS (SELECT FROM job_executions AS job WHERE job.job_id = parent.id)
     LIMIT 1;
    IF missing IS NOT NULL THEN
        RAISE EXCEPTION 'after: there is no job %', missing
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    SELECT array_agg(job.job_id) INTO ended FROM job_executions AS job
     WHERE job.job_id = ANY(parents) AND job.completed_at IS NOT NULL;
    PERFORM stashjobs.release_children(ended);
END
$$;
