-- Note whether QStash still has these messages. `published_at` is when it last confirmed one; NULL
-- has the relay send another.
CREATE OR REPLACE FUNCTION stashjobs.record_heard_of(
    job_ids text[], message_ids text[], message_exists boolean[]
)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    UPDATE job_executions AS job
       SET published_at = CASE WHEN told.message_exists THEN moment END, updated_at = moment
      FROM unnest(job_ids, message_ids, record_heard_of.message_exists)
        AS told (job_id, message_id, message_exists)
     WHERE job.job_id = told.job_id
       AND CASE WHEN job.status IN ('pending', 'retrying')
                    THEN job.message_id = told.message_id AND job.published_at IS NOT NULL END;
END
$$;
