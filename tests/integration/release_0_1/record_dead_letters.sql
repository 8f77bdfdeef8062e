-- record_dead_letters, as release 0.1.0 calls it.
UPDATE job_executions AS job
   SET dlq_id = told.dlq_id,
       status = CASE WHEN (job.status IN ('pending', 'retrying') AND NOT (job.attempt < job.max_attempts
                 AND job.available_at > now() - make_interval(secs => told.patience))) THEN 'failed' ELSE status END,
       error = CASE WHEN (job.status IN ('pending', 'retrying') AND NOT (job.attempt < job.max_attempts
                 AND job.available_at > now() - make_interval(secs => told.patience))) THEN told.reason ELSE error END,
       completed_at = CASE WHEN (job.status IN ('pending', 'retrying') AND NOT (job.attempt < job.max_attempts
                 AND job.available_at > now() - make_interval(secs => told.patience))) THEN now() ELSE completed_at END,
       published_at = CASE WHEN job.status IN ('pending', 'retrying') AND (job.attempt < job.max_attempts
                 AND job.available_at > now() - make_interval(secs => told.patience))
                           THEN NULL ELSE published_at END,
       updated_at = now()
  FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::float[])
    AS told (job_id, message_id, dlq_id, reason, patience)
 WHERE job.job_id = told.job_id
   AND (job.message_id = told.message_id OR (job.message_id IS NULL AND job.run = 1))
   AND job.dlq_id IS DISTINCT FROM told.dlq_id
   AND job.status IN ('pending', 'retrying', 'processing', 'failed')
RETURNING job.job_id, job.status
