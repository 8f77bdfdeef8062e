-- End a job well, if this attempt still holds it; else say how it stands. No row: it is gone.
-- `released` are the jobs that waited for it and are due now; also for an attempt that did not hear
-- that it had completed the job, and asks again.
CREATE OR REPLACE FUNCTION stashjobs.complete(job_id text, attempt integer, result jsonb)
RETURNS TABLE (held boolean, row_status text, row_attempt integer, released text[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    children bigint;
    child text;
    its_shard smallint;
BEGIN
    UPDATE job_executions AS job
       SET status = 'completed', result = complete.result, error = NULL, lease_expires_at = NULL,
           completed_at = moment, updated_at = moment
     WHERE job.job_id = complete.job_id
       AND CASE WHEN job.attempt = complete.attempt THEN job.status = 'processing' END;
    IF FOUND THEN
        held := true;
        row_status := 'completed';
        row_attempt := complete.attempt;
        released := '{}';
        SELECT count(*), min(link.job_id), min(link.shard) INTO children, child, its_shard
          FROM job_dependencies AS link WHERE link.parent_id = complete.job_id AND link.open;
        IF children = 0 THEN
            RETURN NEXT;
            RETURN;
        END IF;
        -- One of very many that are not the last of their shard: what `release_children` does, for less.
        IF children = 1 AND its_shard IS NOT NULL THEN
            PERFORM pg_advisory_xact_lock(stashjobs.shard_key(child, its_shard));
            -- The youngest first, which are likely to be there still.
            PERFORM FROM job_dependencies AS link
              WHERE link.job_id = child AND link.shard = its_shard AND link.open
                AND (SELECT parent.completed_at IS NULL FROM job_executions AS parent
                      WHERE parent.job_id = link.parent_id)
              ORDER BY link.parent_id DESC LIMIT 1;
            IF FOUND THEN
                RETURN NEXT;
                RETURN;
            END IF;
        END IF;
        released := stashjobs.release_children(ARRAY[complete.job_id]);
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT false, job.status, job.attempt,
           CASE WHEN job.attempt = complete.attempt THEN stashjobs.unpublished_children(job.job_id)
                ELSE '{}' END
      FROM job_executions AS job
     WHERE job.job_id = complete.job_id;
END
$$;
