-- End attempts that never came back, at most so many; those that another relay has in hand are
-- passed over.
CREATE OR REPLACE FUNCTION stashjobs.free_expired_leases(max_jobs integer)
RETURNS TABLE (job_id text, job_type text, status text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    ids text[];
    types text[];
    statuses text[];
BEGIN
    WITH freed AS (
        UPDATE job_executions AS job
           SET status = CASE WHEN job.cancel_requested_by IS NOT NULL THEN 'cancelled'
                             WHEN job.attempt >= job.max_attempts THEN 'failed'
                             ELSE 'retrying' END,
               error = CASE WHEN job.cancel_requested_by IS NOT NULL
                            THEN 'cancelled by ' || job.cancel_requested_by
                            ELSE 'LeaseExpired: the attempt ended without a word' END,
               errors = job.errors || jsonb_build_object(
                          'attempt', job.attempt, 'type', 'LeaseExpired',
                          'message', 'the attempt ended without a word',
                          'startedAt', job.started_at, 'endedAt', job.lease_expires_at),
               lease_expires_at = NULL, published_at = NULL, updated_at = moment,
               available_at = moment,
               completed_at = CASE WHEN job.attempt >= job.max_attempts
                                        OR job.cancel_requested_by IS NOT NULL THEN moment END
         WHERE job.job_id IN (SELECT expired.job_id FROM job_executions AS expired
                               WHERE expired.status = 'processing'
                                 AND expired.lease_expires_at <= moment
                               ORDER BY expired.lease_expires_at LIMIT max_jobs
                                 FOR UPDATE SKIP LOCKED)
           AND CASE WHEN job.status = 'processing' THEN true END
        RETURNING job.job_id, job.job_type, job.status
    )
    SELECT array_agg(freed.job_id), array_agg(freed.job_type), array_agg(freed.status)
      INTO ids, types, statuses FROM freed;
    PERFORM stashjobs.release_children(ids);
    RETURN QUERY SELECT * FROM unnest(ids, types, statuses);
END
$$;
