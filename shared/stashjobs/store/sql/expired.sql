-- The error of a job whose time to begin is over.
CREATE OR REPLACE FUNCTION stashjobs.expired(expires_at timestamptz)
RETURNS text
LANGUAGE sql STABLE
SET search_path FROM CURRENT AS $$
    SELECT 'Expired: no attempt was to begin after '
           || to_char(expires_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"')
$$;
