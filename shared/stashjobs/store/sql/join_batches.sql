-- Have the jobs that run at the end of these new jobs' batches wait for them too. A batch whose own job
-- does not wait any more has ended, and takes no more; nor does it take a job that waits for its end.
--
-- Jobs are looked up by their ids alone: where few jobs are of a batch, Postgres would rather read all
-- of those, and compare each with each id.
CREATE OR REPLACE FUNCTION stashjobs.join_batches(job_ids text[])
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    -- Behind those that the batch began with.
    last_position CONSTANT integer := 2147483647;
    members text[];
    their_batches text[];
    batches text[];
    wrong text;
BEGIN
    SELECT array_agg(job.job_id), array_agg(job.batch_id) INTO members, their_batches
      FROM job_executions AS job WHERE job.job_id = ANY(job_ids);
    SELECT array_agg(DISTINCT given.id) INTO batches
      FROM unnest(their_batches) AS given (id) WHERE given.id IS NOT NULL;
    SELECT given.id INTO wrong FROM unnest(batches) AS given (id)
     WHERE NOT EXISTS (SELECT FROM job_batches AS batch WHERE batch.batch_id = given.id) LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'batch: there is no batch %', wrong
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    PERFORM FROM job_executions AS job WHERE job.job_id = ANY(batches) ORDER BY job.job_id FOR SHARE;
    SELECT job.job_id INTO wrong FROM job_executions AS job
     WHERE job.job_id = ANY(batches) AND CASE WHEN job.status <> 'waiting' THEN true END LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'batch: % has ended, and takes no more jobs', wrong
            USING ERRCODE = 'invalid_parameter_value';
    END IF;

    INSERT INTO job_dependencies (job_id, parent_id, position, required, open, shard)
    SELECT member.batch_id, member.job_id, last_position, 'ended', job.completed_at IS NULL,
           hashtext(member.job_id) & 63
      FROM unnest(members, their_batches) AS member (job_id, batch_id)
      JOIN job_executions AS job ON job.job_id = member.job_id
      JOIN job_executions AS last ON last.job_id = member.batch_id
     ORDER BY member.batch_id, member.job_id
    ON CONFLICT DO NOTHING;

    WITH RECURSIVE above AS (
        SELECT member.batch_id, link.parent_id
          FROM unnest(members, their_batches) AS member (job_id, batch_id)
          JOIN job_dependencies AS link
            ON link.job_id = member.job_id AND CASE WHEN link.open THEN true END
         WHERE member.batch_id IS NOT NULL
         UNION
        SELECT above.batch_id, link.parent_id
          FROM above
          JOIN job_dependencies AS link
            ON link.job_id = above.parent_id AND CASE WHEN link.open THEN true END
    )
    SELECT above.batch_id INTO wrong FROM above WHERE above.parent_id = above.batch_id LIMIT 1;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION 'batch: a job of % cannot wait for its end', wrong
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
END
$$;
