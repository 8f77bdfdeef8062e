-- Take over what the code declares of `on_failed`; NULL where a type has none.
CREATE OR REPLACE FUNCTION stashjobs.declare_followers(
    job_types text[], on_failed text[], max_attempts integer[]
)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT AS $$
#variable_conflict use_column
BEGIN
    -- Mostly nothing is new; then no row is locked.
    IF NOT EXISTS (
        SELECT FROM unnest(job_types, declare_followers.on_failed, declare_followers.max_attempts)
                      AS given (job_type, on_failed, max_attempts)
          LEFT JOIN job_type_followers AS known USING (job_type)
         WHERE (given.on_failed, given.max_attempts)
               IS DISTINCT FROM (known.on_failed, known.max_attempts)) THEN
        RETURN;
    END IF;
    DELETE FROM job_type_followers AS known
     USING unnest(job_types, declare_followers.on_failed) AS given (job_type, on_failed)
     WHERE known.job_type = given.job_type AND given.on_failed IS NULL;
    INSERT INTO job_type_followers AS known (job_type, on_failed, max_attempts)
    SELECT given.job_type, given.on_failed, given.max_attempts
      FROM unnest(job_types, declare_followers.on_failed, declare_followers.max_attempts)
        AS given (job_type, on_failed, max_attempts)
     WHERE given.on_failed IS NOT NULL
     ORDER BY given.job_type
    ON CONFLICT (job_type) DO UPDATE
       SET on_failed = excluded.on_failed, max_attempts = excluded.max_attempts;
END
$$;
