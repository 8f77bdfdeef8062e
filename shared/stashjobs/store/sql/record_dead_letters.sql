-- Note that QStash will not deliver these messages any more; returns the rows that changed.
--
-- QStash counts every answer, we count attempts: a busy job, an unreachable Postgres or a lost answer
-- uses up its retries and none of ours; and its plan may allow fewer retries than the job. So a job
-- that has attempts left is given another message, by the relay, while there is patience with what
-- was in the way. Each attempt that ran makes the job due anew.
--
-- Only the last message seen for a job speaks for it: an older one that ends in the dead-letter queue
-- says nothing about the one that followed. After a manual retry a job without a message waits for
-- its first, and all dead letters are older. An attempt that still runs goes on; that its message is
-- gone is kept, for `fail`.
CREATE OR REPLACE FUNCTION stashjobs.record_dead_letters(
    job_ids text[], message_ids text[], dlq_ids text[], reasons text[], patience_seconds float8[]
)
RETURNS TABLE (job_id text, status text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    RETURN QUERY
    UPDATE job_executions AS job
       SET dlq_id = told.dlq_id,
           status = CASE WHEN job.status IN ('pending', 'retrying') AND NOT (job.attempt < job.max_attempts
                 AND job.available_at > moment - make_interval(secs => told.patience)) THEN 'failed' ELSE job.status END,
           error = CASE WHEN job.status IN ('pending', 'retrying') AND NOT (job.attempt < job.max_attempts
                 AND job.available_at > moment - make_interval(secs => told.patience)) THEN told.reason ELSE job.error END,
           completed_at = CASE WHEN job.status IN ('pending', 'retrying') AND NOT (job.attempt < job.max_attempts
                 AND job.available_at > moment - make_interval(secs => told.patience)) THEN moment ELSE job.completed_at END,
           published_at = CASE WHEN job.status IN ('pending', 'retrying') AND (job.attempt < job.max_attempts
                 AND job.available_at > moment - make_interval(secs => told.patience)) THEN NULL ELSE job.published_at END,
           -- QStash has no next attempt any more.
           available_at = CASE WHEN job.backoff THEN least(job.available_at, moment)
                               ELSE job.available_at END,
           backoff = false, updated_at = moment
      FROM unnest(job_ids, message_ids, dlq_ids, reasons, patience_seconds)
        AS told (job_id, message_id, dlq_id, reason, patience)
     WHERE job.job_id = told.job_id
       AND CASE WHEN job.status IN ('pending', 'retrying', 'processing', 'failed')
                    THEN (job.message_id = told.message_id
                          OR (job.message_id IS NULL AND job.run = 1))
                         AND job.dlq_id IS DISTINCT FROM told.dlq_id END
    RETURNING job.job_id, job.status;
    PERFORM stashjobs.release_children(record_dead_letters.job_ids);
END
$$;
