-- Record as failed a job whose message carried its payload and never reached its function. False: it
-- has a row after all.
CREATE OR REPLACE FUNCTION stashjobs.record_never_delivered(
    job_id text, type text, payload jsonb, max_attempts integer, error text, message_id text,
    dlq_id text DEFAULT NULL, user_id text DEFAULT NULL, organization_id text DEFAULT NULL,
    metadata jsonb DEFAULT '{}'
)
RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    INSERT INTO job_executions
           (job_id, job_type, status, payload, max_attempts, user_id, organization_id, metadata,
            message_id, dlq_id, error, published_at, completed_at, created_at, available_at,
            updated_at)
    VALUES (record_never_delivered.job_id, type, 'failed', record_never_delivered.payload,
            record_never_delivered.max_attempts, record_never_delivered.user_id,
            record_never_delivered.organization_id, record_never_delivered.metadata,
            record_never_delivered.message_id, record_never_delivered.dlq_id,
            record_never_delivered.error, moment, moment, moment, moment, moment)
    ON CONFLICT DO NOTHING;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    PERFORM stashjobs.follow_failed(
        record_never_delivered.job_id, type, record_never_delivered.user_id,
        record_never_delivered.organization_id);
    RETURN true;
END
$$;
