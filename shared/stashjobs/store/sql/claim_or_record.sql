-- Claim a job whose message carries its payload. The first delivery records it; then the row wins.
-- unique_violation: another job of this type has the idempotency key.
CREATE OR REPLACE FUNCTION stashjobs.claim_or_record(
    job_id text, type text, lease_seconds float8, payload jsonb, max_attempts integer,
    user_id text DEFAULT NULL, organization_id text DEFAULT NULL,
    idempotency_key text DEFAULT NULL, metadata jsonb DEFAULT '{}',
    message_id text DEFAULT NULL, schedule_id text DEFAULT NULL, nonce text DEFAULT NULL,
    expires_at timestamptz DEFAULT NULL,
    on_failed text DEFAULT NULL, follower_attempts integer DEFAULT NULL
)
RETURNS TABLE (
    held boolean, status text, job_type text, attempt integer, last_attempt integer, run integer,
    document jsonb, for_user_id text, for_organization_id text, error text, wait_seconds float8
)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    paused CONSTANT boolean := EXISTS (
        SELECT FROM job_type_states AS state
         WHERE state.job_type = claim_or_record.type AND state.paused);
BEGIN
    IF claim_or_record.on_failed IS NOT NULL THEN
        PERFORM stashjobs.declare_followers(
            ARRAY[claim_or_record.type], ARRAY[claim_or_record.on_failed],
            ARRAY[claim_or_record.follower_attempts]);
    END IF;
    RETURN QUERY
    INSERT INTO job_executions AS job
           (job_id, job_type, status, payload, attempt, max_attempts, user_id, organization_id,
            idempotency_key, metadata, message_id, schedule_id, published_at, started_at,
            lease_expires_at, created_at, available_at, updated_at, claim_nonce, expires_at)
    VALUES (claim_or_record.job_id, claim_or_record.type,
            CASE WHEN paused THEN 'pending' ELSE 'processing' END, claim_or_record.payload,
            CASE WHEN paused THEN 0 ELSE 1 END,
            claim_or_record.max_attempts, claim_or_record.user_id, claim_or_record.organization_id,
            claim_or_record.idempotency_key, claim_or_record.metadata, claim_or_record.message_id,
            claim_or_record.schedule_id,
            CASE WHEN claim_or_record.message_id IS NOT NULL THEN moment END,
            CASE WHEN NOT paused THEN moment END,
            CASE WHEN NOT paused THEN moment + make_interval(secs => lease_seconds) END, moment, moment, moment,
            claim_or_record.nonce || ':1', claim_or_record.expires_at)
    ON CONFLICT (job_id) DO NOTHING
    RETURNING NOT paused, CASE WHEN paused THEN 'paused' ELSE job.status END, job.job_type,
              job.attempt, job.max_attempts, job.run, job.payload, job.user_id,
              job.organization_id, job.error, CASE WHEN paused THEN 300.0::float8 END;
    IF NOT FOUND THEN
        RETURN QUERY
        SELECT claimed.held, claimed.status, claimed.job_type, claimed.attempt,
               claimed.max_attempts, claimed.run, claimed.payload, claimed.user_id,
               claimed.organization_id, claimed.error, claimed.wait_seconds
          FROM stashjobs.claim(
                   job_id => claim_or_record.job_id, type => claim_or_record.type,
                   lease_seconds => claim_or_record.lease_seconds,
                   message_id => claim_or_record.message_id,
                   schedule_id => claim_or_record.schedule_id,
                   nonce => claim_or_record.nonce) AS claimed;
    END IF;
END
$$;
