-- Take a recorded job for one delivery, or say why not; no row: there is no such job.
-- A lease that ran out is taken over; one that ran out on the last attempt ends the job instead. A job
-- that was not to begin so late is cancelled.
-- A job that is not due yet is left alone: `wait_seconds` until then. QStash's clock may be two seconds
-- ahead of this one, and of its own backoff it knows best. Of a paused type none is taken; the status is
-- `paused` then. A delivery asks again with the same nonce where it did not hear the answer, and finds
-- its own claim. The nonce is kept with the attempt's number, since release 0.1 claims without one.
--
-- What stands beside the key is in a CASE, which no index serves: Postgres keeps the plan that it made
-- while the table was empty, when one index looked as good as another.
CREATE OR REPLACE FUNCTION stashjobs.claim(
    job_id text, type text, lease_seconds float8,
    message_id text DEFAULT NULL, schedule_id text DEFAULT NULL, nonce text DEFAULT NULL,
    on_failed text DEFAULT NULL, follower_attempts integer DEFAULT NULL
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
    until CONSTANT timestamptz := moment + make_interval(secs => lease_seconds);
BEGIN
    IF claim.on_failed IS NOT NULL THEN
        PERFORM stashjobs.declare_followers(
            ARRAY[claim.type], ARRAY[claim.on_failed], ARRAY[claim.follower_attempts]);
    END IF;
    -- One that is due.
    RETURN QUERY
    UPDATE job_executions AS job
       SET status = 'processing', attempt = job.attempt + 1, backoff = false,
           started_at = moment, lease_expires_at = until, updated_at = moment,
           available_at = least(job.available_at, moment),
           published_at = CASE WHEN claim.message_id IS NULL THEN job.published_at
                               ELSE coalesce(job.published_at, moment) END,
           message_id = coalesce(claim.message_id, job.message_id),
           dlq_id = CASE WHEN claim.message_id <> job.message_id THEN NULL ELSE job.dlq_id END,
           schedule_id = coalesce(claim.schedule_id, job.schedule_id),
           claim_nonce = claim.nonce || ':' || (job.attempt + 1)
     WHERE job.job_id = claim.job_id
       AND CASE WHEN job.status IN ('pending', 'retrying') AND job.job_type = claim.type
                    THEN job.attempt < job.max_attempts
                         AND (job.expires_at > moment) IS NOT FALSE
                         AND (job.available_at <= moment + interval '2 s'
                              OR (job.backoff AND claim.message_id = job.message_id))
                         AND NOT EXISTS (SELECT FROM job_type_states AS state
                                          WHERE state.job_type = claim.type AND state.paused)
                END
    RETURNING true, job.status, job.job_type, job.attempt, job.max_attempts, job.run, job.payload,
              job.user_id, job.organization_id, job.error, NULL::float8;
    IF FOUND THEN
        RETURN;
    END IF;

    -- One whose lease ran out, or that may not begin. One that is to be cancelled is the relay's.
    RETURN QUERY
    UPDATE job_executions AS job
       SET status = judged.status,
           attempt = job.attempt + CASE judged.status WHEN 'processing' THEN 1 ELSE 0 END,
           error = CASE judged.status
                       WHEN 'failed' THEN 'LeaseExpired: the attempt ended without a word'
                       WHEN 'cancelled' THEN stashjobs.expired(job.expires_at)
                       ELSE job.error END,
           errors = CASE WHEN job.status <> 'processing' THEN job.errors
                         ELSE job.errors || jsonb_build_object(
                                'attempt', job.attempt, 'type', 'LeaseExpired',
                                'message', 'the attempt ended without a word',
                                'startedAt', job.started_at, 'endedAt', job.lease_expires_at) END,
           started_at = CASE judged.status WHEN 'processing' THEN moment ELSE job.started_at END,
           lease_expires_at = CASE judged.status WHEN 'processing' THEN until END,
           completed_at = CASE WHEN judged.status <> 'processing' THEN moment END,
           published_at = CASE WHEN claim.message_id IS NULL THEN job.published_at
                               ELSE coalesce(job.published_at, moment) END,
           message_id = coalesce(claim.message_id, job.message_id),
           dlq_id = CASE WHEN claim.message_id <> job.message_id THEN NULL ELSE job.dlq_id END,
           schedule_id = coalesce(claim.schedule_id, job.schedule_id),
           claim_nonce = claim.nonce || ':' || (job.attempt + 1), backoff = false,
           updated_at = moment
      FROM (SELECT CASE WHEN found.attempt >= found.max_attempts THEN 'failed'
                        WHEN found.expires_at <= moment THEN 'cancelled'
                        ELSE 'processing' END AS status
              FROM job_executions AS found WHERE found.job_id = claim.job_id) AS judged
     WHERE job.job_id = claim.job_id
       AND CASE WHEN job.job_type <> claim.type THEN false
                WHEN job.status = 'processing'
                    THEN job.lease_expires_at <= moment AND job.cancel_requested_by IS NULL
                         AND (job.claim_nonce = claim.nonce || ':' || job.attempt) IS NOT TRUE
                WHEN job.status IN ('pending', 'retrying') THEN judged.status <> 'processing'
                END
    RETURNING job.status = 'processing', job.status, job.job_type, job.attempt, job.max_attempts,
              job.run, job.payload, job.user_id, job.organization_id, job.error, NULL::float8;
    IF FOUND THEN
        PERFORM stashjobs.release_children(ARRAY[claim.job_id]);
        RETURN;
    END IF;

    -- Its own.
    RETURN QUERY
    UPDATE job_executions AS job
       SET started_at = moment, updated_at = moment, lease_expires_at = until
     WHERE job.job_id = claim.job_id
       AND CASE WHEN job.status = 'processing' AND job.job_type = claim.type
                    THEN job.claim_nonce = claim.nonce || ':' || job.attempt
                         AND job.message_id
                             IS NOT DISTINCT FROM coalesce(claim.message_id, job.message_id)
                END
    RETURNING true, job.status, job.job_type, job.attempt, job.max_attempts, job.run, job.payload,
              job.user_id, job.organization_id, job.error, NULL::float8;
    IF FOUND THEN
        RETURN;
    END IF;

    -- Why not.
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
      FROM job_executions AS job LEFT JOIN job_type_states AS state USING (job_type)
     WHERE job.job_id = claim.job_id;
END
$$;
