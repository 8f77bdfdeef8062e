-- `attempt` is the fencing token: one that went back would let an attempt that lost its lease record
-- over the one that holds it.
CREATE FUNCTION job_executions_refuse_earlier_attempt() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'job % cannot go back from attempt % to %', OLD.job_id, OLD.attempt, NEW.attempt
        USING ERRCODE = 'check_violation';
END
$$;

CREATE TRIGGER job_executions_attempt
    BEFORE UPDATE OF attempt ON job_executions
    FOR EACH ROW WHEN (NEW.attempt < OLD.attempt)
    EXECUTE FUNCTION job_executions_refuse_earlier_attempt();
