-- End an attempt with an error, if it still holds the job; else say how that stands. No row: it is
-- gone. The status is retrying, failed or cancelled; `details` has type and message at least.
-- Where it is to be cancelled, it is. `backoff`: QStash tries again by itself, in about `wait_seconds`. `snoozed`: the relay publishes the
-- job for then, and it fails instead after `max_snoozes` of its run.
-- `released` are the jobs that waited for it and are due now; also for an attempt that did not hear
-- that it had ended the job, and asks again.
CREATE OR REPLACE FUNCTION stashjobs.fail(
    job_id text, attempt integer, status text, details jsonb,
    counted boolean DEFAULT true, wait_seconds float8 DEFAULT 0,
    backoff boolean DEFAULT false, snoozed boolean DEFAULT false, max_snoozes integer DEFAULT 300
)
RETURNS TABLE (held boolean, row_status text, row_attempt integer, released text[])
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    UPDATE job_executions AS job
       SET status = CASE WHEN job.cancel_requested_by IS NOT NULL THEN 'cancelled'
                         WHEN is_over THEN 'failed' ELSE fail.status END,
           error = CASE WHEN job.cancel_requested_by IS NOT NULL
                        THEN 'cancelled by ' || job.cancel_requested_by
                        WHEN is_over
                        THEN format('SnoozedTooOften: put off %s times in one run', job.snoozes)
                        WHEN NOT snoozed
                        THEN concat(details ->> 'type', ': ', details ->> 'message') END,
           snoozes = job.snoozes + CASE WHEN snoozed AND NOT is_over THEN 1 ELSE 0 END,
           backoff = fail.backoff,
           lease_expires_at = NULL, updated_at = moment,
           completed_at = CASE WHEN fail.status <> 'retrying' OR is_over
                                    OR job.cancel_requested_by IS NOT NULL THEN moment END,
           -- The message was answered, or dead-lettered while the attempt ran: there is to be another.
           published_at = CASE WHEN fail.status = 'retrying'
                                AND (job.dlq_id IS NOT NULL OR (snoozed AND NOT is_over)) THEN NULL
                               ELSE job.published_at END,
           -- The relay's patience begins anew with an attempt that ran.
           available_at = CASE WHEN fail.status = 'retrying' AND (counted OR snoozed)
                               THEN moment + make_interval(secs => wait_seconds)
                               ELSE job.available_at END,
           -- An attempt that ran nothing moves the window of attempts along with it.
           max_attempts = job.max_attempts + CASE WHEN counted THEN 0 ELSE 1 END,
           attempts_before_run = job.attempts_before_run + CASE WHEN counted THEN 0 ELSE 1 END,
           errors = job.errors || jsonb_build_array(details || jsonb_build_object(
                      'attempt', job.attempt, 'startedAt', job.started_at, 'endedAt', moment))
      FROM (SELECT fail.snoozed AND found.snoozes >= fail.max_snoozes AS is_over
              FROM job_executions AS found WHERE found.job_id = fail.job_id) AS judged
     WHERE job.job_id = fail.job_id
       AND CASE WHEN job.attempt = fail.attempt THEN job.status = 'processing' END
    RETURNING true, job.status, job.attempt, '{}'::text[]
    INTO held, row_status, row_attempt, released;
    IF FOUND THEN
        IF row_status <> 'retrying' THEN
            released := stashjobs.release_children(ARRAY[fail.job_id]);
            IF row_status = 'failed' THEN  -- and what follows its failure
                released := ARRAY(SELECT unnest(released)
                                   UNION SELECT unnest(stashjobs.unpublished_children(fail.job_id)));
            END IF;
        END IF;
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY
    SELECT false, job.status, job.attempt,
           CASE WHEN job.attempt = fail.attempt THEN stashjobs.unpublished_children(job.job_id)
                ELSE '{}' END
      FROM job_executions AS job
     WHERE job.job_id = fail.job_id;
END
$$;
