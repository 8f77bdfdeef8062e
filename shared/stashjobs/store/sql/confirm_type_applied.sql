-- Note that QStash does what the row of a job type says, unless that has changed since.
CREATE OR REPLACE FUNCTION stashjobs.confirm_type_applied(job_type text, changed_at timestamptz)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
BEGIN
    UPDATE job_type_states AS state SET applied_at = clock_timestamp()
     WHERE state.job_type = confirm_type_applied.job_type
       AND state.changed_at = confirm_type_applied.changed_at;
END
$$;
