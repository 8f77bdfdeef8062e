-- Note that QStash has taken the messages of these jobs. `dlq_id` is about the message before.
CREATE OR REPLACE FUNCTION stashjobs.confirm_published(job_ids text[], message_ids text[])
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    UPDATE job_executions AS job
       SET published_at = moment, message_id = coalesce(told.message_id, job.message_id),
           dlq_id = NULL, error = CASE WHEN job.status = 'pending' THEN NULL ELSE job.error END
      FROM unnest(job_ids, message_ids) AS told (job_id, message_id)
     WHERE job.job_id = told.job_id
       AND CASE WHEN job.status IN ('pending', 'retrying', 'processing')
                    THEN job.published_at IS NULL END;
END
$$;
