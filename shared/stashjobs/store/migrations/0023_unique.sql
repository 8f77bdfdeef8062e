-- Jobs that are one of a kind while they wait, or while they wait or run.
ALTER TABLE job_executions ADD COLUMN IF NOT EXISTS unique_key text;
ALTER TABLE job_executions ADD COLUMN IF NOT EXISTS unique_running boolean NOT NULL DEFAULT false;
-- How often the job was moved to an earlier time, which needs a message that QStash does not know yet.
ALTER TABLE job_executions ADD COLUMN IF NOT EXISTS moved integer NOT NULL DEFAULT 0;

-- The key is free again when its job ends. A job that comes back to wait after a failed attempt gives its
-- key up to the one that was enqueued meanwhile, and is not lost: it waits beside it.
CREATE OR REPLACE FUNCTION give_up_unique_key() RETURNS trigger
LANGUAGE plpgsql SET enable_seqscan TO off AS $$
BEGIN
    IF NEW.status IN ('completed', 'failed', 'cancelled') OR EXISTS (
        SELECT FROM job_executions AS other
         WHERE other.unique_key = NEW.unique_key
           AND CASE WHEN other.job_type <> NEW.job_type OR other.job_id = NEW.job_id THEN false
                    WHEN other.status = 'processing'
                        THEN other.unique_running AND NEW.unique_running
                    ELSE true END)
    THEN
        NEW.unique_key := NULL;
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER job_executions_give_up_unique_key
    BEFORE UPDATE OF status ON job_executions
    FOR EACH ROW
    WHEN (NEW.unique_key IS NOT NULL AND NEW.status <> OLD.status AND NEW.status <> 'processing')
    EXECUTE FUNCTION give_up_unique_key();
