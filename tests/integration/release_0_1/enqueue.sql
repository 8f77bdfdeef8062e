-- enqueue, as release 0.1.0 calls it.
WITH new AS (
    SELECT * FROM unnest(%s::text[], %s::text[], %s::jsonb[], %s::int[], %s::timestamptz[],
                         %s::text[], %s::text[], %s::text[], %s::jsonb[], %s::jsonb[])
      AS new (job_id, job_type, payload, max_attempts, available_at, user_id, organization_id,
              idempotency_key, metadata, delivery)
), made AS (
    INSERT INTO job_executions
           (job_id, job_type, payload, max_attempts, available_at, user_id, organization_id,
            idempotency_key, metadata, delivery)
    SELECT job_id, job_type, payload, max_attempts, coalesce(available_at, now()), user_id,
           organization_id, idempotency_key, metadata, delivery
      FROM new
     ORDER BY job_type, idempotency_key NULLS FIRST, job_id
    ON CONFLICT (job_type, idempotency_key) WHERE idempotency_key IS NOT NULL DO NOTHING
    RETURNING job_id
)
SELECT job_id, job_id FROM made
UNION ALL
SELECT new.job_id, job.job_id
  FROM new JOIN job_executions AS job USING (job_type, idempotency_key)
 WHERE job.idempotency_key IS NOT NULL
