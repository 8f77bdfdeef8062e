-- What holds of every job: its statuses and the ways between them, and the bounds of its columns. One
-- trigger in place of CHECK constraints, whose text Postgres reads anew in each statement: they were
-- two fifths of its work for a delivery.
CREATE OR REPLACE FUNCTION stashjobs.check_job() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    broken text;
BEGIN
    broken := CASE
        WHEN (NEW.status = 'processing') <> (NEW.lease_expires_at IS NOT NULL)
            THEN 'a job has a lease exactly while it is processing'
        WHEN (NEW.status IN ('completed', 'failed', 'cancelled')) <> (NEW.completed_at IS NOT NULL)
            THEN 'completed_at is set exactly when a job has ended'
        WHEN NEW.attempt NOT BETWEEN 0 AND NEW.max_attempts
            THEN 'attempt is between 0 and max_attempts'
        WHEN NEW.max_attempts < 1 THEN 'max_attempts is 1 at least'
        WHEN NEW.run < 1 THEN 'run is 1 at least'
        -- Programs cannot read a time before Christ or at the end of all times: Python has none.
        WHEN least(NEW.created_at, NEW.available_at, NEW.expires_at, NEW.published_at,
                   NEW.started_at, NEW.lease_expires_at, NEW.completed_at, NEW.updated_at)
             < '0001-01-01 00:00+00'
          OR greatest(NEW.created_at, NEW.available_at, NEW.expires_at, NEW.published_at,
                      NEW.started_at, NEW.lease_expires_at, NEW.completed_at, NEW.updated_at)
             > '9000-01-01 00:00+00'
            THEN 'times are between the years 1 and 9000'
        WHEN jsonb_typeof(NEW.metadata) <> 'object' THEN 'metadata is an object'
        WHEN jsonb_typeof(NEW.errors) <> 'array'
          OR jsonb_path_exists(NEW.errors, 'strict $[*] ? (@.type() != "object")', '{}', true)
            THEN 'errors is an array of objects'
        WHEN jsonb_typeof(NEW.delivery) <> 'object'
          OR jsonb_typeof(NEW.delivery -> 'headers') <> 'object'
          OR jsonb_path_exists(
                 NEW.delivery, 'strict $.headers.* ? (@.type() != "string")', '{}', true)
          OR jsonb_typeof(NEW.delivery -> 'callback') <> 'string'
          OR jsonb_typeof(NEW.delivery -> 'failureCallback') <> 'string'
            THEN 'delivery is an object whose headers and callbacks are texts'
        WHEN length(NEW.job_id) NOT BETWEEN 1 AND 128 THEN 'job_id has 1 to 128 characters'
        WHEN TG_OP = 'INSERT' THEN CASE
            WHEN NEW.status NOT IN ('waiting', 'pending', 'processing', 'retrying',
                                    'completed', 'failed', 'cancelled')
                THEN 'no job''s status is ' || NEW.status
            -- The relay reads those of many jobs at a time.
            WHEN pg_column_size(NEW.delivery) > 100000 THEN 'delivery has 100 kB at most' END
        -- It is the fencing token: one that went back would let an attempt that lost its lease record
        -- over the one that holds it.
        WHEN NEW.attempt < OLD.attempt
            THEN 'attempt cannot go back from ' || OLD.attempt || ' to ' || NEW.attempt
        WHEN NEW.status <> OLD.status AND NOT CASE OLD.status
                 WHEN 'waiting' THEN NEW.status IN ('pending', 'cancelled')
                 WHEN 'pending' THEN NEW.status IN ('processing', 'cancelled', 'failed')
                 WHEN 'processing'
                     THEN NEW.status IN ('completed', 'retrying', 'failed', 'cancelled')
                 WHEN 'retrying' THEN NEW.status IN ('processing', 'failed', 'cancelled')
                 ELSE NEW.status = 'pending' END
            THEN 'status cannot go from ' || OLD.status || ' to ' || NEW.status
    END;
    IF broken IS NOT NULL THEN
        RAISE EXCEPTION 'job %: %', NEW.job_id, broken
            USING ERRCODE = 'check_violation', TABLE = TG_TABLE_NAME, SCHEMA = TG_TABLE_SCHEMA;
    END IF;
    -- The key is free again when its job ends. A job that comes back to wait after a failed attempt
    -- gives its key up to the one that was enqueued meanwhile, and waits beside it.
    IF NEW.unique_key IS NOT NULL AND TG_OP = 'UPDATE'
       AND NEW.status <> OLD.status AND NEW.status <> 'processing'
       AND (NEW.completed_at IS NOT NULL OR stashjobs.unique_key_taken(
                NEW.job_id, NEW.job_type, NEW.unique_key, NEW.unique_running))
    THEN
        NEW.unique_key := NULL;
    END IF;
    -- Here, since it is the one place that sees each failure, also one that release 0.1 records.
    IF NEW.status = 'failed' AND TG_OP = 'UPDATE' AND OLD.status <> 'failed' THEN
        PERFORM stashjobs.follow_failed(
            NEW.job_id, NEW.job_type, NEW.user_id, NEW.organization_id);
    END IF;
    RETURN NEW;
END
$$;

CREATE OR REPLACE TRIGGER job_executions_check_job
    BEFORE INSERT OR UPDATE ON job_executions
    FOR EACH ROW EXECUTE FUNCTION stashjobs.check_job();
