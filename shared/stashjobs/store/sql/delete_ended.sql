-- Delete jobs, their steps, and what operators did to them, and return all of it for the archive. Only those that ended
-- at least a day ago: no clean-up may take what is younger, whatever it is asked for.
CREATE OR REPLACE FUNCTION stashjobs.delete_ended(job_ids text[])
RETURNS TABLE (job job_executions, actions jsonb, steps jsonb)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    latest CONSTANT timestamptz := clock_timestamp() - interval '1 day';
    batches text[];
BEGIN
    SELECT array_agg(DISTINCT ended.batch_id) INTO batches FROM job_executions AS ended
     WHERE ended.job_id = ANY(job_ids) AND ended.batch_id IS NOT NULL;
    RETURN QUERY
    WITH gone AS (
        DELETE FROM job_executions AS ended
         WHERE ended.job_id = ANY(job_ids) AND ended.completed_at < latest
        RETURNING ended AS row, ended.job_id
    ), links AS (
        DELETE FROM job_dependencies AS link USING gone WHERE link.job_id = gone.job_id
    ), taken AS (
        DELETE FROM job_actions AS action USING gone WHERE action.job_id = gone.job_id
        RETURNING action.*
    ), taken_steps AS (
        DELETE FROM job_steps AS step USING gone WHERE step.job_id = gone.job_id
        RETURNING step.*
    ), steps_of_job AS (
        SELECT taken_steps.job_id,
               jsonb_agg(to_jsonb(taken_steps) - 'job_id' ORDER BY taken_steps.position)
                   AS all_of_them
          FROM taken_steps GROUP BY taken_steps.job_id
    ), of_job AS (
        SELECT taken.job_id,
               jsonb_agg(to_jsonb(taken) - 'job_id' ORDER BY taken.action_id) AS all_of_them
          FROM taken GROUP BY taken.job_id
    )
    SELECT gone.row, of_job.all_of_them, steps_of_job.all_of_them
      FROM gone LEFT JOIN of_job ON of_job.job_id = gone.job_id
      LEFT JOIN steps_of_job ON steps_of_job.job_id = gone.job_id;
    IF batches IS NOT NULL THEN
        DELETE FROM job_batches AS batch
         WHERE batch.batch_id = ANY(batches)
           AND NOT EXISTS (SELECT FROM job_executions AS rest WHERE rest.batch_id = batch.batch_id);
    END IF;
END
$$;
