-- Whether another job of the type has the key while it waits, or while both ask for it, runs.
CREATE OR REPLACE FUNCTION stashjobs.unique_key_taken(
    job_id text, job_type text, unique_key text, unique_running boolean
)
RETURNS boolean
LANGUAGE plpgsql
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
BEGIN
    RETURN EXISTS (
        SELECT FROM job_executions AS other
         WHERE other.unique_key = unique_key_taken.unique_key
           AND CASE WHEN other.job_type <> unique_key_taken.job_type
                      OR other.job_id = unique_key_taken.job_id THEN false
                    WHEN other.status = 'processing'
                        THEN other.unique_running AND unique_key_taken.unique_running
                    ELSE true END);
END
$$;
