-- Change jobs that wait: have them due `at` another time, or now ('run now'), or give them another
-- payload ('edit'). Returns those it changed as they are now, with the message that QStash has of
-- before. One that is moved is to be published anew; one that waits for others ('waiting') is due when
-- they have ended, and cannot be run now.
CREATE OR REPLACE FUNCTION stashjobs.change_waiting(
    job_ids text[], actor text, action text,
    at timestamptz DEFAULT NULL, payload jsonb DEFAULT NULL
)
RETURNS TABLE (
    job_id text, job_type text, run integer, attempt integer, max_attempts integer,
    available_at timestamptz, delivery jsonb, moved integer, status text, message_id text
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    due CONSTANT timestamptz := CASE change_waiting.action WHEN 'run now' THEN moment
                                                           ELSE change_waiting.at END;
BEGIN
    RETURN QUERY
    WITH found AS (
        SELECT job.job_id,
               jsonb_build_object('jobType', job.job_type, 'status', job.status,
                                  'error', job.error, 'availableAt', job.available_at)
               -- What an edit replaces; of an encrypted payload its hash alone.
               || CASE WHEN change_waiting.payload IS NULL THEN '{}'
                       ELSE jsonb_build_object('payloadHash',
                              encode(sha256(convert_to(job.payload::text, 'UTF8')), 'hex'))
                            || CASE WHEN job.payload -> '$sealed' IS NOT NULL THEN '{}'
                                    ELSE jsonb_build_object('payload', job.payload) END
                  END AS before
          FROM job_executions AS job
         WHERE job.job_id = ANY(job_ids)
           AND CASE WHEN job.status IN ('pending', 'retrying')
                      OR (job.status = 'waiting' AND change_waiting.action <> 'run now')
                    THEN (job.expires_at <= due) IS NOT TRUE END
         ORDER BY job.job_id
           FOR UPDATE
    ), changed AS (
        UPDATE job_executions AS job
           SET payload = coalesce(change_waiting.payload, job.payload),
               available_at = coalesce(due, job.available_at),
               published_at = CASE WHEN due IS NULL THEN job.published_at END,
               backoff = CASE WHEN due IS NULL THEN job.backoff ELSE false END,
               moved = job.moved + CASE WHEN due IS NULL THEN 0 ELSE 1 END,
               updated_at = moment
          FROM found
         WHERE job.job_id = found.job_id
        RETURNING job.job_id, job.job_type, job.run, job.attempt, job.max_attempts,
                  job.available_at, job.delivery, job.moved, job.status, job.message_id,
                  found.before
    ), done AS (
        INSERT INTO job_actions (actor, action, job_id, before, at)
        SELECT change_waiting.actor, change_waiting.action, changed.job_id, changed.before, moment
          FROM changed
    )
    SELECT changed.job_id, changed.job_type, changed.run, changed.attempt, changed.max_attempts,
           changed.available_at, changed.delivery, changed.moved, changed.status,
           changed.message_id
      FROM changed;
END
$$;
