-- Record jobs as pending; the arrays are columns. The second id is the job's own, or that of the job
-- that has its idempotency key already. That one is not touched: an update would lock it for as long
-- as the caller's transaction lasts. Rows go in sorted by key, so that two programs recording the
-- same keys at the same time wait and do not deadlock.
CREATE OR REPLACE FUNCTION stashjobs.enqueue_many(
    job_ids text[], types text[], payloads jsonb[], max_attempts integer[],
    available_at timestamptz[], user_ids text[], organization_ids text[],
    idempotency_keys text[], metadata jsonb[], delivery jsonb[]
)
RETURNS TABLE (asked_id text, job_id text)
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
    recorded text[];
BEGIN
    WITH made AS (
        INSERT INTO job_executions AS job
               (job_id, job_type, payload, max_attempts, available_at, user_id, organization_id,
                idempotency_key, metadata, delivery, created_at, updated_at)
        SELECT new.id, new.type, new.payload, new.attempts, coalesce(new.at, moment), new.user_id,
               new.organization_id, new.key, new.about, new.asked, moment, moment
          FROM unnest(job_ids, types, payloads, enqueue_many.max_attempts,
                      enqueue_many.available_at, user_ids, organization_ids, idempotency_keys,
                      enqueue_many.metadata, enqueue_many.delivery)
            AS new (id, type, payload, attempts, at, user_id, organization_id, key, about, asked)
         ORDER BY new.type, new.key NULLS FIRST, new.id
        ON CONFLICT (job_type, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
        RETURNING job.job_id
    )
    SELECT coalesce(array_agg(made.job_id), '{}') INTO recorded FROM made;
    RETURN QUERY SELECT made.id, made.id FROM unnest(recorded) AS made (id);
    IF cardinality(recorded) = cardinality(job_ids) THEN
        RETURN;
    END IF;
    -- A statement of its own, which sees what another program committed in this moment.
    RETURN QUERY
    SELECT new.id, job.job_id
      FROM unnest(job_ids, types, idempotency_keys) AS new (id, type, key)
      JOIN job_executions AS job ON job.job_type = new.type AND job.idempotency_key = new.key
     WHERE new.key IS NOT NULL
       AND NOT EXISTS (SELECT FROM unnest(recorded) AS made (id) WHERE made.id = new.id);
END
$$;
