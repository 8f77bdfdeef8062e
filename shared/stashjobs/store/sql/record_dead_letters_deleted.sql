-- Note that these dead letters are no longer in QStash's queue, and who deleted them. One that is no
-- job's is recorded by its own id.
CREATE OR REPLACE FUNCTION stashjobs.record_dead_letters_deleted(
    dlq_ids text[], job_ids text[], actor text
)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    INSERT INTO job_actions (actor, action, job_id, before, at)
    SELECT record_dead_letters_deleted.actor, 'delete dead letter',
           coalesce(gone.job_id, gone.dlq_id),
           jsonb_strip_nulls(jsonb_build_object('jobType', job.job_type, 'status', job.status,
                                                'dlqId', gone.dlq_id)), moment
      FROM unnest(dlq_ids, job_ids) AS gone (dlq_id, job_id)
      LEFT JOIN job_executions AS job ON job.job_id = gone.job_id;
    UPDATE job_executions AS job SET dlq_id = NULL, updated_at = moment
      FROM unnest(dlq_ids, job_ids) AS gone (dlq_id, job_id)
     WHERE job.job_id = gone.job_id AND CASE WHEN job.dlq_id = gone.dlq_id THEN true END;
END
$$;
