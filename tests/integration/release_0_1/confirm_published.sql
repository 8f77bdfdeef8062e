-- confirm_published, as release 0.1.0 calls it.
UPDATE job_executions AS job
   SET published_at = now(), message_id = coalesce(told.message_id, job.message_id), dlq_id = NULL,
       error = CASE WHEN job.status = 'pending' THEN NULL ELSE job.error END
  FROM unnest(%s::text[], %s::text[]) AS told (job_id, message_id)
 WHERE job.job_id = told.job_id AND job.published_at IS NULL
   AND job.status IN ('pending', 'retrying', 'processing')
