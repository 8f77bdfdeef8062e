-- Take a recorded job for one delivery, or say why not; no row: there is no such job.
-- A lease that ran out is taken over; one that ran out on the last attempt ends the job instead. A job
-- that was not to begin so late is cancelled.
-- A job that is not due yet is left alone: `wait_seconds` until then. QStash's clock may be two seconds
-- ahead of this one, and of its own backoff it knows best. Of a paused type none is taken; the status is
-- `paused` then. A delivery asks again with the same nonce where it did not hear the answer, and finds
-- its own claim. The nonce is kept with the attempt's number, since release 0.1 claims without one.
CREATE OR REPLACE FUNCTION stashjobs.claim(
    job_id text, type text, lease_seconds float8,
    message_id text DEFAULT NULL, schedule_id text DEFAULT NULL, nonce text DEFAULT NULL
)
RETURNS TABLE (
    held boolean, status text, job_type text, attempt integer, max_attempts integer, run integer,
    payload jsonb, user_id text, organization_id text, error text, wait_seconds float8
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    -- What stands beside the key is in a CASE, which no index serves: Postgres keeps the plan that it
    -- made while the table was empty, when one index looked as good as another.
    UPDATE job_executions AS job SET
           status = CASE WHEN job.attempt >= job.max_attempts THEN 'failed'
                         WHEN job.expires_at <= moment THEN 'cancelled'
                         ELSE 'processing' END,
           attempt = CASE WHEN job.attempt >= job.max_attempts OR job.expires_at <= moment
                          THEN job.attempt ELSE job.attempt + 1 END,
           error = CASE WHEN job.attempt >= job.max_attempts
                        THEN 'LeaseExpired: the attempt ended without a word'
                        WHEN job.expires_at <= moment THEN stashjobs.expired(job.expires_at)
                        ELSE job.error END,
           errors = CASE WHEN job.status <> 'processing' THEN job.errors
                         ELSE job.errors || jsonb_build_object(
                                'attempt', job.attempt, 'type', 'LeaseExpired',
                                'message', 'the attempt ended without a word',
                                'startedAt', job.started_at, 'endedAt', job.lease_expires_at) END,
           started_at = CASE WHEN job.attempt >= job.max_attempts OR job.expires_at <= moment
                             THEN job.started_at ELSE moment END,
           lease_expires_at = CASE WHEN job.attempt >= job.max_attempts OR job.expires_at <= moment
                                   THEN NULL
                                   ELSE moment + make_interval(secs => lease_seconds) END,
           completed_at = CASE WHEN job.attempt >= job.max_attempts OR job.expires_at <= moment
                               THEN moment END,
           published_at = CASE WHEN claim.message_id IS NULL THEN job.published_at
                               ELSE coalesce(job.published_at, moment) END,
           message_id = coalesce(claim.message_id, job.message_id),
           dlq_id = CASE WHEN claim.message_id <> job.message_id THEN NULL ELSE job.dlq_id END,
           schedule_id = coalesce(claim.schedule_id, job.schedule_id),
           claim_nonce = claim.nonce || ':' || (job.attempt + 1), backoff = false,
           updated_at = moment,
           available_at = least(job.available_at, moment)
     WHERE job.job_id = claim.job_id
       AND CASE WHEN job.job_type <> claim.type THEN false
                WHEN job.status IN ('pending', 'retrying')
                    THEN (job.available_at <= moment + interval '2 s'
                          OR (job.backoff AND claim.message_id = job.message_id))
                         AND NOT EXISTS (SELECT FROM job_type_states AS state
                                          WHERE state.job_type = claim.type AND state.paused)
                WHEN job.status = 'processing'
                    -- One that is to be cancelled is the relay's.
                    THEN job.lease_expires_at <= moment AND job.cancel_requested_by IS NULL
                         AND (job.claim_nonce = claim.nonce || ':' || job.attempt) IS NOT TRUE
                ELSE false END
    RETURNING job.status = 'processing', job.status, job.job_type, job.attempt, job.max_attempts,
              job.run, job.payload, job.user_id, job.organization_id, job.error, NULL::float8
    INTO held, status, job_type, attempt, max_attempts, run, payload, user_id, organization_id,
         error, wait_seconds;
    IF FOUND THEN
        IF NOT held THEN
            PERFORM stashjobs.release_children(ARRAY[claim.job_id]);
        END IF;
        RETURN NEXT;
        RETURN;
    END IF;
    RETURN QUERY
    UPDATE job_executions AS job
       SET started_at = moment, updated_at = moment,
           lease_expires_at = moment + make_interval(secs => lease_seconds)
     WHERE job.job_id = claim.job_id
       AND CASE WHEN job.job_type = claim.type AND job.status = 'processing'
                    THEN job.claim_nonce = claim.nonce || ':' || job.attempt
                         AND job.message_id
                             IS NOT DISTINCT FROM coalesce(claim.message_id, job.message_id)
                END
    RETURNING true, job.status, job.job_type, job.attempt, job.max_attempts, job.run, job.payload,
              job.user_id, job.organization_id, job.error, NULL::float8;
    IF FOUND THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT false,
           CASE WHEN job.status IN ('pending', 'retrying') AND state.paused THEN 'paused'
                ELSE job.status END,
           job.job_type, job.attempt, job.max_attempts, job.run, NULL::jsonb,
           NULL::text, NULL::text, job.error,
           CASE WHEN job.status IN ('pending', 'retrying') AND state.paused THEN 300.0 ELSE
           extract(epoch FROM CASE WHEN job.status IN ('pending', 'retrying')
                                   THEN job.available_at ELSE job.lease_expires_at END
                              - moment)::float8 END
      FROM job_executions AS job LEFT JOIN job_type_states AS state USING (job_type) WHERE job.job_id = claim.job_id;
END
$$;
