-- Pause or resume a job type, limit it, or lift the limit; with what it was before, for the audit.
CREATE OR REPLACE FUNCTION stashjobs.change_type(
    job_type text, actor text, action text,
    rate integer DEFAULT NULL, period_seconds integer DEFAULT NULL, parallelism integer DEFAULT NULL
)
RETURNS SETOF job_type_states
LANGUAGE plpgsql SECURITY DEFINER
SET search_path FROM CURRENT SET enable_seqscan TO off AS $$
#variable_conflict use_column
DECLARE
    moment CONSTANT timestamptz := clock_timestamp();
BEGIN
    INSERT INTO job_type_states AS state (job_type, changed_by, changed_at)
    VALUES (change_type.job_type, change_type.actor, moment)
    ON CONFLICT DO NOTHING;
    INSERT INTO type_actions (at, actor, action, job_type, before)
    SELECT moment, change_type.actor, change_type.action, change_type.job_type,
           jsonb_build_object('paused', state.paused, 'rate', state.rate,
                              'periodSeconds', state.period_seconds,
                              'parallelism', state.parallelism)
      FROM job_type_states AS state WHERE state.job_type = change_type.job_type
       FOR UPDATE;
    RETURN QUERY
    UPDATE job_type_states AS state
       SET paused = CASE change_type.action WHEN 'pause' THEN true WHEN 'resume' THEN false
                                            ELSE state.paused END,
           rate = CASE WHEN change_type.action IN ('limit', 'lift limit') THEN change_type.rate
                       ELSE state.rate END,
           period_seconds = CASE WHEN change_type.action IN ('limit', 'lift limit')
                                 THEN change_type.period_seconds ELSE state.period_seconds END,
           parallelism = CASE WHEN change_type.action IN ('limit', 'lift limit')
                              THEN change_type.parallelism ELSE state.parallelism END,
           changed_by = change_type.actor, changed_at = moment, applied_at = NULL
     WHERE state.job_type = change_type.job_type
    RETURNING state.*;
END
$$;
