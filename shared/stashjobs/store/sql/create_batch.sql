-- Make a batch, which has no jobs yet.
CREATE OR REPLACE FUNCTION stashjobs.create_batch(batch_id text, name text)
RETURNS void
LANGUAGE sql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
    INSERT INTO job_batches (batch_id, name, created_at)
    VALUES (create_batch.batch_id, create_batch.name, clock_timestamp());
$$;
